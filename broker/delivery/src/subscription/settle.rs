//! What a settlement does, by the token that it names (P4).

use std::cmp::Ordering;

use super::Subscription;
use crate::{
    Action, Completion, Defect, Output, Outputs, RequestId, SettleOutcome, Settlement, Time, Token,
    lease::Lease,
    record::{AttemptOutcome, DeadLetterCause},
};

/// A settlement that is to be answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ask {
    pub(super) who: Completion,
    pub(super) settlement: Settlement,
}

/// What a token still stands for.
enum Standing {
    /// Nothing: never given out, of another incarnation or of before a seek.
    Nothing,
    /// The live lease.
    Held(Lease),
    /// An unsettled event whose lease is over, or somebody else's by now; or, after a restart, that was not examined again yet.
    Late,
    /// An event that is settled.
    Past,
}

impl Ask {
    pub(super) fn new(request: RequestId, index: usize, settlement: Settlement) -> Self {
        Self { who: Completion { request, index }, settlement }
    }

    pub(super) fn answer(who: Completion, outcome: SettleOutcome, outputs: &mut Outputs) {
        outputs.push(Output::Settled { request: who.request, index: who.index, outcome });
    }
}

impl Subscription {
    /// Answers at once what needs no commit; decides about the rest.
    pub(super) fn settle(&mut self, now: Time, ask: Ask, outputs: &mut Outputs) {
        let token = ask.settlement.token;
        let Some(standing) = self.standing(&token) else { return self.waiting.push(ask) };
        let Ask { who, settlement } = ask;
        let outcome = match (standing, settlement.action) {
            (Standing::Nothing, _) => SettleOutcome::Stale,
            (Standing::Past, _) if self.state.dead_letters.contains(&token.offset) => SettleOutcome::DeadLettered,
            (Standing::Past, _) => SettleOutcome::AlreadySettled,
            (Standing::Late, Action::Ack { .. }) if self.has(Defect::LateAckRefused) => SettleOutcome::Stale,
            (_, Action::Ack { outputs: count, output_bytes }) => {
                if self.has(Defect::AnsweredBeforeCommit) {
                    Ask::answer(who, SettleOutcome::Done, outputs);
                }
                return self.decide(self.settled(token.offset).asked_by(who, token).with_outputs(count, output_bytes));
            }
            // Like an ack, a late rejection counts: no further attempt can help, whoever makes it.
            (_, Action::Reject { reason }) => {
                let decision = self.buried(now, token.offset, AttemptOutcome::Rejected, reason, DeadLetterCause::Rejected);
                return self.decide(decision.asked_by(who, token));
            }
            (Standing::Held(_), Action::Nack { delay, reason }) => {
                let decision = self.failed(now, token.offset, AttemptOutcome::Nacked, reason, delay);
                return self.decide(decision.asked_by(who, token));
            }
            (Standing::Held(_), Action::Release) => {
                self.state.unsettled.update(token.offset, |entry| entry.lease = None);
                SettleOutcome::Done
            }
            (Standing::Held(lease), Action::Extend { by }) => {
                let deadline = if self.has(Defect::LeaseTotalIgnored) {
                    now + by.unwrap_or(self.state.config.ack_deadline)
                } else {
                    lease.extended(now, by, &self.state.config)
                };
                self.state.unsettled.update(token.offset, |entry| entry.lease = Some(Lease { deadline, ..lease }));
                SettleOutcome::Extended(deadline)
            }
            (Standing::Late, _) => SettleOutcome::Stale,
        };
        Ask::answer(who, outcome, outputs);
    }

    /// `None` while a decision about the event is on its way: what the token stands for is known after it.
    fn standing(&self, token: &Token) -> Option<Standing> {
        let seek = token.seek == self.state.seek || self.has(Defect::SeekKeepsTokens);
        if token.incarnation != self.state.incarnation || !seek || !self.was_given_out(token) {
            return Some(Standing::Nothing);
        }
        if self.is_settling(token.offset) {
            return None;
        }
        Some(match self.state.unsettled.get(token.offset) {
            Some(entry) => match entry.lease {
                Some(lease) if lease.token == *token => Standing::Held(lease),
                _ => Standing::Late,
            },
            None if self.has(Defect::OutputsOfSettledInput) => Standing::Late,
            None if self.state.is_past(token.offset) => Standing::Past,
            None if token.epoch < self.epoch => Standing::Late,
            None => Standing::Nothing,
        })
    }

    /// Whether a delivery with this token can have been made. Those of earlier claims were of events before the restart's tail.
    fn was_given_out(&self, token: &Token) -> bool {
        match token.epoch.cmp(&self.epoch) {
            Ordering::Less => token.offset < self.restart.tail,
            Ordering::Equal => (1..=self.delivered).contains(&token.delivery),
            Ordering::Greater => false,
        }
    }

    /// Judges again the settlements that waited for what is known by now.
    pub(super) fn settle_waiting(&mut self, now: Time, outputs: &mut Outputs) {
        for ask in std::mem::take(&mut self.waiting) {
            self.settle(now, ask, outputs);
        }
    }
}
