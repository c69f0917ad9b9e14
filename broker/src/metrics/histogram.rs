//! How long things take, in buckets.
//!
//! Constraint: the buckets are fixed, so that what one version has recorded can be compared with another's.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// The upper bounds of the buckets in microseconds: 1, 2.5 and 5 of each decade from 100 µs to 5 s, and 10 s, 1 min, 10 min. Beyond it
/// there is one more.
pub const BOUNDS: [u64; 18] = [
    100,
    250,
    500,
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    60_000_000,
    600_000_000,
];

/// Times, counted by bucket. Anybody may add to it at any time.
#[derive(Debug, Default)]
pub struct Histogram {
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum: AtomicU64,
}

/// Times that are gathered by one task, to be added to a [`Histogram`] together.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u64,
    is_used: bool,
}

fn bucket(micros: u64) -> usize {
    BOUNDS.partition_point(|bound| *bound < micros)
}

impl Histogram {
    /// Adds one, in microseconds.
    pub fn observe(&self, micros: u64) {
        self.buckets[bucket(micros)].fetch_add(1, Relaxed);
        self.sum.fetch_add(micros, Relaxed);
    }

    /// Adds what was gathered, and empties it.
    pub fn add(&self, batch: &mut Batch) {
        if !batch.is_used {
            return;
        }
        for (all, more) in self.buckets.iter().zip(batch.buckets).filter(|(_, more)| *more > 0) {
            all.fetch_add(more, Relaxed);
        }
        self.sum.fetch_add(batch.sum, Relaxed);
        *batch = Batch::default();
    }

    /// The sum in seconds, and the count of each bucket with its bound in seconds; the last bound is infinite.
    #[must_use]
    pub fn snapshot(&self) -> (f64, Vec<(f64, u64)>) {
        let bounds = BOUNDS.iter().map(|bound| seconds(*bound)).chain([f64::INFINITY]);
        let buckets = bounds.zip(&self.buckets).map(|(bound, count)| (bound, count.load(Relaxed))).collect();
        (seconds(self.sum.load(Relaxed)), buckets)
    }
}

impl Batch {
    /// Adds one, in microseconds.
    pub fn observe(&mut self, micros: u64) {
        self.buckets[bucket(micros)] += 1;
        self.sum += micros;
        self.is_used = true;
    }
}

impl waypost_store::ObserveSyncs for Histogram {
    fn synced(&self, took: Duration) {
        self.observe(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }
}

/// Microseconds as seconds.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "a figure for people: 2^53 microseconds are 285 years")]
pub fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_counts_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::default();
        let mut batch = Batch::default();
        for micros in [0, 100, 101, 600_000_001] {
            histogram.observe(micros);
            batch.observe(micros);
        }
        histogram.add(&mut batch);
        histogram.add(&mut batch);
        let (sum, buckets) = histogram.snapshot();
        let counts: Vec<_> = buckets.iter().map(|(_, count)| *count).collect();
        assert_eq!((counts[0], counts[1], counts[BOUNDS.len()], counts.iter().sum::<u64>()), (4, 2, 2, 8));
        assert!((sum - 2.0 * 600.000_202).abs() < 1e-9, "{sum}");
    }
}
