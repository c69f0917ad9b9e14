//! What varies from subscription to subscription. The shell checks the values and applies the defaults; the machine obeys them.

use std::time::Duration;

/// The most that [`Config::max_unsettled`] may be: a snapshot of so many events still fits into one commit. More counts as this.
pub const MAX_UNSETTLED: u32 = 32_768;

/// The limits of one subscription. Part of its Created and Updated records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// How long a delivery is held without an extension.
    pub ack_deadline: Duration,
    /// How long one delivery may be held in all, however often it is extended.
    pub max_lease_total: Duration,
    /// When a failed event is delivered again, and when it no longer is.
    pub retry: RetryPolicy,
    /// The most live leases of all sessions together.
    pub max_outstanding: u32,
    /// The most bytes of events under lease, of all sessions together. One event is handed out even if it alone is larger.
    pub max_outstanding_bytes: u64,
    /// The most unsettled events known at a time: leased, backing off and blocked. At the bound nothing more is read. At most
    /// [`MAX_UNSETTLED`].
    pub max_unsettled: u32,
    /// How long the leases of a broken stream wait for their session, and those of before a restart for theirs.
    pub resume_grace: Duration,
    /// Whether only one delivery per ordering key may be outstanding (P8).
    pub ordered: bool,
    /// Without a name: nothing is durable, nothing becomes a dead letter.
    pub ephemeral: bool,
    /// Seed of the jitter in this subscription's backoffs.
    pub jitter_seed: u64,
}

/// When a failed event is delivered again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The wait after the first failure; it doubles with each further one.
    pub min_backoff: Duration,
    /// The longest wait.
    pub max_backoff: Duration,
    /// The most failures (nacks and expired leases): with this many the event becomes a dead letter.
    pub max_attempts: u32,
    /// The most lost sessions: with this many the event becomes a dead letter.
    pub max_losses: u32,
}
