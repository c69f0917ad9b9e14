//! What an agent's metrics are made of: a call for each thing that happens.
//!
//! Constraints: an observer sees and decides nothing; a panic in it is told and goes no further; without one, nothing is made for it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use waypost_proto::v1::settlement::Action;
use waypost_proto::v1::{Event, RevokedReason, SettlementStatus};

use crate::failure::Failure;
use crate::publish::{PublishError, Published};
use crate::settle::SettleError;
use crate::subscription::SubscribeError;

/// Is told what happens in a [`Client`](crate::Client), to count and time it; set it with
/// [`ClientBuilder::observer`](crate::ClientBuilder::observer). Every method does nothing unless it is written.
///
/// - Methods are called where the thing happens, on the tasks that receive, settle and publish: they must not block, nor wait for a
///   lock that is held for long. Count, and return.
/// - A panic in one is caught and logged; nothing else comes of it.
/// - What is told of one subscription's connection comes in order; of different deliveries it may come at the same time, on several
///   threads.
///
/// Labels are short: [`Outcome::as_str`], [`SettleAction::as_str`], [`SettlementStatus::as_str_name`],
/// [`RevokedReason::as_str_name`]. Ids of events are no labels: there is no end of them.
///
/// With plain atomics (`examples/metrics.rs` does it with prometheus-client):
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
/// use std::time::Duration;
///
/// use agent_client::{Client, Observed, Observer, Outcome};
///
/// #[derive(Default)]
/// struct Counts { redelivered: AtomicU64, failed: AtomicU64 }
///
/// struct Counting(Arc<Counts>);
///
/// impl Observer for Counting {
///     fn received(&self, delivery: Observed<'_>) {
///         self.0.redelivered.fetch_add((delivery.attempt > 1).into(), Relaxed);
///     }
///
///     fn handled(&self, _: Observed<'_>, outcome: Outcome, _took: Duration) {
///         self.0.failed.fetch_add((outcome != Outcome::Done).into(), Relaxed);
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let counts = Arc::new(Counts::default());
/// let client = Client::builder().observer(Counting(Arc::clone(&counts))).connect("http://127.0.0.1:8481")?;
/// # Ok(()) }
/// ```
pub trait Observer: Send + Sync + 'static {
    /// A subscription's stream is open: once for each stream, when the broker has said so. `again` tells whether it had one before.
    fn connected(&self, subscription: &str, again: bool) {
        let _ = (subscription, again);
    }

    /// A stream that was [`connected`](Self::connected) has ended: once for each. Unless it ended for good, another is opened.
    fn disconnected(&self, subscription: &str, why: Disconnected<'_>) {
        let _ = (subscription, why);
    }

    /// A stream could not be opened: once for each try, which is made again unless the failure is permanent.
    fn unreachable(&self, subscription: &str, failure: &Failure) {
        let _ = (subscription, failure);
    }

    /// A delivery has come from the broker: once for each, before the agent gets it, also if it never does because it leaves.
    fn received(&self, delivery: Observed<'_>) {
        let _ = delivery;
    }

    /// A handler has ended: once for each that a [`Router`](crate::Router) began, before its delivery is settled. `took` is the time
    /// from its first poll to its end. Deliveries that no handler got (of no registered type, undecodable, or taken by hand) are not
    /// told here.
    fn handled(&self, delivery: Observed<'_>, outcome: Outcome, took: Duration) {
        let _ = (delivery, outcome, took);
    }

    /// A delivery's settlement has its answer: once for each settlement, those that a drop or a decoder made included. `took` is the
    /// time from the call to the answer, tries and waits included. After [`SettlementStatus::OutputRefused`] and
    /// [`SettlementStatus::Invalid`] the delivery is held still, and another settlement follows.
    fn settled(&self, settlement: Settlement<'_>, took: Duration) {
        let _ = (settlement, took);
    }

    /// The broker has prolonged a lease: once for each answer that says so.
    fn lease_extended(&self, subscription: &str) {
        let _ = subscription;
    }

    /// A lease is gone before its delivery was settled, so that the event may be with another session: once for each lease.
    fn lease_lost(&self, subscription: &str, reason: RevokedReason) {
        let _ = (subscription, reason);
    }

    /// The fate of a published event is known, as far as it will be: once for each event of [`Client::publish`](crate::Client::publish),
    /// of a batch, and of a [`Publisher`](crate::Publisher). `took` is the time from the call, or of a batch that of the whole batch;
    /// a publisher counts from the moment that it had room. An event whose future was dropped may not be told; the outputs of an ack
    /// are part of its settlement.
    fn published(&self, event: &Event, result: Result<&Published, &PublishError>, took: Duration) {
        let _ = (event, result, took);
    }
}

/// A delivery, as an observer sees it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Observed<'a> {
    /// The subscription's name; empty for an ephemeral one.
    pub subscription: &'a str,
    /// The event.
    pub event: &'a Event,
    /// Its offset.
    pub offset: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Why a stream has ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Disconnected<'a> {
    /// The broker ended it in order, as when it restarts.
    Ended,
    /// It broke.
    Broken(&'a Failure),
    /// The broker ended the subscription for good.
    Refused(&'a SubscribeError),
    /// The agent leaves. Where it still holds deliveries, a last stream is opened for them, and told as well.
    Left,
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Outcome {
    /// It returned its outputs.
    Done,
    /// It returned an error that asks for another attempt.
    Nacked,
    /// It returned a rejection.
    Rejected,
    /// It panicked.
    Panicked,
    /// It was dropped: its delivery was revoked, or the agent ended.
    Cancelled,
}

impl Outcome {
    /// `done`, `nacked`, `rejected`, `panicked` or `cancelled`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Nacked => "nacked",
            Self::Rejected => "rejected",
            Self::Panicked => "panicked",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A settlement with its answer.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Settlement<'a> {
    /// The subscription's name; empty for an ephemeral one.
    pub subscription: &'a str,
    /// What was asked.
    pub action: SettleAction,
    /// What the broker answered, or why there is no answer.
    pub answer: Result<SettlementStatus, &'a SettleError>,
}

/// How a delivery was to be settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SettleAction {
    /// As done.
    Ack,
    /// As failed, to come again.
    Nack,
    /// As a dead letter.
    Reject,
    /// As unused.
    Release,
}

impl SettleAction {
    /// `None` for an extension, which settles nothing.
    pub(crate) fn of(action: &Action) -> Option<Self> {
        match action {
            Action::Ack(_) => Some(Self::Ack),
            Action::Nack(_) => Some(Self::Nack),
            Action::Reject(_) => Some(Self::Reject),
            Action::Release(_) => Some(Self::Release),
            Action::Extend(_) => None,
        }
    }

    /// `ack`, `nack`, `reject` or `release`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Reject => "reject",
            Self::Release => "release",
        }
    }
}

/// The way to the observer, if there is one.
#[derive(Clone, Default)]
pub(crate) struct Watch(Option<Arc<dyn Observer>>);

impl Watch {
    pub(crate) fn new(observer: impl Observer) -> Self {
        Self(Some(Arc::new(observer)))
    }

    /// Tells it, whatever it makes of it.
    pub(crate) fn tell(&self, what: impl FnOnce(&dyn Observer)) {
        let Some(observer) = &self.0 else { return };
        // What a panic may leave in disorder is the observer's own.
        if catch_unwind(AssertUnwindSafe(|| what(&**observer))).is_err() {
            tracing::error!("the observer panicked; what it was told is not counted");
        }
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Watch(…)" } else { "Watch" })
    }
}
