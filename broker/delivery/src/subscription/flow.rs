//! What is read, and who is handed what (P3, P11, P12).
//!
//! Constraint: no more is read than could be handed out now, so memory follows the agents' appetite; and never beyond the bound.

use super::{Subscription, decision::Decision};
use crate::{
    Candidate, Defect, Deliver, Offset, Output, Outputs, Read, Record, SessionId, Time, Token, config::MAX_UNSETTLED, lease::Lease,
    unsettled::Entry,
};

/// The most dead letters of a subscription: at so many it reads no further until some are discarded or redriven, so that its memory
/// and its snapshot stay bounded.
pub(crate) const MAX_DEAD_LETTERS: usize = 100_000;

impl Subscription {
    /// How many more unsettled events may be known.
    pub(super) fn room(&self) -> usize {
        if self.has(Defect::UnsettledUnbounded) {
            return usize::MAX;
        }
        (self.state.config.max_unsettled.min(MAX_UNSETTLED) as usize).saturating_sub(self.state.unsettled.len())
    }

    /// Whether there are so many unsettled events or dead letters that nothing more is read.
    pub(super) fn is_full(&self) -> bool {
        self.room() == 0 || self.state.dead_letters.len() >= MAX_DEAD_LETTERS
    }

    /// Hands out what is ready, lowest first. One that fits nowhere yet is not overtaken, or it would starve.
    pub(super) fn hand_out(&mut self, now: Time, outputs: &mut Outputs) {
        while let Some((offset, session)) = self.next_delivery() {
            self.delivered += 1;
            let token =
                Token { incarnation: self.state.incarnation, seek: self.state.seek, offset, epoch: self.epoch, delivery: self.delivered };
            let lease = Lease::new(now, session, token, &self.state.config);
            if let Some(session) = self.sessions.get_mut(session) {
                session.served = self.delivered;
            }
            let delivery = self.state.unsettled.update(offset, |entry| {
                entry.lease = Some(lease);
                let (attempt, losses, redriven) = (entry.next_attempt(), entry.losses, entry.redriven);
                Deliver { session, token, attempt, losses, deadline: lease.deadline, redriven }
            });
            outputs.extend(delivery.map(Output::Deliver));
            if self.has(Defect::SecondLease) {
                let other = self.sessions.ids().into_iter().find(|&other| other != session);
                outputs.extend(delivery.zip(other).map(|(delivery, session)| Output::Deliver(Deliver { session, ..delivery })));
            }
        }
    }

    fn next_delivery(&self) -> Option<(Offset, SessionId)> {
        if self.state.paused {
            return None;
        }
        let offset = self.state.unsettled.next_ready()?;
        let bytes = self.state.unsettled.get(offset)?.bytes;
        if !self.has_room(bytes) {
            return None;
        }
        let session = self.sessions.choose(bytes, |session| self.state.unsettled.load_of(session))?;
        Some((offset, session))
    }

    /// Whether one more lease fits under the subscription's own limits.
    pub(super) fn has_room(&self, bytes: u32) -> bool {
        self.state.unsettled.load().has_room(bytes, self.max_outstanding(), self.state.config.max_outstanding_bytes)
    }

    fn max_outstanding(&self) -> u32 {
        if self.has(Defect::OutstandingUnlimited) { u32::MAX } else { self.state.config.max_outstanding }
    }

    /// Asks for as many candidates as could be handed out now and are not at hand, up to where another filter begins.
    pub(super) fn ask_for_more(&mut self, outputs: &mut Outputs) {
        if self.read.is_some() || self.state.paused || self.is_full() || !self.has_room(0) {
            return;
        }
        let unsettled = &self.state.unsettled;
        let credit =
            self.sessions.credit(|session| unsettled.load_of(session)).min(self.max_outstanding().saturating_sub(unsettled.load().count()));
        let limit = (credit as usize).saturating_sub(unsettled.ready()).min(self.room());
        let from = self.state.frontier;
        let filter_ends = self.state.filters.get(1).map(|&(begins, _)| begins);
        let until = filter_ends.into_iter().chain(self.settling_ahead.first().copied()).min();
        if limit == 0 || until.is_some_and(|until| until <= from) {
            return;
        }
        let limit = u32::try_from(limit).unwrap_or(u32::MAX);
        let read = Read { from, until, limit, filter: self.state.first_filter };
        self.read = Some(read);
        outputs.push(Output::Read(read));
    }

    /// Takes in the answer to the standing read. If something in it was lost, the loss is recorded first and the span is read again:
    /// the frontier never passes it silently.
    pub(super) fn candidates(&mut self, now: Time, read: Read, events: Vec<Candidate>, next: Offset, gaps: Vec<(Offset, Offset)>) {
        if self.read != Some(read) {
            return;
        }
        self.read = None;
        gaps.into_iter().for_each(|(from, to)| self.gap(from, to));
        if self.journal.has_barrier() {
            return;
        }
        let ends = read.until.into_iter().chain(self.settling_ahead.first().copied()).min();
        let mut next = ends.map_or(next, |end| next.min(end));
        for event in events.into_iter().take_while(|event| ends.is_none_or(|end| event.offset < end)) {
            if !self.state.is_new(&event) {
                continue;
            }
            if self.room() == 0 {
                next = next.min(event.offset);
                break;
            }
            let wait = self.restart.wait(now, event.offset);
            self.state.unsettled.insert(event.offset, Entry { bytes: event.bytes, key: event.key, wait, ..Entry::default() });
        }
        self.state.examined(next);
    }

    /// Records that the store lost a span, as far as the subscription still needs it. Of several in one answer the first comes first; the
    /// others are found again when the span is read again.
    pub(super) fn gap(&mut self, from: Offset, to: Offset) {
        if self.has(Defect::GapSilent) {
            return;
        }
        if let Some((from, to)) = self.state.needed(from, to).filter(|_| !self.journal.has_barrier()) {
            self.decide(Decision::alone(Record::Gap { from, to }));
        }
    }
}
