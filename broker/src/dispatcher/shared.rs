//! What all dispatchers of a broker share.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio_util::task::TaskTracker;
use waypost_delivery::StreamId;
use waypost_store::EventStore;

use crate::{clock::Clock, metrics::Histogram, publisher::Publisher, registry::TailHub, spec::DeliverySettings, token::TokenKey};

/// What all dispatchers of a broker share.
pub struct Shared {
    /// What remembers.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Clock,
    /// Makes and checks tokens.
    pub tokens: TokenKey,
    /// For the broker's own events.
    pub publisher: Arc<Publisher>,
    /// Wakes those whom new events concern.
    pub hub: Arc<TailHub>,
    /// What all subscriptions have in common.
    pub settings: DeliverySettings,
    /// Every dispatcher's task.
    pub tasks: TaskTracker,
    /// From an event's acceptance until its first delivery is handed to a stream.
    pub latency: Histogram,
    streams: AtomicU64,
    draining: AtomicBool,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Shared {
    /// Puts the parts together.
    #[must_use]
    pub fn new(
        store: Arc<dyn EventStore>,
        clock: Clock,
        tokens: TokenKey,
        publisher: Arc<Publisher>,
        hub: Arc<TailHub>,
        settings: DeliverySettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            clock,
            tokens,
            publisher,
            hub,
            settings,
            tasks: TaskTracker::new(),
            latency: Histogram::default(),
            streams: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        })
    }

    /// A name for a new stream.
    #[must_use]
    pub fn next_stream(&self) -> StreamId {
        StreamId(self.streams.fetch_add(1, Ordering::Relaxed))
    }

    /// The broker ends: no stream opens any more, whatever dispatcher it asks.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether the broker ends.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }
}
