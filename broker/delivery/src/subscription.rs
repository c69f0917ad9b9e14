//! The machine of one subscription.
//!
//! Constraints:
//! - Nothing takes effect before it is durable: a settlement, failure or administrative step becomes a decision, waits for its commit,
//!   and only then changes the state and is answered. Handing out, releasing and extending need no commit, since leases are not durable.
//! - There is one decision at a time about one event. Whoever settles it meanwhile waits for what becomes of that decision, and is then
//!   judged by the new state.
//! - A step about more than one event (an administrative one, or a gap) is decided alone: until it is known, nothing else is decided,
//!   handed out or read. So the order of the records is the order in which they were decided, and none is judged by a state that
//!   another is about to change.
//!
//! | file | what it decides |
//! |---|---|
//! | `settle` | what a settlement does, by the token that it names |
//! | `failure` | when a failed event is tried again, and when it becomes a dead letter |
//! | `flow` | what is read, and who is handed what |
//! | `sessions` | who holds what after a stream opened, broke, or said goodbye |
//! | `admin` | pause, seek, update, redrive, discard, delete |
//! | `decision` | what is to become durable, who wants it, and what it costs |
//! | `commit` | how decisions become commits and take effect |
//! | `look` | what can be seen of single events and sessions |
//! | `restore` | how a machine comes back |

mod admin;
mod commit;
mod decision;
mod failure;
mod flow;
mod look;
mod restore;
mod sessions;
mod settle;

use std::collections::BTreeSet;

use self::{commit::Journal, restore::Restart, settle::Ask};
pub use self::{
    look::{Holding, Progress},
    restore::RestoreError,
};
use crate::{
    Config, Defect, Input, NotDone, Offset, Output, Outputs, Read, Record, RevokeReason, Time, lease::Lease, session::Sessions,
    state::State,
};

/// One subscription. See the [module](self) for the rules, and the crate for how it is driven.
#[derive(Clone, Debug)]
pub struct Subscription {
    /// The claim of the store under which it runs.
    epoch: u64,
    /// Deliveries made under this claim.
    delivered: u64,
    pub(crate) state: State,
    pub(crate) sessions: Sessions,
    journal: Journal,
    restart: Restart,
    /// The standing read.
    read: Option<Read>,
    /// Offsets after the frontier that are being settled.
    settling_ahead: BTreeSet<Offset>,
    /// Settlements of events that another decision is being made about.
    waiting: Vec<Ask>,
    /// What came in while a step was decided that stands alone.
    deferred: Vec<Input>,
    /// Empty between two facts: kept for its room.
    ended: Vec<Lease>,
    #[cfg(any(test, feature = "defects"))]
    defect: Option<Defect>,
}

/// How a subscription is doing. All of it is derived from its events and sessions, never counted on the side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The next offset to be examined.
    pub frontier: Offset,
    /// Events examined and not settled.
    pub unsettled: usize,
    /// Those of them that are under lease.
    pub leased: usize,
    /// Those of them that could be handed out now.
    pub ready: usize,
    /// Those of them that wait for nothing but another of their ordering key (P8).
    pub blocked: usize,
    /// Dead letters that are not on their way again.
    pub dead_letters: usize,
    /// Sessions, those whose stream is broken included.
    pub sessions: usize,
    /// Whether nothing more is read because there are too many unsettled events or dead letters (P12).
    pub full: bool,
    /// Whether it is stopped.
    pub paused: bool,
    /// How often it was sought.
    pub seeks: u32,
}

impl Subscription {
    /// A new subscription that begins at `start`, and the record that makes it durable. The shell commits it before it uses the machine.
    #[must_use]
    pub fn create(epoch: u64, incarnation: u64, start: Offset, config: Config, filter: Vec<u8>) -> (Self, Record) {
        let record = Record::Created { incarnation, start, config: config.clone(), filter: filter.clone() };
        let state = State::created(incarnation, start, config, filter);
        (Self::running(epoch, state, Restart::default(), Journal::default()), record)
    }

    fn running(epoch: u64, state: State, restart: Restart, journal: Journal) -> Self {
        Self {
            epoch,
            delivered: 0,
            state,
            sessions: Sessions::default(),
            journal,
            restart,
            read: None,
            settling_ahead: BTreeSet::new(),
            waiting: Vec::new(),
            deferred: Vec::new(),
            ended: Vec::new(),
            #[cfg(any(test, feature = "defects"))]
            defect: None,
        }
    }

    /// Takes one input in. Answers that need no commit come out at once; everything else with [`advance`](Self::advance).
    pub fn handle(&mut self, now: Time, input: Input, outputs: &mut Outputs) {
        if self.state.deleted {
            return Self::turn_away(input, NotDone::Deleted, outputs);
        }
        match input {
            Input::Candidates { read, events, next, gaps } => self.candidates(now, read, events, next, gaps),
            Input::Commit(result) => self.committed(now, result, outputs),
            Input::Connect { session, stream, limits, held } => self.connect(now, session, stream, limits, held, outputs),
            Input::Disconnect { session, stream } => self.disconnect(now, session, stream),
            Input::Drain { session } => self.drain(session),
            Input::Writable { session, writable } => self.writable(session, writable),
            to_be_decided if self.journal.has_barrier() => self.deferred.push(to_be_decided),
            Input::Gap { from, to } => self.gap(from, to),
            Input::Settle { request, settlements } => {
                for (index, settlement) in settlements.into_iter().enumerate() {
                    self.settle(now, Ask::new(request, index, settlement), outputs);
                }
            }
            Input::Pause { request, paused } => self.pause(request, paused),
            Input::Seek { request, to } => self.seek(request, to),
            Input::Update { request, from, config, filter } => self.update(request, from, config, filter, outputs),
            Input::Redrive { request, events } => self.redrive(request, events, outputs),
            Input::Discard { request, offsets } => self.discard(request, offsets, outputs),
            Input::Delete { request } => self.delete(request),
        }
    }

    /// Fires what is due, hands out what can be, gathers what was decided into one commit if none is in flight, and asks for more events.
    /// Called once after the inputs that were ready, and when [`next_timeout`](Self::next_timeout) passed.
    pub fn advance(&mut self, now: Time, outputs: &mut Outputs) {
        if self.state.deleted {
            return;
        }
        if !self.journal.has_barrier() {
            self.fire(now, outputs);
        }
        self.commit(now, outputs);
        if !self.journal.has_barrier() {
            self.hand_out(now, outputs);
            self.ask_for_more(outputs);
        }
        if cfg!(debug_assertions) {
            self.assert_invariants();
        }
    }

    /// Its shell goes, and with it the answer to the standing read: the next shell is asked anew.
    pub fn park(&mut self) {
        self.read = None;
    }

    /// When [`advance`](Self::advance) is due without any input; `None` if never.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Time> {
        let clocks = [self.state.unsettled.next_timeout(), self.sessions.next_timeout()].into_iter().flatten().min();
        let clocks = clocks.filter(|_| !self.journal.has_barrier());
        [clocks, self.journal.next_timeout()].into_iter().flatten().min().filter(|_| !self.state.deleted)
    }

    /// Tells this creation from others under the same name.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.state.incarnation
    }

    /// The filters that still decide about something, with their numbers and the offset that each begins at, oldest first.
    pub fn filters(&self) -> impl Iterator<Item = (u32, Offset, &[u8])> {
        let numbered = (self.state.first_filter..).zip(&self.state.filters);
        numbered.map(|(number, (begins, filter))| (number, *begins, filter.as_slice()))
    }

    /// The limits in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.state.config
    }

    /// The lowest offset that the subscription still needs: unsettled, or not yet examined. Retention keeps what matches from here on.
    #[must_use]
    pub fn floor(&self) -> Offset {
        self.state.floor()
    }

    /// How it is doing.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            frontier: self.state.frontier,
            unsettled: self.state.unsettled.len(),
            leased: self.state.unsettled.load().events,
            ready: self.state.unsettled.ready(),
            blocked: self.state.unsettled.blocked(),
            dead_letters: self.state.dead_letters.len(),
            sessions: self.sessions.iter().count(),
            full: self.is_full(),
            paused: self.state.paused,
            seeks: self.state.seek,
        }
    }

    /// Leases that ended and waits that are over first, then sessions that did not return.
    fn fire(&mut self, now: Time, outputs: &mut Outputs) {
        while let Some(offset) = self.state.unsettled.next_due(now) {
            match self.state.unsettled.get(offset).and_then(|entry| entry.lease) {
                Some(lease) => self.expire(now, offset, lease, outputs),
                None => {
                    self.state.unsettled.update(offset, |entry| entry.wait = None);
                }
            }
        }
        while let Some(session) = self.sessions.pop_lost(now) {
            self.lose(now, session);
        }
    }

    /// For the invariants: the events that a decision is being made about.
    pub(crate) fn decided(&self) -> impl Iterator<Item = Offset> {
        self.journal.events()
    }

    /// For the invariants: whether a settlement or an administrative step waits for another.
    pub(crate) fn is_anyone_waiting(&self) -> bool {
        !self.waiting.is_empty() || !self.deferred.is_empty()
    }

    /// For the invariants: whether the answer to a commit is awaited.
    pub(crate) fn is_committing(&self) -> bool {
        self.journal.is_in_flight()
    }

    /// For the invariants: whether something is read while a step is decided that may move the frontier.
    pub(crate) fn is_reading_ahead(&self) -> bool {
        self.journal.has_barrier() && self.read.is_some()
    }

    fn revoke(lease: &Lease, reason: RevokeReason, outputs: &mut Outputs) {
        outputs.push(Output::Revoke { session: lease.session, token: lease.token, reason });
    }

    #[cfg(any(test, feature = "defects"))]
    fn has(&self, defect: Defect) -> bool {
        self.defect == Some(defect)
    }

    #[cfg(not(any(test, feature = "defects")))]
    #[expect(clippy::unused_self, reason = "the same call as with defects")]
    const fn has(&self, _: Defect) -> bool {
        false
    }

    /// Breaks one promise from now on, so that a test can prove that it would notice.
    #[cfg(any(test, feature = "defects"))]
    pub fn set_defect(&mut self, defect: Option<Defect>) {
        self.defect = defect;
        if self.has(Defect::KeyOrderIgnored) {
            self.state.unsettled.set_ordered(false);
        }
    }
}
