//! What comes out of the machine, done.
//!
//! Constraint: outputs are done in their order, and what they bring about at once goes back into the machine in the same turn.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::time::sleep;
use waypost_delivery::{
    Commit, CommitPlan, Deliver, Input, NotDone, Offset, Output, Outputs, Record, Refusal, RevokeReason, SessionId, StreamId, Subscription,
    Time, Token,
};
use waypost_proto::{
    v1::{self, ErrorReason},
    wire::{self, subscribe_response::Response},
};
use waypost_store::{BoxFuture, Claim, EventStore, StoredEvent};

use super::{
    Change, Command, Connect, Inspection, SessionInfo, Shared,
    outbox::Signal,
    reader,
    reader::Reader,
    requests::Requests,
    sent::Sent,
    sessions::Sessions,
    writer::{self, Write, Written},
};
use crate::{
    dead_letters::{self, DeadLetterKey},
    defect::{self, Defect},
    envelope,
    error::Fault,
    grpc::convert,
    limits,
    metrics::Facts,
    registry::{Handle, Info},
    token::TokenMint,
    trace::Deliveries,
};

/// How many events are read again at a time: each may have a mebibyte.
const FETCH: usize = 16;

/// An event that was read again; `None` if it is gone.
pub(super) type Fetched = (Deliver, Option<StoredEvent>);

/// The shell of one machine.
pub(super) struct Dispatcher {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Arc<Handle>,
    pub(super) machine: Subscription,
    pub(super) claim: Option<Claim>,
    pub(super) sessions: Sessions,
    pub(super) requests: Requests,
    pub(super) reader: Reader,
    pub(super) writes: VecDeque<Write>,
    pub(super) writing: Option<BoxFuture<'static, Written>>,
    pub(super) fetching: Option<BoxFuture<'static, Vec<Fetched>>>,
    /// Why the machine must be restored.
    pub(super) lost: Option<String>,
    pub(super) deleted: bool,
    pub(super) draining: bool,
    /// Since when nobody has used it.
    pub(super) idle_since: Option<Time>,
    outputs: Outputs,
    /// Empty between two rounds: kept for its room.
    spare: Outputs,
    /// What the outputs brought about.
    inputs: VecDeque<Input>,
    to_fetch: VecDeque<Deliver>,
    /// Handed out, but not sent: their events are being read again.
    awaited: BTreeMap<Token, StreamId>,
    mint: TokenMint,
    sent: Sent,
    pub(super) traced: Deliveries,
}

impl Dispatcher {
    pub(super) fn new(shared: Arc<Shared>, handle: Arc<Handle>, mut machine: Subscription, claim: Option<Claim>) -> Self {
        defect::infect(&mut machine);
        let mint = TokenMint::new(shared.tokens.clone());
        let (draining, traced) = (shared.is_draining(), Deliveries::of(&shared.publisher.tracer, &handle.name));
        let reader = Reader::new(Arc::clone(&handle.name));
        Self {
            shared,
            handle,
            machine,
            claim,
            sessions: Sessions::default(),
            requests: Requests::default(),
            reader,
            writes: VecDeque::new(),
            writing: None,
            fetching: None,
            lost: None,
            deleted: false,
            draining,
            idle_since: None,
            outputs: Outputs::new(),
            spare: Outputs::new(),
            inputs: VecDeque::new(),
            to_fetch: VecDeque::new(),
            awaited: BTreeMap::new(),
            mint,
            sent: Sent::default(),
            traced,
        }
    }

    /// Gives one input to the machine.
    pub(super) fn input(&mut self, input: Input) {
        self.machine.handle(self.shared.clock.time(), input, &mut self.outputs);
    }

    /// Asks the machine what to do, and does it.
    pub(super) fn turn(&mut self) {
        self.machine.advance(self.shared.clock.time(), &mut self.outputs);
        while !self.outputs.is_empty() {
            let mut outputs = std::mem::replace(&mut self.outputs, std::mem::take(&mut self.spare));
            outputs.drain(..).for_each(|output| self.output(output));
            self.spare = outputs;
            for session in self.sessions.flush() {
                self.inputs.push_back(Input::Writable { session, writable: false });
            }
            if let Some(input) = self.inputs.pop_front() {
                self.input(input);
                while let Some(input) = self.inputs.pop_front() {
                    self.input(input);
                }
                self.machine.advance(self.shared.clock.time(), &mut self.outputs);
            }
        }
        self.start_writing();
        self.start_fetching();
        self.sent.count(&self.handle.metrics, &self.shared.latency);
        self.handle.note(&self.machine);
    }

    fn output(&mut self, output: Output) {
        match output {
            Output::Read(read) => self.reader.ask(&self.shared, &self.machine, read),
            Output::Commit(plan) => self.commit(plan),
            Output::Opened { session, stream, adopted, dropped } => {
                self.traced.adopted(&adopted);
                if !self.sessions.opened(stream, &adopted, &dropped, self.machine.status().frontier, self.shared.clock.now()) {
                    self.gone(session, stream);
                }
            }
            Output::Deliver(deliver) => self.deliver(deliver),
            Output::Revoke { session, token, reason } => self.revoke(session, token, reason),
            Output::Gap { from, to } => {
                let reason = self.reader.gap_reason(from).into();
                self.sessions.tell_all(&Response::Gap(v1::Gap { from_offset: from, to_offset: to, reason }));
                tracing::warn!(subscription = &*self.handle.name, from, to, "events are lost to a subscription");
            }
            Output::Close { session, stream, reason } => self.sessions.close(session, stream, reason, &self.handle.name),
            Output::Settled { request, index, outcome } => {
                if self.traced.is_watching()
                    && let Some(token) = self.requests.token(request, index)
                {
                    self.traced.settled(&token, outcome);
                }
                if let Some(offset) = self.requests.settled(request, index, outcome) {
                    self.note_late_ack(offset);
                }
            }
            Output::Done { request, result } => {
                let result = result.map_err(|error| not_done(error, &self.handle.name));
                if let Some(info) = self.requests.done(request, result) {
                    self.handle.set_info(info);
                }
            }
        }
    }

    fn commit(&mut self, plan: CommitPlan) {
        self.traced.decided(&plan.records);
        if self.handle.is_ephemeral() && plan.completions.is_empty() {
            self.deleted |= is_deletion(&plan);
            self.handle.metrics.add(Facts::of(&plan.records));
            return self.inputs.push_back(Input::Commit(Commit::Committed));
        }
        let outputs = plan.completions.iter().map(|completion| self.requests.outputs(completion).to_vec()).collect();
        let changes_info = plan.records.iter().any(|record| matches!(record, Record::Updated { .. } | Record::Paused(_)));
        let info = self.requests.pending_info().filter(|_| changes_info).cloned();
        let last_session_at = self.handle.info().last_session_at;
        let info = info.map(|info| Box::new(Info { last_session_at, ..info }));
        self.deleted |= is_deletion(&plan);
        self.writes.push_back(Write::Plan { plan, outputs, info });
    }

    fn note_late_ack(&mut self, offset: u64) {
        if let Some(Write::LateAcks(offsets)) = self.writes.back_mut() {
            offsets.push(offset);
        } else {
            self.writes.push_back(Write::LateAcks(vec![offset]));
        }
    }

    fn start_writing(&mut self) {
        if self.writing.is_none()
            && let Some(write) = self.writes.pop_front()
        {
            self.writing = Some(writer::start(&self.shared, &self.handle, self.claim.clone(), write));
        }
    }

    /// What became of a write.
    pub(super) fn written(&mut self, written: Written) {
        match written {
            Written::Plan(fate) => {
                if !matches!(fate, Commit::Committed) {
                    self.deleted = false;
                }
                self.input(Input::Commit(fate));
            }
            Written::Conflict { completion, index, output, first } => {
                self.requests.conflict(&completion, output, first);
                self.input(Input::Commit(Commit::Refused(Refusal::Output { completion: index })));
            }
            Written::Aside => {}
            Written::Lost(why) => self.lost = Some(why),
        }
    }

    fn deliver(&mut self, deliver: Deliver) {
        let body = if deliver.redriven { None } else { self.reader.body(deliver.token.offset) };
        match body {
            Some(event) => self.send(&deliver, &event),
            None => {
                if let Some(stream) = self.sessions.stream(deliver.session) {
                    self.awaited.insert(deliver.token, stream);
                    self.to_fetch.push_back(deliver);
                }
            }
        }
    }

    fn send(&mut self, deliver: &Deliver, event: &StoredEvent) {
        self.sent.note(&self.shared.clock, deliver, event);
        let traceparent = self.traced.handed(deliver, event).unwrap_or_default();
        let delivery = wire::Delivery {
            token: self.mint.seal(&deliver.token),
            offset: event.offset,
            accepted_at: Some(envelope::timestamp(event.accepted_at)),
            attempt: deliver.attempt,
            losses: deliver.losses,
            lease_expires_at: Some(convert::time(deliver.deadline)),
            redriven: deliver.redriven,
            event: Some(envelope::event(&event.body)),
            traceparent,
        };
        self.sessions.gather(deliver.session, delivery);
    }

    fn start_fetching(&mut self) {
        if self.fetching.is_some() || self.to_fetch.is_empty() {
            return;
        }
        let count = self.to_fetch.len().min(FETCH);
        let wanted: Vec<_> = self.to_fetch.drain(..count).filter(|deliver| self.awaited.contains_key(&deliver.token)).collect();
        let (store, handle) = (Arc::clone(&self.shared.store), Arc::clone(&self.handle));
        self.fetching = Some(Box::pin(async move {
            let mut found = Vec::with_capacity(wanted.len());
            for deliver in wanted {
                let event = fetch(&*store, &handle, &deliver).await;
                found.push((deliver, event));
            }
            found
        }));
    }

    /// Events that were read again go to who holds them, if they still do.
    pub(super) fn fetched(&mut self, found: Vec<Fetched>) {
        for (deliver, event) in found {
            // On another stream of the session its client did not name it as held, so it was given back.
            let stream = self.awaited.remove(&deliver.token);
            let is_late = stream != self.sessions.stream(deliver.session) && !defect::is_on(Defect::StaleFetch);
            if stream.is_none() || is_late {
                continue;
            }
            match event {
                Some(event) => self.send(&deliver, &event),
                None => {
                    let from = deliver.token.offset;
                    self.inputs.push_back(Input::Gap { from, to: from + 1 });
                }
            }
        }
        for session in self.sessions.flush() {
            self.inputs.push_back(Input::Writable { session, writable: false });
        }
        while let Some(input) = self.inputs.pop_front() {
            self.input(input);
        }
    }

    fn revoke(&mut self, session: SessionId, token: Token, reason: RevokeReason) {
        self.traced.revoked(&token, reason);
        // What was never sent need not be taken back.
        if self.awaited.remove(&token).is_some() {
            return;
        }
        let token = self.mint.seal(&token);
        self.sessions.tell(session, Response::Revoked(v1::Revoked { token, reason: convert::revoked(reason).into() }));
    }

    /// What a stream tells.
    pub(super) fn signal(&mut self, signal: Signal) {
        match signal {
            Signal::Writable(session, stream) if self.sessions.is_open(session, stream) => {
                self.input(Input::Writable { session, writable: true });
            }
            Signal::Writable(..) => {}
            Signal::Gone(session, stream) => self.gone(session, stream),
        }
    }

    fn gone(&mut self, session: SessionId, stream: StreamId) {
        if self.sessions.gone(session, stream) {
            self.input(Input::Disconnect { session, stream });
        }
    }

    /// What is asked.
    pub(super) fn command(&mut self, command: Command) {
        match command {
            Command::Settle { settlements, reply } => {
                if self.traced.is_watching() {
                    settlements.iter().for_each(|item| self.traced.asked(&item.token, &item.action));
                }
                let (request, settlements) = self.requests.settle(settlements, reply);
                self.input(Input::Settle { request, settlements });
            }
            Command::Connect(connect) => self.connect(connect),
            Command::Admin { change, reply } => {
                let info = match &change {
                    Change::Pause { info, .. } | Change::Update { info, .. } => Some(info.clone()),
                    _ => None,
                };
                let request = self.requests.admin(info, reply);
                self.input(match change {
                    Change::Pause { paused, .. } => Input::Pause { request, paused },
                    Change::Seek(to) => Input::Seek { request, to },
                    Change::Update { from, config, info } => Input::Update { request, from, config, filter: info.spec.filter_bytes() },
                    Change::Redrive(events) => Input::Redrive { request, events },
                    Change::Discard(offsets) => Input::Discard { request, offsets },
                    Change::Delete => Input::Delete { request },
                });
            }
            Command::Inspect { events, reply } => {
                let inspection = Inspection::of(&self.handle.name, &self.machine, self.sessions.infos(), &events);
                let _ = reply.send(Ok(inspection));
            }
            Command::End { session, reply } => {
                let _ = reply.send(self.end(session));
            }
            Command::Gap { from, to } => {
                self.reader.let_go(from, to);
                self.input(Input::Gap { from, to });
            }
            Command::Seen => self.note_last_session(),
            Command::Drain(grace) => {
                self.draining = true;
                self.sessions.drain(grace);
                self.input(Input::Drain { session: None });
            }
            Command::Close => self.close_all(&draining()),
        }
    }

    fn connect(&mut self, mut connect: Box<Connect>) {
        let fault = if self.draining || self.shared.is_draining() {
            draining()
        } else if !self.sessions.has_room(connect.session, connect.max_sessions) {
            let text =
                format!("the subscription has {} sessions, which is the most (limits.max_sessions_per_subscription)", connect.max_sessions);
            Fault::new(ErrorReason::LimitReached, text)
        } else {
            let (session, stream, limits) = (connect.session, connect.stream, connect.limits);
            let held = connect.held.iter().map(|(held, _)| *held).collect();
            connect.opened.spec = Some(self.handle.info().spec.proto().clone());
            connect.opened.paused = self.machine.status().paused;
            self.traced.brought(std::mem::take(&mut connect.resumed));
            self.sessions.opening(connect);
            return self.input(Input::Connect { session, stream, limits, held });
        };
        let _ = connect.reply.send(Err(fault));
    }

    /// Ends every stream; what they hold is given back as the machine sees fit.
    pub(super) fn close_all(&mut self, fault: &Fault) {
        let streams: Vec<_> = self.sessions.streams();
        self.sessions.end_all(fault);
        for (session, stream) in streams {
            self.input(Input::Disconnect { session, stream });
        }
    }

    /// Ends one stream as a goodbye of its session does: what it holds is free again at once. Answers who it was.
    fn end(&mut self, session: SessionId) -> Option<SessionInfo> {
        let holding = self.machine.holding(session);
        let fault = Fault::new(
            ErrorReason::Draining,
            "an operator has ended this session: what it held was given back; connect again if you are well",
        );
        let (stream, info) = self.sessions.end_one(session, fault)?;
        self.input(Input::Drain { session: Some(session) });
        self.input(Input::Disconnect { session, stream });
        Some(SessionInfo { holding, ..info })
    }

    /// Whether nobody needs this task.
    pub(super) fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.machine.status().sessions == 0 && self.is_quiet()
    }

    /// Whether nothing is held, asked or under way: a session that drains has nothing left to do here.
    pub(super) fn is_quiet(&self) -> bool {
        let nothing_held = self.machine.status().leased == 0 && self.requests.is_empty();
        nothing_held && self.writing.is_none() && self.writes.is_empty() && self.fetching.is_none()
    }

    /// When the machine wants to be asked again.
    pub(super) fn timeout(&self) -> Option<Time> {
        self.machine.next_timeout().filter(|&at| at != Time::NEVER)
    }
}

fn is_deletion(plan: &CommitPlan) -> bool {
    plan.records.iter().any(|record| matches!(record, Record::Deleted))
}

/// Of a redriven event the dead letter has the bytes; the log may have let them go.
async fn fetch(store: &dyn EventStore, handle: &Handle, deliver: &Deliver) -> Option<StoredEvent> {
    let offset = deliver.token.offset;
    if deliver.redriven
        && let Some(event) = dead_letter(store, handle, offset).await
    {
        return Some(event);
    }
    reader::fetch(store, &handle.name, offset).await
}

/// Reads the event of a dead letter until the store answers; `None` if it was not kept.
async fn dead_letter(store: &dyn EventStore, handle: &Handle, offset: Offset) -> Option<StoredEvent> {
    let key = DeadLetterKey { incarnation: handle.incarnation, offset };
    loop {
        match dead_letters::find(store, key).await {
            Ok(row) => return row.and_then(|row| row.event()),
            Err(error) => {
                tracing::warn!(subscription = &*handle.name, %error, offset, "reading a dead letter failed; trying again");
                sleep(limits::STORE_RETRY).await;
            }
        }
    }
}

fn not_done(error: NotDone, name: &str) -> Fault {
    match error {
        NotDone::Unavailable => Fault::outcome_unknown(),
        NotDone::TooManyFilters => Fault::new(ErrorReason::InvalidField, error.to_string()),
        NotDone::Deleted => Fault::no_subscription(name),
    }
}

/// The broker ends.
pub(super) fn draining() -> Fault {
    Fault::new(ErrorReason::Draining, "the broker is draining; reconnect at once, then with backoff")
}
