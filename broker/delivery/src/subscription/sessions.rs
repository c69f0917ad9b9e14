//! Who holds what after a stream opened, broke, or said goodbye (P6).

use std::collections::BTreeMap;

use super::Subscription;
use crate::{
    CloseReason, Defect, Held, Offset, Output, Outputs, RevokeReason, SessionId, SessionLimits, StreamId, Time, Token, lease::Lease,
    record::AttemptOutcome, unsettled::Entry,
};

impl Subscription {
    /// A stream opens: what its client still holds goes on, what it never got is free again, uncounted.
    pub(super) fn connect(
        &mut self,
        now: Time,
        session: SessionId,
        stream: StreamId,
        limits: SessionLimits,
        held: Vec<Held>,
        outputs: &mut Outputs,
    ) {
        let replaced = self.sessions.connect(session, stream, limits).filter(|_| !self.has(Defect::SecondStreamKept));
        outputs.extend(replaced.map(|stream| Output::Close { session, stream, reason: CloseReason::Replaced }));
        let before = self.state.unsettled.held_by(session);
        let leases: BTreeMap<_, _> = before.iter().filter_map(|&offset| self.give_up(offset)).map(|lease| (lease.token, lease)).collect();
        // What goes on has its room before what is adopted.
        let (live, claimed): (Vec<_>, Vec<_>) = held.into_iter().partition(|held| leases.contains_key(&held.token));
        let held: Vec<_> = live.into_iter().chain(claimed).collect();
        for held in &held {
            match leases.get(&held.token) {
                Some(lease) => self.resume(*lease),
                None => self.adopt(now, session, held, outputs),
            };
        }
        // Told when all is decided: of two deliveries of one event the later one may have come after.
        let (mut adopted, mut dropped) = (Vec::new(), Vec::new());
        for Held { token, .. } in held {
            let lease = self.state.unsettled.get(token.offset).and_then(|entry| entry.lease);
            match lease.filter(|lease| lease.token == token && lease.session == session) {
                Some(lease) => adopted.push((token, lease.deadline)),
                None => dropped.push(token),
            }
        }
        outputs.push(Output::Opened { session, stream, adopted, dropped });
    }

    /// A lease of before the stream broke goes on, within the limits that the session has now.
    fn resume(&mut self, lease: Lease) -> bool {
        let offset = lease.token.offset;
        let (load, session) = (self.state.unsettled.load_of(lease.session), self.sessions.get(lease.session));
        let Some(entry) = self.state.unsettled.get(offset).filter(|entry| entry.lease.is_none()) else { return false };
        let fits = session.is_some_and(|session| session.has_room(load, entry.bytes));
        if fits {
            self.state.unsettled.update(offset, |entry| entry.lease = Some(lease));
        }
        fits
    }

    /// Within the grace after a restart, a delivery of before it becomes a lease again, unless its event is settled. Of two that claim
    /// one event the later delivery wins.
    fn adopt(&mut self, now: Time, session: SessionId, held: &Held, outputs: &mut Outputs) -> bool {
        let (token, event) = (held.token, held.event);
        let known = self.state.unsettled.get(token.offset);
        let rival = known.and_then(|entry| entry.lease);
        let is_free = match known {
            Some(entry) => !entry.settling && rival.is_none_or(|rival| token.is_later_than(&rival.token)),
            None => !self.is_settling(token.offset) && !self.state.is_past(token.offset) && self.room() > 0,
        };
        let (bytes, key) = known.map_or((event.bytes, event.key), |entry| (entry.bytes, entry.key));
        let load = self.state.unsettled.load_of(session);
        let fits = self.sessions.get(session).is_some_and(|session| session.has_room(load, bytes))
            && (rival.is_some() || self.has_room(bytes) && !self.state.unsettled.is_key_held(key));
        if !self.is_of_before_restart(now, &token) || !is_free || !fits {
            return false;
        }
        if let Some(rival) = rival.filter(|rival| rival.session != session) {
            Self::revoke(&rival, RevokeReason::Expired, outputs);
        }
        if known.is_none() {
            let wait = self.restart.wait(now, token.offset);
            self.state.unsettled.insert(token.offset, Entry { bytes, key, wait, ..Entry::default() });
        }
        let lease = Lease::new(now, session, token, &self.state.config);
        // A backoff is not over with it: should the client give the event back, it waits on.
        self.state.unsettled.update(token.offset, |entry| entry.lease = Some(lease));
        true
    }

    fn is_of_before_restart(&self, now: Time, token: &Token) -> bool {
        let same = token.incarnation == self.state.incarnation && token.seek == self.state.seek;
        same && token.epoch < self.epoch && self.restart.wait(now, token.offset).is_some() && !self.has(Defect::AdoptionForgotten)
    }

    /// A stream broke: its session may come back within the grace, if there is something to come back to.
    pub(super) fn disconnect(&mut self, now: Time, id: SessionId, stream: StreamId) {
        let Some(session) = self.sessions.get(id).filter(|session| session.stream == Some(stream)) else { return };
        if session.draining && !self.has(Defect::DrainCounted) {
            self.release_all(id);
        } else if self.state.unsettled.load_of(id).events == 0 {
            self.sessions.remove(id);
        } else {
            let grace = if self.has(Defect::GraceIgnored) { now } else { now + self.state.config.resume_grace };
            self.sessions.wait(id, grace);
        }
    }

    /// Nothing new for a session, or for all. One whose stream is broken says its goodbye with it.
    pub(super) fn drain(&mut self, session: Option<SessionId>) {
        for id in session.map_or_else(|| self.sessions.ids(), |id| vec![id]) {
            match self.sessions.get_mut(id) {
                Some(session) if session.stream.is_some() => session.draining = true,
                Some(_) => self.release_all(id),
                None => {}
            }
        }
    }

    pub(super) fn writable(&mut self, session: SessionId, writable: bool) {
        if let Some(session) = self.sessions.get_mut(session) {
            session.writable = writable;
        }
    }

    /// A session did not come back: each of its leases is one loss. What it settled just before is not lost.
    pub(super) fn lose(&mut self, now: Time, session: SessionId) {
        for offset in self.state.unsettled.held_by(session) {
            self.give_up(offset);
            if !self.is_settling(offset) {
                let decision = self.failed(now, offset, AttemptOutcome::Lost, String::new(), None);
                self.decide(decision);
            }
        }
    }

    fn release_all(&mut self, session: SessionId) {
        self.sessions.remove(session);
        for offset in self.state.unsettled.held_by(session) {
            self.give_up(offset);
        }
    }

    /// Ends a lease, uncounted. If its settlement is on its way the event is free only should that be refused.
    fn give_up(&mut self, offset: Offset) -> Option<Lease> {
        self.state.unsettled.update(offset, |entry| entry.lease.take()).flatten()
    }
}
