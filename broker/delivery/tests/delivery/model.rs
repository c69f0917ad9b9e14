//! A naive model of the promises: one line per event, no index, no timer, no batch.
//!
//! It sees what the outside sees: what was asked, what came out, and which records became durable. From these it knows what is allowed,
//! and complains by the number of the promise.
//!
//! | file | what it knows |
//! |---|---|
//! | `commits` | what a commit may hold, and what is true once it is durable |
//! | `leases` | who may be handed what, and what goes on after a return |
//! | `answers` | what a settlement may be answered |

/// Complains by the number of the promise.
macro_rules! promise {
    ($promise:literal, $holds:expr, $($what:tt)*) => {
        assert!($holds, "{}: {}", $promise, format!($($what)*))
    };
}

mod answers;
mod commits;
mod leases;

use std::collections::{BTreeMap, BTreeSet};

use waypost_delivery::{
    Action, Completion, Config, Offset, Output, Record, RequestId, RevokeReason, SessionId, SessionLimits, StreamId, Time, Token,
};

/// What is true of one event, as far as the log knows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Truth {
    pub(crate) settled: bool,
    pub(crate) dead: bool,
    pub(crate) redriven: bool,
    attempts: u32,
    losses: u32,
    not_before: Time,
}

impl Truth {
    pub(crate) fn is_open(&self) -> bool {
        !self.settled || self.redriven
    }
}

#[derive(Clone, Copy, Debug)]
struct Lease {
    session: SessionId,
    token: Token,
    started: Time,
    deadline: Time,
}

#[derive(Clone, Debug)]
struct Session {
    stream: Option<StreamId>,
    limits: SessionLimits,
    draining: bool,
    writable: bool,
    lost_at: Time,
}

/// What was done with the latest commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Latest {
    records: Vec<Record>,
    is_refused: bool,
    culprit: Option<Completion>,
}

impl Latest {
    fn settles(&self, offset: Offset) -> bool {
        self.records.iter().any(|record| match record {
            Record::Settled(offsets) => offsets.contains(&offset),
            Record::DeadLettered(dead) => dead.offset == offset,
            _ => false,
        })
    }
}

pub(crate) struct Model {
    pub(crate) config: Config,
    pub(crate) truths: BTreeMap<Offset, Truth>,
    events: BTreeMap<Offset, (u32, Option<u64>)>,
    seek: u32,
    epoch: u64,
    paused: bool,
    leases: BTreeMap<Offset, Lease>,
    given: BTreeSet<Token>,
    sessions: BTreeMap<SessionId, Session>,
    asks: BTreeMap<(RequestId, usize), (Token, Action)>,
    admin: BTreeSet<RequestId>,
    expired: BTreeSet<Offset>,
    lost: BTreeSet<Offset>,
    gaps: BTreeSet<Offset>,
    /// A stream that must be closed.
    replaced: Option<StreamId>,
    pub(crate) latest: Latest,
    /// Events before this offset wait until then, after a restart.
    restart: (Offset, Time),
    /// But for those that failed or came out of the dead letters since: their holder is known.
    known_since: BTreeSet<Offset>,
}

impl Model {
    pub(crate) fn new(config: Config) -> Self {
        Self {
            config,
            truths: BTreeMap::new(),
            events: BTreeMap::new(),
            seek: 0,
            epoch: 1,
            paused: false,
            leases: BTreeMap::new(),
            given: BTreeSet::new(),
            sessions: BTreeMap::new(),
            asks: BTreeMap::new(),
            admin: BTreeSet::new(),
            expired: BTreeSet::new(),
            lost: BTreeSet::new(),
            gaps: BTreeSet::new(),
            replaced: None,
            latest: Latest::default(),
            restart: (0, Time::default()),
            known_since: BTreeSet::new(),
        }
    }

    pub(crate) fn published(&mut self, offset: Offset, bytes: u32, key: Option<u64>) {
        self.events.insert(offset, (bytes, key));
        self.truths.insert(offset, Truth::default());
    }

    /// The store can no longer serve this one.
    pub(crate) fn vanished(&mut self, offset: Offset) {
        self.gaps.insert(offset);
    }

    pub(crate) fn asked(&mut self, request: RequestId, token: Token, action: Action) {
        self.asks.insert((request, 0), (token, action));
    }

    pub(crate) fn administered(&mut self, request: RequestId) {
        self.admin.insert(request);
    }

    pub(crate) fn connects(&mut self, session: SessionId, stream: StreamId, limits: SessionLimits) {
        let session_now = Session { stream: Some(stream), limits, draining: false, writable: true, lost_at: Time::NEVER };
        self.replaced = self.sessions.insert(session, session_now).and_then(|session| session.stream);
    }

    pub(crate) fn disconnects(&mut self, id: SessionId, now: Time) {
        let grace = self.config.resume_grace;
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.stream = None;
        session.lost_at = now + grace;
        if session.draining {
            self.sessions.remove(&id);
            self.leases.retain(|_, lease| lease.session != id);
        }
    }

    pub(crate) fn drains(&mut self, id: SessionId) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.draining = true;
            if session.stream.is_none() {
                self.sessions.remove(&id);
                self.leases.retain(|_, lease| lease.session != id);
            }
        }
    }

    pub(crate) fn is_writable(&mut self, id: SessionId, writable: bool) {
        if let Some(session) = self.sessions.get_mut(&id) {
            session.writable = writable;
        }
    }

    pub(crate) fn crashed(&mut self, now: Time, tail: Offset) {
        self.leases.clear();
        self.sessions.clear();
        self.asks.clear();
        self.admin.clear();
        self.expired.clear();
        self.lost.clear();
        self.epoch += 1;
        self.known_since.clear();
        self.restart = (tail, now + self.config.resume_grace);
    }

    /// Sessions that did not return in time are lost, and what they held with them: unless its lease ends first, or its settlement is on
    /// its way.
    pub(crate) fn time_is(&mut self, now: Time) {
        let lost: Vec<_> = self.sessions.iter().filter(|(_, session)| session.lost_at <= now).map(|(id, _)| *id).collect();
        for id in lost {
            self.sessions.remove(&id);
            let asked: BTreeSet<_> = self.asks.values().map(|(token, _)| token.offset).collect();
            let is_gone = |offset: &Offset, lease: &mut Lease| lease.session == id && (lease.deadline > now || asked.contains(offset));
            let gone = self.leases.extract_if(.., is_gone);
            self.lost.extend(gone.map(|(offset, _)| offset).filter(|offset| !asked.contains(offset)));
        }
    }

    /// What came out, in order.
    pub(crate) fn observe(&mut self, now: Time, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Commit(plan) => self.check_plan(now, plan),
                Output::Deliver(deliver) => self.check_delivery(now, deliver),
                Output::Settled { request, index, outcome } => {
                    let ask = self.asks.remove(&(*request, *index));
                    let Some((token, action)) = ask else { panic!("P4: {request:?} is answered twice") };
                    self.check_answer(now, token, &action, *outcome);
                }
                Output::Revoke { session, token, reason } => {
                    let lease = self.leases.remove(&token.offset);
                    let Some(lease) = lease.filter(|lease| lease.token == *token && lease.session == *session) else {
                        panic!("P3: {session:?} does not hold {token:?}, which is revoked")
                    };
                    let right = match reason {
                        RevokeReason::Expired => lease.deadline <= now || token.epoch < self.epoch,
                        RevokeReason::SettledElsewhere => self.latest.settles(token.offset),
                        RevokeReason::Sought => token.seek < self.seek,
                        RevokeReason::Gone => self.gaps.contains(&token.offset),
                    };
                    promise!("P4", right, "{token:?} is revoked as {reason:?}");
                    if *reason == RevokeReason::Expired && lease.deadline <= now {
                        self.expired.insert(token.offset);
                    }
                }
                Output::Opened { session, adopted, dropped, .. } => self.check_opened(now, *session, adopted, dropped),
                Output::Done { request, .. } => promise!("P4", self.admin.remove(request), "{request:?} is answered twice"),
                Output::Gap { from, to } => {
                    let is_lost = self.truths.range(from..to).any(|(offset, _)| self.gaps.contains(offset))
                        || self.truths.range(from..to).next().is_none();
                    promise!("P11", is_lost, "nothing is lost between {from} and {to}");
                }
                Output::Close { stream, .. } => {
                    promise!("P6", self.replaced.take() == Some(*stream), "{stream:?} is closed, and was not replaced");
                }
                Output::Read(_) => {}
            }
        }
        self.check_state(now);
    }

    /// What must be so whenever the machine is at rest.
    fn check_state(&self, now: Time) {
        for (offset, lease) in &self.leases {
            let is_asked = self.asks.values().any(|(token, _)| token.offset == *offset) || self.is_standing_still();
            promise!(
                "P5",
                lease.deadline > now || is_asked,
                "the lease of event {offset} is over since {:?}, and it is {now:?}",
                lease.deadline
            );
        }
    }

    /// Whether a step is decided that stands alone. No clock runs meanwhile.
    pub(crate) fn is_standing_still(&self) -> bool {
        !self.admin.is_empty() || self.gaps.iter().any(|offset| !self.truths[offset].settled)
    }

    pub(crate) fn stream(&self, session: SessionId) -> Option<StreamId> {
        self.sessions.get(&session).and_then(|session| session.stream)
    }

    pub(crate) fn is_held(&self, token: Token) -> bool {
        self.leases.get(&token.offset).is_some_and(|lease| lease.token == token)
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.asks.is_empty() && self.admin.is_empty() && !self.truths.values().any(Truth::is_open)
    }

    /// At the end, when everybody acks everything.
    pub(crate) fn check_end(&self) {
        promise!("P4", self.asks.is_empty() && self.admin.is_empty(), "{:?} and {:?} are not answered", self.asks, self.admin);
        let open: Vec<_> = self
            .truths
            .iter()
            .filter(|(offset, truth)| truth.is_open() && !self.gaps.contains(*offset))
            .map(|(offset, _)| offset)
            .collect();
        promise!("P2", open.is_empty(), "events {open:?} were never settled");
        let silent: Vec<_> =
            self.truths.iter().filter(|(offset, truth)| truth.is_open() && self.gaps.contains(*offset)).map(|(offset, _)| offset).collect();
        promise!("P11", silent.is_empty(), "events {silent:?} were lost without a word");
    }
}
