//! What was handed to streams since it was last counted.
//!
//! Constraint: the clock is read once and shared counters are touched once for all that one turn sends.

use std::sync::atomic::Ordering::Relaxed;

use waypost_delivery::Deliver;
use waypost_store::{Micros, StoredEvent};

use crate::{
    clock::Clock,
    metrics::{Batch, Histogram, SubscriptionMetrics},
};

/// What one turn sends.
#[derive(Default)]
pub(super) struct Sent {
    first: u64,
    again: u64,
    latency: Batch,
    now: Option<Micros>,
}

impl Sent {
    /// A delivery goes to a stream.
    pub(super) fn note(&mut self, clock: &Clock, deliver: &Deliver, event: &StoredEvent) {
        if deliver.attempt > 1 || deliver.redriven {
            self.again += 1;
            return;
        }
        let now = *self.now.get_or_insert_with(|| clock.now());
        self.first += 1;
        self.latency.observe(now.saturating_sub(event.accepted_at));
    }

    /// Counts what was sent, and begins anew.
    pub(super) fn count(&mut self, metrics: &SubscriptionMetrics, latency: &Histogram) {
        for (all, more) in [(&metrics.first_deliveries, &mut self.first), (&metrics.redeliveries, &mut self.again)] {
            if *more > 0 {
                all.fetch_add(std::mem::take(more), Relaxed);
            }
        }
        latency.add(&mut self.latency);
        self.now = None;
    }
}
