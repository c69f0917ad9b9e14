//! What is counted and timed for `/metrics`.
//!
//! Constraints:
//! - Counting decides nothing and waits for nobody: plain atomics, gathered per turn where there is much to count.
//! - A fact of a subscription is counted once it is durable, where its commit is answered; so the counters agree with the log.
//! - Everything that Prometheus sees is named in `exposition`, and nowhere else. Labels are names of configured sources, of
//!   subscriptions and of fixed lists: nothing that a sender can choose.
//!
//! | file | what it holds |
//! |---|---|
//! | [`histogram`] | how long things take |
//! | [`subscription`] | what is counted for each subscription |
//! | `exposition` | all of it as text |

mod exposition;
pub mod histogram;
pub mod subscription;

pub use exposition::{Exposition, router};
pub use histogram::{Batch, Histogram};
pub use subscription::{Facts, SubscriptionMetrics};

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use waypost_store::{Appended, Duplicate};

/// What is counted of publishing: by agents, in streams, and by the broker itself. Outputs of acks and webhooks are not among it.
#[derive(Debug, Default)]
pub struct PublishMetrics {
    /// Events that became durable.
    pub accepted: AtomicU64,
    /// Those that were there already.
    pub duplicates: AtomicU64,
    /// Those that were refused.
    pub refused: AtomicU64,
    /// From complete to durable, for each append.
    pub append: Histogram,
}

impl PublishMetrics {
    /// Counts what became of some events.
    pub fn count(&self, appended: &[Appended], refused: usize) {
        let duplicates = appended.iter().filter(|place| place.duplicate == Some(Duplicate::SameContent)).count();
        let conflicts = appended.iter().filter(|place| place.duplicate == Some(Duplicate::OtherContent)).count();
        let accepted = appended.len() - duplicates - conflicts;
        for (all, more) in [(&self.accepted, accepted), (&self.duplicates, duplicates), (&self.refused, refused + conflicts)] {
            if more > 0 {
                all.fetch_add(more as u64, Relaxed);
            }
        }
    }
}
