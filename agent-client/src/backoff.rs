//! How long to wait before the next try.
//!
//! Constraint: the schedule is the contract's: at once, then from 100 ms doubling to 10 s; jitter only ever shortens a
//! wait, and never the one that the broker asked for.

use std::time::Duration;

use tokio::time::Instant;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(10);

/// The waits of one thing that is tried again and again.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    tries: u32,
}

impl Backoff {
    /// One whose first wait is 100 ms: for a call that has failed, where trying at once would only repeat it.
    pub(crate) fn without_immediate() -> Self {
        Self { tries: 1 }
    }

    /// The next wait: none at first, then 50 to 100 % of the doubling base, and at least what the broker asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let own = match self.tries.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => base(doublings).mul_f64(0.5 + fastrand::f64() / 2.0),
        };
        self.tries = self.tries.saturating_add(1);
        own.max(asked.unwrap_or_default())
    }

    /// Which try failed last, counted from 1.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// A connection has ended that was opened at `opened`. Only one that lived as long as the longest wait proves that
    /// all is well again: a broker that accepts and at once drops everyone must not be stormed.
    pub(crate) fn connection_ended(&mut self, opened: Instant) {
        if opened.elapsed() >= LONGEST {
            self.tries = 0;
        }
    }
}

fn base(doublings: u32) -> Duration {
    FIRST.saturating_mul(2_u32.saturating_pow(doublings)).min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_100_ms_to_10_s_with_jitter() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(None), Duration::ZERO);
        for expected in [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000] {
            let base = Duration::from_millis(expected);
            let wait = backoff.next(None);
            assert!(wait >= base / 2 && wait <= base, "{wait:?} for {base:?}");
        }
    }

    #[test]
    fn what_the_broker_asks_for_is_honoured() {
        assert_eq!(Backoff::default().next(Some(Duration::from_secs(60))), Duration::from_secs(60));
    }

    #[test]
    fn no_number_of_tries_overflows() {
        let mut backoff = Backoff { tries: u32::MAX - 1 };
        assert!(backoff.next(None) <= LONGEST && backoff.next(None) <= LONGEST && backoff.next(None) <= LONGEST);
    }
}
