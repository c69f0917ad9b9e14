//! When a failed event is tried again, and when it becomes a dead letter (P5).

use std::time::Duration;

use super::{Subscription, decision::Decision};
use crate::{
    Defect, Offset, Outputs, Record, RevokeReason, Time,
    lease::Lease,
    record::{Attempt, AttemptOutcome, DeadLetter, DeadLetterCause, Failure, MAX_REASON_BYTES},
    unsettled::{Entry, MAX_HISTORY},
};

/// What an event may weigh whose size is not known, because it was not read again since a restart.
const MAX_EVENT_BYTES: u64 = 1024 * 1024;

impl Subscription {
    /// A lease that was not settled in time: the holder is told at once, the event is free once its failure is durable.
    pub(super) fn expire(&mut self, now: Time, offset: Offset, lease: Lease, outputs: &mut Outputs) {
        Self::revoke(&lease, RevokeReason::Expired, outputs);
        self.state.unsettled.update(offset, |entry| entry.lease = None);
        let decision = self.failed(now, offset, AttemptOutcome::Expired, String::new(), None);
        self.decide(decision);
    }

    /// The failure of an unsettled event: another try later, or its last. A delay is exact but for the policy's longest wait, which
    /// bounds what a restart is prepared to wait.
    pub(super) fn failed(&self, now: Time, offset: Offset, outcome: AttemptOutcome, reason: String, delay: Option<Duration>) -> Decision {
        let (config, entry) = (&self.state.config, self.state.unsettled.get(offset));
        let (bytes, key) = entry.map_or((0, None), |entry| (entry.bytes, entry.key));
        let (attempts, losses) = counted(entry, outcome);
        let uncounted = outcome == AttemptOutcome::Lost && self.has(Defect::LossesNotCounted);
        if let Some(cause) = config.retry.verdict(attempts, losses).filter(|_| !uncounted) {
            return self.buried(now, offset, outcome, reason, cause);
        }
        let wait = match (delay, outcome) {
            (Some(delay), _) => delay.min(config.retry.max_backoff),
            // The session may be to blame: the first time another one gets the event at once.
            (None, AttemptOutcome::Lost) if losses <= 1 => Duration::ZERO,
            (None, AttemptOutcome::Lost) => config.retry.backoff(config.jitter_seed, offset, losses - 1),
            (None, _) => config.retry.backoff(config.jitter_seed, offset, attempts),
        };
        let wait = if self.has(Defect::JitterByChance) { wait + by_chance(self) } else { wait };
        let attempt = Attempt { at: now, outcome, reason: cut(reason) };
        Decision::about(offset, Record::Failed(Failure { offset, bytes, key, retry_at: now + wait, attempt }))
    }

    /// The end of an event that will not be tried again: its copy goes into the same commit.
    pub(super) fn buried(&self, now: Time, offset: Offset, outcome: AttemptOutcome, reason: String, cause: DeadLetterCause) -> Decision {
        if self.state.config.ephemeral {
            return self.settled(offset);
        }
        let entry = self.state.unsettled.get(offset);
        let (attempts, losses) = counted(entry, outcome);
        let mut history = entry.map_or_else(Vec::new, |entry| entry.history.clone());
        if history.len() >= MAX_HISTORY {
            history.remove(0);
        }
        history.push(Attempt { at: now, outcome, reason: cut(reason) });
        let copied = entry.map_or(MAX_EVENT_BYTES, |entry| u64::from(entry.bytes));
        let fact = Record::DeadLettered(DeadLetter { offset, cause, attempts, losses, history });
        let weight = fact.weight() as u64;
        Decision::about(offset, fact).with_dead_letter(copied + weight)
    }

    /// An event is done. If it was a dead letter, that goes with it.
    pub(super) fn settled(&self, offset: Offset) -> Decision {
        let decision = Decision::settled(offset);
        let redriven = self.state.unsettled.get(offset).is_some_and(|entry| entry.redriven);
        if redriven { decision.ending_dead_letter() } else { decision }
    }
}

/// The failures and losses of an event with one more of this kind. A rejection is no failed attempt of the kind that is limited, but
/// one that was made.
fn counted(entry: Option<&Entry>, outcome: AttemptOutcome) -> (u32, u32) {
    let (attempts, losses) = entry.map_or((0, 0), |entry| (entry.attempts, entry.losses));
    match outcome {
        AttemptOutcome::Lost => (attempts, losses.saturating_add(1)),
        AttemptOutcome::Nacked | AttemptOutcome::Expired | AttemptOutcome::Rejected => (attempts.saturating_add(1), losses),
    }
}

/// Something else than the history: where the machine lies in memory.
fn by_chance(machine: &Subscription) -> Duration {
    Duration::from_micros(std::ptr::from_ref(machine).addr() as u64 >> 3 & 0xffff)
}

fn cut(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON_BYTES));
    reason
}
