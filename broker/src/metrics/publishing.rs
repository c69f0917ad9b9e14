//! What is counted of publishing.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use waypost_store::{Appended, Duplicate};

use super::Histogram;

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
