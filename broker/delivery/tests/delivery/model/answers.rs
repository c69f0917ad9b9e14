//! What a settlement may be answered (P4).

use waypost_delivery::{Action, Offset, Record, SettleOutcome, Time, Token};

use super::Model;

impl Model {
    pub(super) fn check_answer(&mut self, now: Time, token: Token, action: &Action, outcome: SettleOutcome) {
        let offset = token.offset;
        let is_valid = token.seek == self.seek && self.given.contains(&token);
        let holds = self.leases.get(&offset).copied().filter(|lease| lease.token == token);
        let truth = &self.truths[&offset];
        let is_in = |kind: fn(&Record, Offset) -> bool| self.latest.records.iter().any(|record| kind(record, offset));
        let is_dead = |record: &Record, offset| matches!(record, Record::DeadLettered(dead) if dead.offset == offset);
        let right = match (outcome, action) {
            (SettleOutcome::Done, Action::Ack { .. }) => {
                is_in(|record, offset| matches!(record, Record::Settled(of) if of.contains(&offset)))
            }
            (SettleOutcome::Done, Action::Nack { .. }) => {
                is_in(|record, offset| matches!(record, Record::Failed(of) if of.offset == offset)) || is_in(is_dead)
            }
            (SettleOutcome::Done, Action::Reject { .. }) => is_in(is_dead),
            (SettleOutcome::Done, Action::Release) => holds.is_some(),
            (SettleOutcome::Done, Action::Extend { .. }) => false,
            (SettleOutcome::Extended(until), _) => {
                holds.is_some_and(|lease| until <= (lease.started + self.config.max_lease_total).max(lease.deadline))
            }
            (SettleOutcome::AlreadySettled, _) => is_valid && truth.settled && !truth.redriven && !truth.dead,
            (SettleOutcome::DeadLettered, _) => is_valid && truth.dead && truth.settled,
            (SettleOutcome::Stale, Action::Ack { .. } | Action::Reject { .. }) => !is_valid,
            (SettleOutcome::Stale, _) => !is_valid || holds.is_none(),
            (SettleOutcome::Unavailable, _) => self.latest.is_refused,
            (SettleOutcome::OutputRefused, _) => self.latest.culprit.is_some(),
        };
        promise!("P4", right, "{action:?} of {token:?} is answered {outcome:?} at {now:?}; {truth:?}, held: {holds:?}");
        match outcome {
            SettleOutcome::Done => drop(self.leases.remove(&offset)),
            SettleOutcome::Extended(until) => self.leases.get_mut(&offset).unwrap().deadline = until,
            _ => {}
        }
    }
}
