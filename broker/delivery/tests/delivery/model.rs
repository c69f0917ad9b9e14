//! A naive model of the promises: one line per event, no index, no timer, no batch.
//!
//! It sees what the outside sees: what was asked, what came out, and which records became durable. From these it knows what is allowed,
//! and complains by the number of the promise.

use std::collections::{BTreeMap, BTreeSet};

use waypost_delivery::{
    Action, CommitPlan, Completion, Config, Offset, Output, Record, RequestId, RevokeReason, SessionId, SessionLimits, SettleOutcome,
    StreamId, Time, Token,
    record::{AttemptOutcome, DeadLetterCause, Failure},
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

/// Complains by the number of the promise.
macro_rules! promise {
    ($promise:literal, $holds:expr, $($what:tt)*) => {
        assert!($holds, "{}: {}", $promise, format!($($what)*))
    };
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

    /// The records of a commit, as it is asked for.
    fn check_plan(&self, now: Time, plan: &CommitPlan) {
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

    /// What came out, in order.
    pub(crate) fn observe(&mut self, now: Time, outputs: &[Output]) {
        for output in outputs {
            match output {
                Output::Commit(plan) => self.check_plan(now, plan),
                Output::Deliver(deliver) => self.check_delivery(now, deliver),
                Output::Settled { request, index, outcome } => {
                    let ask = self.asks.remove(&(*request, *index));
                    let Some((token, action)) = ask else { panic!("P4: {request:?} is answered twice") };
                    self.check_answer(now, (*request, *index), token, &action, *outcome);
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

    fn check_delivery(&mut self, now: Time, deliver: &waypost_delivery::Deliver) {
        let (token, truth) = (deliver.token, &self.truths[&deliver.token.offset]);
        let offset = token.offset;
        promise!("P2", truth.is_open(), "event {offset} is delivered and was settled");
        promise!("P3", !self.leases.contains_key(&offset), "event {offset} is delivered and {:?} holds it", self.leases[&offset]);
        promise!("P4", self.given.insert(token) && token.seek == self.seek, "{token:?} is not new");
        promise!("P5", now >= truth.not_before, "event {offset} is delivered at {now:?}, and was to wait until {:?}", truth.not_before);
        promise!("P5", deliver.attempt == 1 + truth.attempts + truth.losses, "{deliver:?}, after {truth:?}");
        promise!("P5", deliver.losses == truth.losses && deliver.redriven == truth.redriven, "{deliver:?}, after {truth:?}");
        promise!(
            "P6",
            offset >= self.restart.0 || now >= self.restart.1 || self.known_since.contains(&offset),
            "event {offset} does not wait for its holder of before the restart"
        );
        promise!(
            "P6",
            !self.expired.contains(&offset) && !self.lost.contains(&offset),
            "event {offset} is delivered before its failure is durable"
        );
        promise!("P11", !self.paused, "event {offset} is delivered in a pause");
        let Some(session) = self.sessions.get(&deliver.session) else { panic!("P6: {deliver:?} to nobody") };
        promise!("P6", session.stream.is_some() && session.writable && !session.draining, "{deliver:?} to a session that takes nothing");
        promise!(
            "P4",
            !self.asks.values().any(|(asked, action)| asked.offset == offset
                && asked.seek == self.seek
                && matches!(action, Action::Ack { .. })
                && self.given.contains(asked)),
            "event {offset} is delivered while its ack is decided"
        );
        let lease = Lease { session: deliver.session, token, started: now, deadline: deliver.deadline };
        self.leases.insert(offset, lease);
        if let Some(key) = self.events[&offset].1.filter(|_| self.config.ordered) {
            let same_key = self.leases.keys().filter(|offset| self.events[offset].1 == Some(key));
            promise!("P8", same_key.count() == 1, "two events of key {key} are outstanding");
            let earlier = self
                .truths
                .range(..offset)
                .filter(|(earlier, truth)| self.events[earlier].1 == Some(key) && truth.is_open() && !self.gaps.contains(*earlier));
            promise!("P8", truth.redriven || earlier.count() == 0, "event {offset} overtakes another of its key");
        }
        let mine: Vec<_> =
            self.leases.iter().filter(|(_, lease)| lease.session == deliver.session).map(|(offset, _)| self.events[offset].0).collect();
        let bytes: u64 = mine.iter().map(|bytes| u64::from(*bytes)).sum();
        promise!("P3", mine.len() <= session.limits.max_outstanding as usize, "{:?} holds {} events", deliver.session, mine.len());
        promise!("P3", mine.len() == 1 || bytes <= session.limits.max_outstanding_bytes, "{:?} holds {bytes} bytes", deliver.session);
        promise!("P3", self.leases.len() <= self.config.max_outstanding as usize, "{} events are outstanding", self.leases.len());
    }

    fn check_answer(&mut self, now: Time, _: (RequestId, usize), token: Token, action: &Action, outcome: SettleOutcome) {
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

    fn check_opened(&mut self, now: Time, session: SessionId, adopted: &[(Token, Time)], dropped: &[Token]) {
        for token in dropped {
            let kept = self.leases.get(&token.offset).is_some_and(|lease| lease.token == *token && lease.session == session);
            promise!("P6", !kept, "{session:?} came back for {token:?} and did not get it");
        }
        let before = std::mem::take(&mut self.leases);
        let (mine, others): (BTreeMap<_, _>, _) = before.into_iter().partition(|(_, lease)| lease.session == session);
        self.leases = others;
        for (token, deadline) in adopted {
            let truth = &self.truths[&token.offset];
            promise!("P6", truth.is_open() && token.seek == self.seek, "{token:?} goes on, and is settled");
            let lease = match mine.get(&token.offset).filter(|lease| lease.token == *token) {
                Some(lease) => *lease,
                None => {
                    promise!("P6", now < self.restart.1 && token.offset < self.restart.0, "{token:?} goes on, and its lease was over");
                    Lease { session, token: *token, started: now, deadline: now + self.config.ack_deadline }
                }
            };
            promise!("P6", lease.deadline == *deadline, "{token:?} goes on until {:?}, and {deadline:?} was told", lease.deadline);
            promise!("P3", self.leases.insert(token.offset, lease).is_none(), "{token:?} goes on and is another's");
        }
        let (load, limits) = (self.leases.values().filter(|lease| lease.session == session).count(), self.sessions[&session].limits);
        promise!("P6", self.replaced.is_none(), "{:?} was replaced and goes on", self.replaced);
        promise!("P3", load <= limits.max_outstanding as usize, "{session:?} holds {load} events");
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
