//! What comes out of the machine, done.
//!
//! Constraint: outputs are done in their order, and what they bring about at once goes back into the machine in the same turn.

use std::{collections::VecDeque, sync::Arc};

use waypost_delivery::{
    Commit, CommitPlan, Deliver, Input, NotDone, Output, Outputs, Record, RevokeReason, SessionId, Subscription, Time, Token,
};
use waypost_proto::{
    v1::{self, ErrorReason},
    wire::{self, subscribe_response::Response},
};
use waypost_store::{BoxFuture, Claim, StoredEvent};

use super::{
    Shared,
    fetches::{Fetched, Fetches},
    reader::Reader,
    requests::Requests,
    sent::Sent,
    sessions::Sessions,
    writer::{self, Write, Written},
};
use crate::{
    defect, envelope,
    error::Fault,
    grpc::convert,
    metrics::Facts,
    registry::{Handle, Info},
    token::TokenMint,
    trace::Deliveries,
};

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
    pub(super) fetches: Fetches,
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
            fetches: Fetches::default(),
            lost: None,
            deleted: false,
            draining,
            idle_since: None,
            outputs: Outputs::new(),
            spare: Outputs::new(),
            inputs: VecDeque::new(),
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
            if self.hand_over() {
                self.machine.advance(self.shared.clock.time(), &mut self.outputs);
            }
        }
        self.start_writing();
        self.fetches.start(&self.shared.store, &self.handle);
        self.sent.count(&self.handle.metrics, &self.shared.latency);
        self.handle.note(&self.machine);
    }

    /// What was gathered goes out, and what the outputs brought about goes in. Answers whether they brought anything about.
    fn hand_over(&mut self) -> bool {
        for session in self.sessions.flush() {
            self.inputs.push_back(Input::Writable { session, writable: false });
        }
        let is_any = !self.inputs.is_empty();
        while let Some(input) = self.inputs.pop_front() {
            self.input(input);
        }
        is_any
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

    fn deliver(&mut self, deliver: Deliver) {
        let body = if deliver.redriven { None } else { self.reader.body(deliver.token.offset) };
        match body {
            Some(event) => self.send(&deliver, &event),
            None => {
                if let Some(stream) = self.sessions.stream(deliver.session) {
                    self.fetches.ask(deliver, stream);
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

    /// Events that were read again go to who holds them, if they still do.
    pub(super) fn fetched(&mut self, found: Vec<Fetched>) {
        for (deliver, event) in found {
            if !self.fetches.arrived(&deliver.token, self.sessions.stream(deliver.session)) {
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
        self.hand_over();
    }

    fn revoke(&mut self, session: SessionId, token: Token, reason: RevokeReason) {
        self.traced.revoked(&token, reason);
        // What was never sent need not be taken back.
        if self.fetches.forget(&token) {
            return;
        }
        let token = self.mint.seal(&token);
        self.sessions.tell(session, Response::Revoked(v1::Revoked { token, reason: convert::revoked(reason).into() }));
    }

    /// Whether nobody needs this task.
    pub(super) fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.machine.status().sessions == 0 && self.is_quiet()
    }

    /// Whether nothing is held, asked or under way: a session that drains has nothing left to do here.
    pub(super) fn is_quiet(&self) -> bool {
        let nothing_held = self.machine.status().leased == 0 && self.requests.is_empty();
        nothing_held && self.writing.is_none() && self.writes.is_empty() && self.fetches.running.is_none()
    }

    /// When the machine wants to be asked again.
    pub(super) fn timeout(&self) -> Option<Time> {
        self.machine.next_timeout().filter(|&at| at != Time::NEVER)
    }
}

fn is_deletion(plan: &CommitPlan) -> bool {
    plan.records.iter().any(|record| matches!(record, Record::Deleted))
}

fn not_done(error: NotDone, name: &str) -> Fault {
    match error {
        NotDone::Unavailable => Fault::outcome_unknown(),
        NotDone::TooManyFilters => Fault::new(ErrorReason::InvalidField, error.to_string()),
        NotDone::Deleted => Fault::no_subscription(name),
    }
}
