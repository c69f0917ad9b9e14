//! What may go, as functions of what is known: no store, no clock.

use std::time::Duration;

use waypost_store::{DiskState, Micros, Offset};

/// Under this share of what publishers may use, settled events are kept for their time; above, the oldest go before it.
const PRESSURE_PERCENT: u64 = 90;

/// And go until so much is in use.
const RELIEF_PERCENT: u64 = 80;

/// The shares of what publishers may use at which a system event tells, and by how much use must fall before it tells again.
const WARN_PERCENT: [u64; 3] = [50, 75, 90];
const HYSTERESIS_PERCENT: u64 = 5;

/// Up to where the log might go, if nobody needed it: whole segments that are old enough, and under pressure the oldest ones that are not.
#[must_use]
pub fn wish(disk: &DiskState, now: Micros, settled: Duration) -> Offset {
    let age = u64::try_from(settled.as_micros()).unwrap_or(Micros::MAX);
    let room = disk.cap.saturating_sub(disk.reserve);
    let too_much = if disk.used > share(room, PRESSURE_PERCENT) { disk.used - share(room, RELIEF_PERCENT) } else { 0 };
    let mut freed = 0;
    // The last one is being written.
    let closed = disk.segments.len().saturating_sub(1);
    let goes = disk.segments[..closed].iter().take_while(|segment| {
        let is_old = now.saturating_sub(segment.newest) > age;
        let goes = is_old || freed < too_much;
        freed += segment.bytes;
        goes
    });
    goes.last().map_or(disk.first, |segment| segment.next)
}

/// How full the store is for publishers, in percent.
#[must_use]
pub fn percent(disk: &DiskState) -> u64 {
    let room = disk.cap.saturating_sub(disk.reserve).max(1);
    u64::try_from(u128::from(disk.used) * 100 / u128::from(room)).unwrap_or(u64::MAX)
}

/// Remembers which warnings were given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gauge {
    told: u64,
}

impl Gauge {
    /// The warning that is due, if one is: each once, until use fell clearly below it.
    pub fn update(&mut self, percent: u64) -> Option<u64> {
        let reached = WARN_PERCENT.into_iter().filter(|&level| percent >= level).max().unwrap_or(0);
        if reached > self.told {
            self.told = reached;
            return Some(reached);
        }
        if percent + HYSTERESIS_PERCENT < self.told {
            self.told = reached;
        }
        None
    }
}

/// What becomes of a subscription that nobody uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Absence {
    /// Nothing.
    Kept,
    /// It will go soon.
    Expiring,
    /// It goes.
    Expired,
}

/// How long before its end a subscription is warned of: a day, or half of its time.
const WARN_BEFORE: Duration = Duration::from_secs(86_400);

/// After every start, agents have this long to come back, whatever is known of when they were last here.
const START_GRACE: Duration = Duration::from_secs(3_600);

/// What becomes of a subscription without a session. `last` is when it had one or was created, `started` when the broker was.
#[must_use]
pub fn absence(now: Micros, last: Micros, started: Micros, expire_after: Duration) -> Absence {
    let micros = |span: Duration| u64::try_from(span.as_micros()).unwrap_or(Micros::MAX);
    let ends = last.saturating_add(micros(expire_after)).max(started.saturating_add(micros(START_GRACE.min(expire_after))));
    let warned = ends.saturating_sub(micros(WARN_BEFORE.min(expire_after / 2)));
    if now >= ends {
        Absence::Expired
    } else if now >= warned {
        Absence::Expiring
    } else {
        Absence::Kept
    }
}

fn share(of: u64, percent: u64) -> u64 {
    of / 100 * percent + of % 100 * percent / 100
}

#[cfg(test)]
mod tests {
    use waypost_store::SegmentState;

    use super::*;

    const DAY: Micros = 86_400_000_000;

    /// Segments of ten offsets and a hundred bytes each, one a day.
    fn disk(segments: u64, used: u64) -> DiskState {
        let segments: Vec<_> =
            (0..segments).map(|at| SegmentState { first: 1 + at * 10, next: 11 + at * 10, bytes: 100, newest: (at + 1) * DAY }).collect();
        let next = segments.last().map_or(1, |segment| segment.next);
        DiskState { used, cap: 1_100, reserve: 100, first: 1, next, segments, ..DiskState::default() }
    }

    #[test]
    fn p11_settled_events_go_by_age_in_whole_segments() {
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(wish(&disk(9, 500), 9 * DAY, week), 11, "the first day's is older than a week");
        assert_eq!(wish(&disk(9, 500), 8 * DAY, week), 1, "none is");
        assert_eq!(wish(&disk(9, 500), 99 * DAY, week), 81, "the one being written stays");
        assert_eq!(wish(&disk(0, 0), 99 * DAY, week), 1);
    }

    #[test]
    fn p11_under_pressure_the_oldest_settled_go_before_their_time() {
        let week = Duration::from_secs(7 * 86_400);
        assert_eq!(wish(&disk(9, 900), 5 * DAY, week), 1, "at 90 % there is none yet");
        assert_eq!(wish(&disk(9, 950), 5 * DAY, week), 21, "two segments bring it to 80 %");
    }

    #[test]
    fn p11_each_warning_is_given_once_until_use_fell_clearly_below() {
        let mut gauge = Gauge::default();
        let told: Vec<_> = [10, 49, 50, 60, 74, 80, 74, 76, 95, 100, 86, 92, 84, 90, 40, 51].map(|percent| gauge.update(percent)).to_vec();
        let expected = [None, None, Some(50), None, None, Some(75), None, None, Some(90), None, None, None, None, Some(90), None, Some(50)];
        assert_eq!(told, expected);
        assert_eq!(percent(&disk(1, 750)), 75);
    }

    #[test]
    fn p11_an_abandoned_subscription_is_warned_of_and_then_goes() {
        let month = Duration::from_secs(31 * 86_400);
        assert_eq!(absence(29 * DAY, 0, 0, month), Absence::Kept);
        assert_eq!(absence(30 * DAY, 0, 0, month), Absence::Expiring);
        assert_eq!(absence(31 * DAY, 0, 0, month), Absence::Expired);
        let (minute, second) = (Duration::from_secs(60), 1_000_000);
        assert_eq!(absence(29 * second, 0, 0, minute), Absence::Kept);
        assert_eq!(absence(30 * second, 0, 0, minute), Absence::Expiring);
    }

    #[test]
    fn p11_agents_have_an_hour_to_come_back_after_a_long_outage_of_the_broker() {
        let month = Duration::from_secs(31 * 86_400);
        let started = 100 * DAY;
        assert_eq!(absence(started, 0, started, month), Absence::Expiring);
        assert_eq!(absence(started + 3_600_000_000, 0, started, month), Absence::Expired);
    }
}
