//! When a failed event is delivered again, and when it no longer is.

use std::time::Duration;

use crate::{Offset, RetryPolicy, record::DeadLetterCause};

/// Jitter in thousandths of the wait: ±20 %.
const JITTER: std::ops::RangeInclusive<u64> = 800..=1200;

impl RetryPolicy {
    /// The wait after failure number `n` of an event: doubling from the shortest to the longest, ±20 %, never over the longest. The
    /// jitter is a function of what failed, so that a history replays exactly (P13).
    pub(crate) fn backoff(&self, seed: u64, offset: Offset, n: u32) -> Duration {
        let doublings = n.saturating_sub(1).min(31);
        let wait = self.min_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        let thousandths = JITTER.start() + mix(seed ^ mix(offset ^ mix(u64::from(n)))) % (JITTER.end() - JITTER.start() + 1);
        let jittered = wait.as_micros().saturating_mul(u128::from(thousandths)) / 1000;
        Duration::from_micros(u64::try_from(jittered).unwrap_or(u64::MAX)).min(self.max_backoff)
    }

    /// Whether an event with so many failures and losses is to be set aside.
    pub(crate) fn verdict(&self, attempts: u32, losses: u32) -> Option<DeadLetterCause> {
        if attempts > 0 && attempts >= self.max_attempts {
            Some(DeadLetterCause::Attempts)
        } else if losses > 0 && losses >= self.max_losses {
            Some(DeadLetterCause::Losses)
        } else {
            None
        }
    }
}

/// The finalizer of SplitMix64: every input bit moves every output bit.
fn mix(input: u64) -> u64 {
    let mut bits = input.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RetryPolicy =
        RetryPolicy { min_backoff: Duration::from_secs(1), max_backoff: Duration::from_secs(600), max_attempts: 16, max_losses: 10 };

    proptest! {
        #[test]
        fn p5_backoff_doubles_within_its_jitter_and_its_cap(seed: u64, offset: u64, n in 1_u32..100) {
            let nominal = 2_f64.powi(i32::try_from(n).unwrap() - 1).min(600.0);
            let wait = POLICY.backoff(seed, offset, n).as_secs_f64();
            prop_assert!(wait >= nominal * 0.8 - 1e-6 && wait <= (nominal * 1.2).min(600.0) + 1e-6, "{wait} after failure {n}");
            prop_assert_eq!(POLICY.backoff(seed, offset, n), POLICY.backoff(seed, offset, n));
        }
    }

    #[test]
    fn p5_jitter_spreads_events_that_failed_together() {
        let waits: std::collections::BTreeSet<_> = (0..100).map(|offset| POLICY.backoff(7, offset, 1)).collect();
        assert!(waits.len() > 60, "{} different waits", waits.len());
    }
}
