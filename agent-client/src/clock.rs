//! The broker's clock, as seen from here.
//!
//! Constraints: no lease time depends on this machine's wall clock; a late message makes the estimate lag, never lead.

use std::time::Duration;

use prost_types::Timestamp;
use tokio::time::Instant;

/// Turns the broker's times into local instants.
#[derive(Debug, Default)]
pub(crate) struct BrokerClock {
    /// What the broker's clock said, and when that was heard.
    sample: Option<(i128, Instant)>,
}

impl BrokerClock {
    /// Begins anew: this may be another broker, or its clock may have been set.
    pub(crate) fn reset(&mut self, said: Option<&Timestamp>, heard: Instant) {
        self.sample = said.map(|said| (nanos(said), heard));
    }

    /// Takes a further sample. The one that was underway for the shortest time puts the broker's clock furthest ahead,
    /// and is the best.
    pub(crate) fn sample(&mut self, said: Option<&Timestamp>, heard: Instant) {
        let Some(said) = said.map(nanos) else { return };
        if self.now(heard).is_none_or(|estimate| said > estimate) {
            self.sample = Some((said, heard));
        }
    }

    /// When it will be `time` at the broker. `None` while its clock is not known; never before `now`.
    pub(crate) fn local(&self, time: &Timestamp, now: Instant) -> Option<Instant> {
        let ahead = nanos(time).saturating_sub(self.now(now)?).max(0);
        now.checked_add(Duration::from_nanos(u64::try_from(ahead).unwrap_or(u64::MAX)))
    }

    fn now(&self, at: Instant) -> Option<i128> {
        let (said, heard) = self.sample?;
        Some(said.saturating_add(i128::try_from(at.saturating_duration_since(heard).as_nanos()).unwrap_or(i128::MAX)))
    }
}

fn nanos(time: &Timestamp) -> i128 {
    i128::from(time.seconds) * 1_000_000_000 + i128::from(time.nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    fn at(seconds: i64) -> Timestamp {
        Timestamp { seconds, nanos: 0 }
    }

    #[test]
    fn a_broker_whose_clock_is_years_off_is_understood() {
        let now = Instant::now();
        let mut clock = BrokerClock::default();
        assert_eq!(clock.local(&at(5), now), None);
        clock.reset(Some(&at(-1_000_000_000)), now);
        assert_eq!(clock.local(&at(-999_999_970), now), Some(now + 30 * S));
        assert_eq!(clock.local(&at(-999_999_970), now + 10 * S), Some(now + 30 * S));
        assert_eq!(clock.local(&at(-2_000_000_000), now), Some(now));
    }

    #[test]
    fn the_least_delayed_sample_wins_until_a_reset() {
        let now = Instant::now();
        let mut clock = BrokerClock::default();
        clock.reset(Some(&at(100)), now);
        clock.sample(Some(&at(103)), now + 5 * S);
        assert_eq!(clock.local(&at(130), now + 5 * S), Some(now + 30 * S), "the sample came 2 s late");
        clock.sample(Some(&at(107)), now + 5 * S);
        assert_eq!(clock.local(&at(130), now + 5 * S), Some(now + 28 * S));
        clock.reset(Some(&at(50)), now + 5 * S);
        assert_eq!(clock.local(&at(60), now + 5 * S), Some(now + 15 * S));
    }
}
