//! What goes, and when (P11).
//!
//! Constraints:
//! - Nothing that a subscription has not settled goes, unless a policy of its own says so: then it sees a Gap and a system event tells.
//! - What pins the store is asked of the index, not read off the frontier of a subscription that sleeps.
//! - What is decided is a pure function of what is known ([`policy`]); [`task`] finds out and does it.

pub mod policy;
mod task;

use std::time::Duration;

pub(crate) use task::run;

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct RetentionRules {
    /// Settled events.
    pub settled: Duration,
    /// Dead letters.
    pub dead_letters: Duration,
    /// Webhooks in quarantine.
    pub quarantine: Duration,
    /// How often it is looked after.
    pub interval: Duration,
}
