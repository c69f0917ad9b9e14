//! The agent processes that share a subscription, and which of them is next.
//!
//! Constraint: what a session holds is not kept here but derived from the unsettled events ([`Load`]), so that the two cannot drift
//! apart. Choosing costs in proportion to the sessions, never to the events.

use std::collections::{BTreeMap, BTreeSet};

use crate::{SessionId, SessionLimits, StreamId, Time, unsettled::Load};

/// One agent process's hold on the subscription.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    /// `None` while its stream is broken.
    pub(crate) stream: Option<StreamId>,
    pub(crate) limits: SessionLimits,
    pub(crate) writable: bool,
    pub(crate) draining: bool,
    /// When its broken stream is given up.
    grace: Option<Time>,
    /// The number of the latest delivery to it: the lowest is next among equals.
    pub(crate) served: u64,
}

impl Session {
    /// Whether one more event fits beside what it holds.
    pub(crate) fn has_room(&self, load: Load, bytes: u32) -> bool {
        load.has_room(bytes, self.limits.max_outstanding, self.limits.max_outstanding_bytes)
    }

    /// Whether it may be handed an event of this size now.
    fn takes(&self, load: Load, bytes: u32) -> bool {
        self.stream.is_some() && self.writable && !self.draining && self.has_room(load, bytes)
    }
}

/// All sessions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sessions {
    by_id: BTreeMap<SessionId, Session>,
    graces: BTreeSet<(Time, SessionId)>,
}

impl Sessions {
    pub(crate) fn get(&self, id: SessionId) -> Option<&Session> {
        self.by_id.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn ids(&self) -> Vec<SessionId> {
        self.by_id.keys().copied().collect()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.by_id.iter().map(|(&id, session)| (id, session))
    }

    /// Gives the session a new stream, and returns the one that it replaces.
    pub(crate) fn connect(&mut self, id: SessionId, stream: StreamId, limits: SessionLimits) -> Option<StreamId> {
        let before = self.remove(id);
        let served = before.as_ref().map_or(0, |session| session.served);
        let session = Session { stream: Some(stream), limits, writable: true, draining: false, grace: None, served };
        self.by_id.insert(id, session);
        before.and_then(|session| session.stream).filter(|&old| old != stream)
    }

    /// Its stream is broken; it may come back until `grace`.
    pub(crate) fn wait(&mut self, id: SessionId, grace: Time) {
        if let Some(session) = self.by_id.get_mut(&id) {
            session.stream = None;
            session.grace = Some(grace);
            self.graces.insert((grace, id));
        }
    }

    pub(crate) fn remove(&mut self, id: SessionId) -> Option<Session> {
        let session = self.by_id.remove(&id)?;
        if let Some(grace) = session.grace {
            self.graces.remove(&(grace, id));
        }
        Some(session)
    }

    /// Takes out one whose grace is over.
    pub(crate) fn pop_lost(&mut self, now: Time) -> Option<SessionId> {
        let &(_, id) = self.graces.first().filter(|(grace, _)| *grace <= now)?;
        self.remove(id);
        Some(id)
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.graces.first().map(|&(grace, _)| grace)
    }

    /// How many more events they take together.
    pub(crate) fn credit(&self, load: impl Fn(SessionId) -> Load) -> u32 {
        let loads = self.by_id.iter().map(|(&id, session)| (session, load(id)));
        let able = loads.filter(|(session, load)| session.takes(*load, 0));
        able.fold(0, |sum, (session, load)| sum.saturating_add(session.limits.max_outstanding.saturating_sub(load.count())))
    }

    /// Who gets an event of this size: of those that take it the one that holds least in relation to its limit; among equals the one
    /// that was served longest ago.
    pub(crate) fn choose(&self, bytes: u32, load: impl Fn(SessionId) -> Load) -> Option<SessionId> {
        let loads = self.by_id.iter().map(|(&id, session)| (id, session, load(id)));
        let able = loads.filter(|(_, session, load)| session.takes(*load, bytes));
        let next = able.min_by(|(_, a, a_load), (_, b, b_load)| {
            let a_share = u64::from(a_load.count()) * u64::from(b.limits.max_outstanding);
            let b_share = u64::from(b_load.count()) * u64::from(a.limits.max_outstanding);
            a_share.cmp(&b_share).then(a.served.cmp(&b.served))
        });
        next.map(|(id, ..)| id)
    }
}
