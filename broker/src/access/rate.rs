//! How many events a second.
//!
//! Constraints: one number, changed without a lock; a second's worth may come at once; who asks for more than that at once gets it when nothing
//! was spent for a second, and is in debt afterwards, so that no request is too large for ever.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// The nanoseconds of a second, which is how far ahead of its time somebody may be.
const SECOND: u64 = 1_000_000_000;

/// A rate, and how much of it is spent.
#[derive(Debug)]
pub struct Rate {
    per_second: u32,
    /// When everything that was spent so far is made up for, in nanoseconds.
    free_at: AtomicU64,
}

impl Rate {
    /// So many events a second; 0 for as many as they like.
    #[must_use]
    pub fn new(per_second: u32) -> Self {
        Self { per_second, free_at: AtomicU64::new(0) }
    }

    /// How many.
    #[must_use]
    pub fn per_second(&self) -> u32 {
        self.per_second
    }

    /// Spends so many at a time in microseconds.
    ///
    /// # Errors
    /// How long to wait until as many can be spent.
    pub fn spend(&self, now: u64, events: usize) -> Result<(), Duration> {
        if self.per_second == 0 {
            return Ok(());
        }
        let now = now.saturating_mul(1_000);
        let cost = (SECOND / u64::from(self.per_second)).saturating_mul(u64::try_from(events).unwrap_or(u64::MAX));
        let mut wait = 0;
        let spent = self.free_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free_at| {
            let from = free_at.max(now);
            wait = (from - now).saturating_add(cost.min(SECOND)).saturating_sub(SECOND);
            (wait == 0).then(|| from.saturating_add(cost))
        });
        spent.map(drop).map_err(|_| Duration::from_nanos(wait))
    }

    /// How long to wait until one more can be spent, at a time in microseconds; `None` if it can be now. Spends nothing.
    #[must_use]
    pub fn wait(&self, now: u64) -> Option<Duration> {
        if self.per_second == 0 {
            return None;
        }
        let room = now.saturating_mul(1_000).saturating_add(SECOND - SECOND / u64::from(self.per_second));
        let wait = self.free_at.load(Ordering::Relaxed).saturating_sub(room);
        (wait > 0).then(|| Duration::from_nanos(wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLI: u64 = 1_000;

    #[test]
    fn a_seconds_worth_comes_at_once_and_then_as_it_is_earned() {
        let rate = Rate::new(10);
        let start = 1_700_000_000_000_000;
        for _ in 0..10 {
            assert_eq!(rate.spend(start, 1), Ok(()));
        }
        for _ in 0..2 {
            assert_eq!(rate.wait(start), Some(Duration::from_millis(100)), "asking costs nothing");
        }
        assert_eq!((rate.wait(start + 100 * MILLI), rate.wait(start + 99 * MILLI)), (None, Some(Duration::from_millis(1))));
        assert_eq!(rate.spend(start, 1), Err(Duration::from_millis(100)));
        assert_eq!(rate.spend(start + 99 * MILLI, 1), Err(Duration::from_millis(1)));
        assert_eq!(rate.spend(start + 100 * MILLI, 1), Ok(()));
        assert_eq!(rate.spend(start + 100 * MILLI, 2), Err(Duration::from_millis(200)));
        // What is refused costs nothing.
        assert_eq!(rate.spend(start + 200 * MILLI, 1), Ok(()));
    }

    #[test]
    fn nothing_is_too_large_for_ever() {
        let rate = Rate::new(10);
        assert_eq!(rate.spend(0, 100), Ok(()));
        assert_eq!(rate.spend(0, 1), Err(Duration::from_millis(9_100)));
        assert_eq!(rate.spend(10_000 * MILLI, 10), Ok(()));
    }

    #[test]
    fn no_limit_is_no_limit() {
        assert_eq!((Rate::new(0).spend(0, usize::MAX), Rate::new(0).wait(0)), (Ok(()), None));
    }
}
