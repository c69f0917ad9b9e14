//! What a commit may hold (P2, P5, P9), and what is true once it is durable.

use waypost_delivery::{
    Action, CommitPlan, Completion, Offset, Record, Time,
    record::{AttemptOutcome, DeadLetterCause, Failure},
};

use super::{Latest, Model, Truth};

impl Model {
    /// The records of a commit, as it is asked for.
    pub(super) fn check_plan(&self, now: Time, plan: &CommitPlan) {
        for record in &plan.records {
            match record {
                Record::Settled(offsets) => {
                    for offset in offsets {
                        let is_asked =
                            self.asks.values().any(|(token, action)| token.offset == *offset && matches!(action, Action::Ack { .. }));
                        let is_end = self.config.ephemeral;
                        promise!("P2", is_asked || is_end, "event {offset} is settled, and nobody asked for it");
                    }
                }
                Record::Failed(failure) => self.check_failure(now, failure),
                Record::DeadLettered(dead) => {
                    let truth = &self.truths[&dead.offset];
                    promise!("P5", truth.is_open(), "event {} is set aside though it is settled", dead.offset);
                    let (attempts, losses) = (truth.attempts, truth.losses);
                    let justified = match dead.cause {
                        DeadLetterCause::Attempts => dead.attempts == attempts + 1 && dead.attempts >= self.config.retry.max_attempts,
                        DeadLetterCause::Losses => dead.losses == losses + 1 && dead.losses >= self.config.retry.max_losses,
                        DeadLetterCause::Rejected => {
                            self.asks.values().any(|(token, action)| token.offset == dead.offset && matches!(action, Action::Reject { .. }))
                        }
                    };
                    promise!("P5", justified, "{dead:?} after {attempts} failures and {losses} losses");
                    let twice =
                        plan.records.iter().filter(|record| matches!(record, Record::DeadLettered(other) if other.offset == dead.offset));
                    promise!("P5", twice.count() == 1, "event {} is set aside twice", dead.offset);
                }
                _ => {}
            }
        }
        for who in &plan.completions {
            let (token, _) = &self.asks[&(who.request, who.index)];
            let settles = plan.records.iter().any(|record| matches!(record, Record::Settled(offsets) if offsets.contains(&token.offset)));
            let truth = &self.truths[&token.offset];
            promise!("P9", settles && truth.is_open(), "outputs of {token:?} are published, which does not settle its event");
        }
    }

    fn check_failure(&self, now: Time, failure: &Failure) {
        let (offset, truth) = (failure.offset, &self.truths[&failure.offset]);
        let wait = failure.retry_at.since(failure.attempt.at).as_secs_f64();
        let policy = &self.config.retry;
        let backoff = |n: u32| {
            let nominal =
                (policy.min_backoff.as_secs_f64() * 2_f64.powi(i32::try_from(n).unwrap() - 1)).min(policy.max_backoff.as_secs_f64());
            (nominal * 0.799..=nominal * 1.201).contains(&wait)
        };
        let right = match failure.attempt.outcome {
            AttemptOutcome::Nacked => {
                let mut nacks = self.asks.values().filter(|(token, _)| token.offset == offset);
                let delay = nacks.find_map(|(_, action)| if let Action::Nack { delay, .. } = action { Some(*delay) } else { None });
                let Some(delay) = delay else { panic!("P5: event {offset} failed, and nobody said so") };
                delay.map_or_else(|| backoff(truth.attempts + 1), |delay| (delay.min(policy.max_backoff).as_secs_f64() - wait).abs() < 1e-6)
            }
            AttemptOutcome::Expired => self.expired.contains(&offset) && backoff(truth.attempts + 1),
            AttemptOutcome::Lost if truth.losses == 0 => self.lost.contains(&offset) && wait == 0.0,
            AttemptOutcome::Lost => self.lost.contains(&offset) && backoff(truth.losses),
            AttemptOutcome::Rejected => false,
        };
        promise!("P5", right, "{failure:?} at {now:?} after {truth:?}");
        let (attempts, losses) = match failure.attempt.outcome {
            AttemptOutcome::Lost => (truth.attempts, truth.losses + 1),
            _ => (truth.attempts + 1, truth.losses),
        };
        promise!("P5", attempts < policy.max_attempts && losses < policy.max_losses, "event {offset} fails for ever");
    }

    /// A commit became durable.
    pub(crate) fn committed(&mut self, plan: &CommitPlan) {
        self.latest = Latest { records: plan.records.clone(), ..Latest::default() };
        for record in &plan.records {
            match record {
                Record::Settled(offsets) => offsets.iter().for_each(|offset| self.settle(*offset)),
                Record::DeadLettered(dead) => {
                    self.settle(dead.offset);
                    self.truths.get_mut(&dead.offset).unwrap().dead = true;
                }
                Record::Failed(failure) => {
                    let truth = self.truths.get_mut(&failure.offset).unwrap();
                    *(if failure.attempt.outcome == AttemptOutcome::Lost { &mut truth.losses } else { &mut truth.attempts }) += 1;
                    truth.not_before = failure.retry_at;
                    self.known_since.insert(failure.offset);
                    self.expired.remove(&failure.offset);
                    self.lost.remove(&failure.offset);
                }
                Record::Redriven(events) => {
                    for event in events {
                        let truth = self.truths.get_mut(&event.offset).unwrap();
                        promise!("P5", truth.dead, "event {} is redriven and was no dead letter", event.offset);
                        *truth = Truth { settled: true, redriven: true, ..Truth::default() };
                        self.known_since.insert(event.offset);
                    }
                }
                Record::Discarded(offsets) => offsets.iter().for_each(|offset| self.truths.get_mut(offset).unwrap().dead = false),
                Record::Gap { from, to } => {
                    for (_, truth) in self.truths.range_mut(from..to).filter(|(_, truth)| !truth.redriven) {
                        truth.settled = true;
                    }
                }
                Record::Sought { seek, to } => {
                    self.seek = *seek;
                    for (offset, truth) in self.truths.iter_mut().filter(|(_, truth)| !truth.redriven) {
                        *truth = Truth { settled: offset < to, dead: truth.dead, ..Truth::default() };
                    }
                }
                Record::Paused(paused) => self.paused = *paused,
                Record::Updated { config, .. } => self.config = config.clone(),
                Record::Created { .. } | Record::Snapshot(_) | Record::Deleted => {}
            }
        }
    }

    fn settle(&mut self, offset: Offset) {
        let truth = self.truths.get_mut(&offset).unwrap();
        truth.settled = true;
        truth.redriven = false;
        self.expired.remove(&offset);
        self.lost.remove(&offset);
    }

    pub(crate) fn refused(&mut self, culprit: Option<Completion>) {
        self.latest = Latest { is_refused: true, culprit, ..Latest::default() };
    }
}
