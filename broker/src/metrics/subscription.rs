//! What is counted for each subscription.
//!
//! Constraint: gauges are what the machine said of itself last; nothing is counted twice over by counting it here and there.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use waypost_delivery::{
    Record, Status,
    record::{AttemptOutcome, DeadLetterCause},
};

/// The figures of one subscription. Counters begin with the process.
#[derive(Debug, Default)]
pub struct SubscriptionMetrics {
    /// Deliveries that were the first of their event.
    pub first_deliveries: AtomicU64,
    /// Deliveries that were not.
    pub redeliveries: AtomicU64,
    /// Of [`OUTCOMES`], in their order.
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// Of [`CAUSES`], in their order.
    causes: [AtomicU64; CAUSES.len()],
    /// Offsets that were lost to it.
    pub gap_offsets: AtomicU64,
    /// Whether the gauges were set.
    is_known: AtomicBool,
    gauges: Gauges,
}

#[derive(Debug, Default)]
struct Gauges {
    unsettled: AtomicU64,
    outstanding: AtomicU64,
    dead_letters: AtomicU64,
    sessions: AtomicU64,
    is_full: AtomicBool,
    is_paused: AtomicBool,
}

/// How an attempt can end, as label values.
pub const OUTCOMES: [&str; 5] = ["acked", "nacked", "expired", "lost", "rejected"];

/// Why an event can become a dead letter, as label values.
pub const CAUSES: [&str; 3] = ["attempts", "losses", "rejected"];

/// What one commit says, in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    outcomes: [u64; OUTCOMES.len()],
    causes: [u64; CAUSES.len()],
    gap_offsets: u64,
}

/// What the machine said of itself last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// Events examined and not settled.
    pub unsettled: u64,
    /// Those of them that are under lease.
    pub outstanding: u64,
    /// Dead letters that are not on their way again.
    pub dead_letters: u64,
    /// Sessions.
    pub sessions: u64,
    /// Whether it reads no further because too much is unsettled.
    pub is_full: bool,
    /// Whether it is stopped.
    pub is_paused: bool,
}

fn outcome(outcome: AttemptOutcome) -> usize {
    match outcome {
        AttemptOutcome::Nacked => 1,
        AttemptOutcome::Expired => 2,
        AttemptOutcome::Lost => 3,
        AttemptOutcome::Rejected => 4,
    }
}

fn cause(cause: DeadLetterCause) -> usize {
    match cause {
        DeadLetterCause::Attempts => 0,
        DeadLetterCause::Losses => 1,
        DeadLetterCause::Rejected => 2,
    }
}

impl Facts {
    /// Of the records of a commit.
    #[must_use]
    pub fn of(records: &[Record]) -> Self {
        let mut facts = Self::default();
        for record in records {
            match record {
                Record::Settled(offsets) => facts.outcomes[0] += offsets.len() as u64,
                Record::Failed(failure) => facts.outcomes[outcome(failure.attempt.outcome)] += 1,
                Record::DeadLettered(letter) => {
                    facts.causes[cause(letter.cause)] += 1;
                    // Its last attempt has no record of its own.
                    if let Some(last) = letter.history.last() {
                        facts.outcomes[outcome(last.outcome)] += 1;
                    }
                }
                Record::Gap { from, to } => facts.gap_offsets += to.saturating_sub(*from),
                _ => {}
            }
        }
        facts
    }
}

impl SubscriptionMetrics {
    /// Counts what became durable.
    pub fn add(&self, facts: Facts) {
        let pairs = self.outcomes.iter().zip(facts.outcomes).chain(self.causes.iter().zip(facts.causes));
        for (all, more) in pairs.chain([(&self.gap_offsets, facts.gap_offsets)]).filter(|(_, more)| *more > 0) {
            all.fetch_add(more, Relaxed);
        }
    }

    /// Notes what the machine says of itself.
    pub fn note(&self, status: &Status) {
        let gauges = &self.gauges;
        for (gauge, value) in [
            (&gauges.unsettled, status.unsettled),
            (&gauges.outstanding, status.leased),
            (&gauges.dead_letters, status.dead_letters),
            (&gauges.sessions, status.sessions),
        ] {
            gauge.store(value as u64, Relaxed);
        }
        gauges.is_full.store(status.full, Relaxed);
        gauges.is_paused.store(status.paused, Relaxed);
        self.is_known.store(true, Relaxed);
    }

    /// How often attempts ended how.
    pub fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        OUTCOMES.into_iter().zip(self.outcomes.iter().map(|count| count.load(Relaxed)))
    }

    /// Events that are settled: acked, or set aside.
    #[must_use]
    pub fn settled(&self) -> u64 {
        self.outcomes[0].load(Relaxed) + self.causes().map(|(_, count)| count).sum::<u64>()
    }

    /// How often events became dead letters, and why.
    pub fn causes(&self) -> impl Iterator<Item = (&'static str, u64)> {
        CAUSES.into_iter().zip(self.causes.iter().map(|count| count.load(Relaxed)))
    }

    /// What the machine said last; `None` if it was not loaded since the start.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        let Gauges { unsettled, outstanding, dead_letters, sessions, is_full, is_paused } = &self.gauges;
        self.is_known.load(Relaxed).then(|| Level {
            unsettled: unsettled.load(Relaxed),
            outstanding: outstanding.load(Relaxed),
            dead_letters: dead_letters.load(Relaxed),
            sessions: sessions.load(Relaxed),
            is_full: is_full.load(Relaxed),
            is_paused: is_paused.load(Relaxed),
        })
    }
}

#[cfg(test)]
mod tests {
    use waypost_delivery::{
        Time,
        record::{Attempt, DeadLetter},
    };

    use super::*;

    #[test]
    fn the_attempt_that_made_a_dead_letter_is_counted_with_it() {
        let attempt = Attempt { at: Time::from_micros(1), outcome: AttemptOutcome::Expired, reason: String::new() };
        let letter = DeadLetter { offset: 7, cause: DeadLetterCause::Attempts, attempts: 1, losses: 0, history: vec![attempt] };
        let facts = Facts::of(&[Record::Settled(vec![1, 2]), Record::DeadLettered(letter), Record::Gap { from: 3, to: 6 }]);
        let metrics = SubscriptionMetrics::default();
        metrics.add(facts);
        metrics.add(facts);
        let outcomes: Vec<_> = metrics.outcomes().filter(|(_, count)| *count > 0).collect();
        assert_eq!(outcomes, [("acked", 4), ("expired", 2)]);
        assert_eq!(metrics.causes().next(), Some(("attempts", 2)));
        assert_eq!(metrics.settled(), 6);
        assert_eq!(metrics.gap_offsets.load(Relaxed), 6);
    }
}
