//! How decisions become commits, and how they take effect (P4, P5, P9).
//!
//! Constraints:
//! - At most one commit is in flight; what is decided meanwhile goes into the next one, in its order.
//! - A commit fits into one write of the store, with the outputs, dead letters and rows that the shell adds to it.
//! - A snapshot is a commit of its own: nothing else is in flight then, so it is the state as it stands.

use std::{collections::VecDeque, mem};

use super::{
    Subscription,
    decision::{Asked, Decision, Fact},
    settle::Ask,
};
use crate::{
    Commit, CommitPlan, Defect, Input, NotDone, Offset, Output, Outputs, Record, Refusal, RequestId, RevokeReason, SettleOutcome, Time,
};

/// The most items of one commit: records, outputs, and what the shell adds for dead letters.
pub(crate) const MAX_COMMIT_ITEMS: usize = 900;

/// The most bytes of one commit, as far as the machine knows them. One decision goes alone, whatever its size.
pub(crate) const MAX_COMMIT_BYTES: u64 = 3 * 1024 * 1024;

/// A snapshot is due when the records since the last weigh more than this, and more than the last one did: so the log stays short,
/// and a large state is not written again and again.
const SNAPSHOT_WEIGHT: usize = 256 * 1024;

/// What a record weighs beyond its bytes: a thousand of them make a snapshot due.
const RECORD_WEIGHT: usize = 256;

/// How long a commit that nobody asked for waits after it was refused.
const RETRY: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Clone, Debug)]
enum InFlight {
    Decisions(Vec<Decision>),
    /// With its weight.
    Snapshot(usize),
}

/// What is on its way to the disk.
#[derive(Clone, Debug, Default)]
pub(super) struct Journal {
    queue: VecDeque<Decision>,
    in_flight: Option<InFlight>,
    /// A decision that stands alone is among them.
    barrier: bool,
    /// What nobody asked for is not tried before.
    retry_at: Time,
    /// The weight of the records since the last snapshot, and that of the snapshot.
    written: usize,
    snapshot: usize,
}

impl Journal {
    /// Notes a record that a restart found.
    pub(super) fn found(&mut self, record: &Record, bytes: usize) {
        match record {
            Record::Snapshot(_) => (self.snapshot, self.written) = (bytes, 0),
            _ => self.written += bytes + RECORD_WEIGHT,
        }
    }

    pub(super) fn has_barrier(&self) -> bool {
        self.barrier
    }

    pub(super) fn is_in_flight(&self) -> bool {
        self.in_flight.is_some()
    }

    pub(super) fn next_timeout(&self) -> Option<Time> {
        let waits = self.in_flight.is_none() && (!self.queue.is_empty() || self.is_snapshot_due());
        waits.then_some(self.retry_at)
    }

    /// The events that decisions are being made about.
    pub(super) fn events(&self) -> impl Iterator<Item = Offset> {
        let in_flight = match &self.in_flight {
            Some(InFlight::Decisions(decisions)) => decisions.as_slice(),
            _ => &[],
        };
        in_flight.iter().chain(&self.queue).filter_map(|decision| decision.event)
    }

    fn is_snapshot_due(&self) -> bool {
        self.written > SNAPSHOT_WEIGHT.max(self.snapshot)
    }

    /// The decisions of the next commit, as many as fit.
    fn next_batch(&mut self) -> Vec<Decision> {
        let (mut batch, mut items, mut bytes) = (Vec::new(), 1_usize, 0_u64);
        while let Some(decision) = self.queue.front() {
            let cost = decision.cost();
            (items, bytes) = (items.saturating_add(cost.0), bytes.saturating_add(cost.1));
            if !batch.is_empty() && (items > MAX_COMMIT_ITEMS || bytes > MAX_COMMIT_BYTES) {
                break;
            }
            batch.extend(self.queue.pop_front());
        }
        batch
    }
}

impl Subscription {
    pub(super) fn decide(&mut self, decision: Decision) {
        if let Some(offset) = decision.event
            && self.state.unsettled.update(offset, |entry| entry.settling = true).is_none()
        {
            self.settling_ahead.insert(offset);
        }
        if decision.event.is_none() {
            self.journal.barrier = true;
            self.read = None;
        }
        self.journal.queue.push_back(decision);
    }

    pub(super) fn is_settling(&self, offset: Offset) -> bool {
        self.settling_ahead.contains(&offset) || self.state.unsettled.get(offset).is_some_and(|entry| entry.settling)
    }

    /// Gathers what was decided into one commit, if none is in flight.
    pub(super) fn commit(&mut self, now: Time, outputs: &mut Outputs) {
        if self.journal.in_flight.is_some() {
            return;
        }
        let may_retry = now >= self.journal.retry_at;
        if may_retry && self.journal.is_snapshot_due() {
            return self.commit_snapshot(outputs);
        }
        if !self.journal.queue.is_empty() && (may_retry || self.is_asked_for()) {
            let batch = self.journal.next_batch();
            let plan = self.plan(&batch);
            if !self.state.config.ephemeral {
                self.journal.written += plan.records.iter().map(|record| record.weight() + RECORD_WEIGHT).sum::<usize>();
            }
            self.journal.in_flight = Some(InFlight::Decisions(batch));
            outputs.push(Output::Commit(plan));
        }
    }

    /// Whether somebody waits for the next commit.
    fn is_asked_for(&self) -> bool {
        let is_deferred = self.deferred.iter().any(|input| !matches!(input, Input::Gap { .. }));
        is_deferred || !self.waiting.is_empty() || self.journal.queue.iter().any(|decision| decision.asked.is_some())
    }

    fn commit_snapshot(&mut self, outputs: &mut Outputs) {
        let record = self.snapshot();
        self.journal.in_flight = Some(InFlight::Snapshot(record.weight()));
        outputs.push(Output::Commit(CommitPlan {
            records: vec![record],
            supersede: true,
            completions: Vec::new(),
            ended_dead_letters: Vec::new(),
        }));
    }

    /// The durable state as one record: what a restart would know.
    #[must_use]
    pub fn snapshot(&self) -> Record {
        let mut snapshot = self.state.snapshot();
        if self.has(Defect::SnapshotForgetsLeased) {
            let leased = |offset| self.state.unsettled.get(offset).is_some_and(|entry| entry.lease.is_some());
            snapshot.unsettled.retain(|event| !leased(event.offset));
        }
        Record::Snapshot(Box::new(snapshot))
    }

    /// One record for all that is settled, and one for each other fact. Their order does not matter to each other: there is one
    /// decision at a time about one event, and nothing is decided after one that stands alone.
    fn plan(&self, batch: &[Decision]) -> CommitPlan {
        let (mut settled, mut records, mut ended) = (Vec::new(), Vec::new(), Vec::new());
        for decision in batch {
            let fact = match &decision.fact {
                Fact::Settled(offset) => {
                    settled.push(*offset);
                    ended.extend(self.state.unsettled.get(*offset).filter(|entry| entry.redriven).map(|_| *offset));
                    continue;
                }
                Fact::Other(fact) => &**fact,
            };
            match fact {
                Record::Failed(_) if self.has(Defect::AttemptsNotPersisted) => continue,
                Record::DeadLettered(_) if self.has(Defect::DeadLetterTwice) => records.push(fact.clone()),
                Record::Discarded(offsets) => ended.extend_from_slice(offsets),
                _ => {}
            }
            records.push(fact.clone());
        }
        if !settled.is_empty() {
            records.insert(0, Record::Settled(settled));
        }
        let completions = batch.iter().filter_map(Decision::completion).collect();
        CommitPlan { records, supersede: false, completions, ended_dead_letters: ended }
    }

    /// The fate of the commit in flight.
    pub(super) fn committed(&mut self, now: Time, result: Commit, outputs: &mut Outputs) {
        match (self.journal.in_flight.take(), result) {
            (None, _) => return,
            (Some(InFlight::Snapshot(weight)), Commit::Committed) => (self.journal.snapshot, self.journal.written) = (weight, 0),
            (Some(InFlight::Snapshot(_)), Commit::Refused(_)) => self.journal.retry_at = now + RETRY,
            (Some(InFlight::Decisions(batch)), Commit::Committed) => {
                batch.into_iter().for_each(|decision| self.take_effect(decision, outputs));
            }
            (Some(InFlight::Decisions(batch)), Commit::Refused(refusal)) => self.refused(now, batch, refusal, outputs),
        }
        if !self.journal.barrier {
            self.settle_waiting(now, outputs);
            for input in mem::take(&mut self.deferred) {
                self.handle(now, input, outputs);
            }
        }
    }

    fn take_effect(&mut self, decision: Decision, outputs: &mut Outputs) {
        let by = decision.token();
        let mut ended = mem::take(&mut self.ended);
        let (mut reason, mut gap) = (RevokeReason::SettledElsewhere, None);
        match decision.fact {
            Fact::Settled(offset) => self.state.settle(offset, &mut ended),
            Fact::Other(fact) => {
                match *fact {
                    Record::Sought { .. } => reason = RevokeReason::Sought,
                    // What was settled meanwhile is no loss.
                    Record::Gap { from, to } => (reason, gap) = (RevokeReason::Gone, self.state.needed(from, to)),
                    _ => {}
                }
                self.state.apply(*fact, &mut ended);
            }
        }
        ended.drain(..).filter(|lease| Some(lease.token) != by).for_each(|lease| Self::revoke(&lease, reason, outputs));
        self.ended = ended;
        outputs.extend(gap.map(|(from, to)| Output::Gap { from, to }));
        match decision.event {
            Some(offset) => drop(self.settling_ahead.remove(&offset)),
            None => self.journal.barrier = false,
        }
        match decision.asked {
            Some(Asked::Settlement(..)) if self.has(Defect::AnsweredBeforeCommit) => {}
            Some(Asked::Settlement(who, _)) => Ask::answer(who, SettleOutcome::Done, outputs),
            Some(Asked::Admin(request, offsets)) => self.administered(request, Ok(offsets), outputs),
            None => {}
        }
    }

    /// Nothing of it happened. Of a refused output its completion alone is told, and the rest is tried again; otherwise all who asked
    /// are told, those included who wait for what becomes of a decision.
    fn refused(&mut self, now: Time, batch: Vec<Decision>, refusal: Refusal, outputs: &mut Outputs) {
        let culprit = match refusal {
            Refusal::Output { completion } => batch.iter().filter_map(Decision::completion).nth(completion),
            Refusal::Unavailable => None,
        };
        let mut again = VecDeque::new();
        for mut decision in batch {
            let is_refused = culprit.is_none_or(|who| decision.completion() == Some(who));
            match decision.asked.take_if(|_| is_refused) {
                None => {
                    again.push_back(decision);
                    continue;
                }
                Some(Asked::Settlement(who, _)) => {
                    let outcome = if culprit.is_some() { SettleOutcome::OutputRefused } else { SettleOutcome::Unavailable };
                    Ask::answer(who, outcome, outputs);
                }
                Some(Asked::Admin(request, _)) => self.administered(request, Err(NotDone::Unavailable), outputs),
            }
            match decision.event {
                Some(offset) => {
                    self.state.unsettled.update(offset, |entry| entry.settling = false);
                    self.settling_ahead.remove(&offset);
                }
                None => self.journal.barrier = false,
            }
        }
        again.append(&mut self.journal.queue);
        self.journal.queue = again;
        if culprit.is_none() {
            self.journal.retry_at = now + RETRY;
            mem::take(&mut self.waiting).into_iter().for_each(|ask| Ask::answer(ask.who, SettleOutcome::Unavailable, outputs));
            if self.journal.barrier {
                let deferred = mem::take(&mut self.deferred).into_iter();
                let (gaps, asked): (Vec<_>, Vec<_>) = deferred.partition(|input| matches!(input, Input::Gap { .. }));
                self.deferred = gaps;
                asked.into_iter().for_each(|input| Self::turn_away(input, NotDone::Unavailable, outputs));
            }
        }
    }

    /// Answers an administrative step.
    fn administered(&mut self, request: RequestId, result: Result<Vec<Offset>, NotDone>, outputs: &mut Outputs) {
        outputs.push(Output::Done { request, result });
        if self.state.deleted {
            self.end(outputs);
        }
    }
}
