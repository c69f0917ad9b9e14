//! A shell for one machine: a log of events, a durable record, sessions, and a clock that moves when told.
//!
//! Everything that the machine asks for is done at once, unless the test holds it back.

use std::{cell::Cell, time::Duration};

use waypost_delivery::{
    Action, Candidate, CloseReason, Commit, CommitPlan, Config, Defect, Deliver, Held, Input, NotDone, Offset, Output, Read, Record,
    Refusal, RequestId, RetryPolicy, RevokeReason, SessionId, SessionLimits, SettleOutcome, Settlement, StreamId, Subscription, Time,
    Token,
};

pub(crate) const LIMITS: SessionLimits = SessionLimits { max_outstanding: 32, max_outstanding_bytes: 1 << 24 };

pub(crate) const ACK: Action = Action::Ack { outputs: 0, output_bytes: 0 };

pub(crate) fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn nack() -> Action {
    Action::Nack { delay: None, reason: "no".into() }
}

pub(crate) fn reject() -> Action {
    Action::Reject { reason: "never".into() }
}

pub(crate) fn config() -> Config {
    Config {
        ack_deadline: secs(30),
        max_lease_total: secs(300),
        retry: RetryPolicy { min_backoff: secs(1), max_backoff: secs(60), max_attempts: 4, max_losses: 3 },
        max_outstanding: 256,
        max_outstanding_bytes: 1 << 28,
        max_unsettled: 1000,
        resume_grace: secs(2),
        ordered: false,
        ephemeral: false,
        jitter_seed: 42,
    }
}

thread_local! {
    /// The defect of every machine that this thread makes.
    pub(crate) static DEFECT: Cell<Option<Defect>> = const { Cell::new(None) };
}

/// What the store does with the next commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    Commits,
    Refuses,
    /// Does not answer: the test does, with [`World::answer_commit`].
    Holds,
}

pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) machine: Subscription,
    pub(crate) disk: Disk,
    /// What is durable of the subscription.
    pub(crate) records: Vec<Vec<u8>>,
    /// The events that match, and the first offset after the log.
    pub(crate) events: Vec<Candidate>,
    pub(crate) tail: Offset,
    /// Spans that the store lost.
    pub(crate) lost: Vec<(Offset, Offset)>,
    pub(crate) in_flight: Option<CommitPlan>,
    pub(crate) read: Option<Read>,
    /// Everything that came out, commits and reads included.
    pub(crate) seen: Vec<Output>,
    pub(crate) plans: Vec<CommitPlan>,
    epoch: u64,
    requests: u64,
    streams: u64,
    defect: Option<Defect>,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let (mut machine, record) = Subscription::create(1, 77, 1, config, b"all".to_vec());
        machine.set_defect(DEFECT.get());
        Self {
            now: Time::from_micros(1_000_000_000),
            machine,
            disk: Disk::Commits,
            records: vec![record.encode()],
            events: Vec::new(),
            tail: 1,
            lost: Vec::new(),
            in_flight: None,
            read: None,
            seen: Vec::new(),
            plans: Vec::new(),
            epoch: 1,
            requests: 0,
            streams: 0,
            defect: DEFECT.get(),
        }
    }

    /// Takes an input in and does all that follows from it. Returns what a client or an administrator would see.
    pub(crate) fn input(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.machine.handle(self.now, input, &mut outputs);
        self.advance(outputs)
    }

    /// As when a timer fires.
    pub(crate) fn tick(&mut self) -> Vec<Output> {
        self.advance(Vec::new())
    }

    fn advance(&mut self, mut outputs: Vec<Output>) -> Vec<Output> {
        let mut visible = Vec::new();
        for round in 0.. {
            assert!(round < 10_000, "the machine does not come to rest");
            self.machine.advance(self.now, &mut outputs);
            let idle = outputs.is_empty();
            for output in std::mem::take(&mut outputs) {
                self.seen.push(output.clone());
                match output {
                    Output::Commit(plan) => {
                        assert!(self.in_flight.is_none(), "two commits in flight");
                        self.plans.push(plan.clone());
                        self.in_flight = Some(plan);
                    }
                    Output::Read(read) => self.read = Some(read),
                    other => visible.push(other),
                }
            }
            if self.disk != Disk::Holds && self.in_flight.is_some() {
                let result = if self.disk == Disk::Commits { Commit::Committed } else { Commit::Refused(Refusal::Unavailable) };
                self.tell(result, &mut outputs);
            } else if let Some(answer) = self.candidates() {
                self.machine.handle(self.now, answer, &mut outputs);
            } else if idle {
                break;
            }
        }
        if let Err(violation) = self.machine.check() {
            panic!("{violation}");
        }
        visible
    }

    /// The store's answer to the standing read, if it has one.
    fn candidates(&mut self) -> Option<Input> {
        let read = self.read?;
        let end = read.until.unwrap_or(self.tail).min(self.tail);
        if read.from >= end {
            return None;
        }
        let is_lost = |offset: Offset| self.lost.iter().any(|&(from, to)| (from..to).contains(&offset));
        let span = self.events.iter().filter(|event| (read.from..end).contains(&event.offset) && !is_lost(event.offset));
        let events: Vec<_> = span.take(read.limit as usize).copied().collect();
        let full = events.len() == read.limit as usize;
        let next = events.last().filter(|_| full).map_or(end, |last| last.offset + 1);
        let gaps = self.lost.iter().copied().filter(|&(from, to)| from < next && to > read.from).collect();
        self.read = None;
        Some(Input::Candidates { read, events, next, gaps })
    }

    fn tell(&mut self, result: Commit, outputs: &mut Vec<Output>) {
        let plan = self.in_flight.take().unwrap();
        if result == Commit::Committed {
            self.persist(&plan);
        }
        self.machine.handle(self.now, Input::Commit(result), outputs);
    }

    fn persist(&mut self, plan: &CommitPlan) {
        if plan.supersede {
            self.records.clear();
        }
        self.records.extend(plan.records.iter().map(Record::encode));
    }

    /// Answers the commit that is held back.
    pub(crate) fn answer_commit(&mut self, result: Commit) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.tell(result, &mut outputs);
        self.advance(outputs)
    }

    pub(crate) fn publish(&mut self, count: u64) -> Vec<Output> {
        (0..count).flat_map(|_| self.publish_event(100, None)).collect()
    }

    pub(crate) fn publish_event(&mut self, bytes: u32, key: Option<u64>) -> Vec<Output> {
        self.events.push(Candidate { offset: self.tail, bytes, key });
        self.tail += 1;
        self.tick()
    }

    pub(crate) fn connect(&mut self, session: u128) -> Vec<Output> {
        self.connect_with(session, LIMITS, &[])
    }

    pub(crate) fn connect_with(&mut self, session: u128, limits: SessionLimits, held: &[Token]) -> Vec<Output> {
        self.streams += 1;
        let event = |token: &Token| *self.events.iter().find(|event| event.offset == token.offset).unwrap();
        let held = held.iter().map(|token| Held { token: *token, event: event(token) }).collect();
        self.input(Input::Connect { session: SessionId(session), stream: StreamId(self.streams), limits, held })
    }

    /// The latest stream breaks.
    pub(crate) fn disconnect(&mut self, session: u128) -> Vec<Output> {
        self.disconnect_stream(session, self.streams)
    }

    pub(crate) fn disconnect_stream(&mut self, session: u128, stream: u64) -> Vec<Output> {
        self.input(Input::Disconnect { session: SessionId(session), stream: StreamId(stream) })
    }

    /// The number of the latest stream.
    pub(crate) fn stream(&self) -> u64 {
        self.streams
    }

    pub(crate) fn drain(&mut self, session: u128) -> Vec<Output> {
        self.input(Input::Drain { session: Some(SessionId(session)) })
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId(self.requests)
    }

    /// Settles and returns the answer, and what else came out. The answer is `None` while the commit is held back.
    pub(crate) fn settle_all(&mut self, token: Token, action: Action) -> (Option<SettleOutcome>, Vec<Output>) {
        let request = self.request();
        let outputs = self.input(Input::Settle { request, settlements: vec![Settlement { token, action }] });
        let mut answers = outputs.iter().filter_map(|output| match output {
            Output::Settled { request: of, outcome, .. } if *of == request => Some(*outcome),
            _ => None,
        });
        let answer = answers.next();
        assert_eq!(answers.next(), None, "answered twice");
        (answer, outputs)
    }

    pub(crate) fn settle(&mut self, token: Token, action: Action) -> SettleOutcome {
        self.settle_all(token, action).0.expect("an answer")
    }

    pub(crate) fn ack(&mut self, token: Token) -> SettleOutcome {
        self.settle(token, ACK)
    }

    /// An administrative input, and its answer.
    pub(crate) fn administer(&mut self, make: impl FnOnce(RequestId) -> Input) -> (Result<Vec<Offset>, NotDone>, Vec<Output>) {
        let request = self.request();
        let outputs = self.input(make(request));
        let result = outputs.iter().find_map(|output| match output {
            Output::Done { request: of, result } if *of == request => Some(result.clone()),
            _ => None,
        });
        (result.expect("an answer"), outputs)
    }

    /// An administrative input whose commit is held back.
    pub(crate) fn administer_held(&mut self, make: impl FnOnce(RequestId) -> Input) {
        let request = self.request();
        self.input(make(request));
    }

    pub(crate) fn seek(&mut self, to: Offset) -> Vec<Output> {
        let (result, outputs) = self.administer(|request| Input::Seek { request, to });
        assert_eq!(result, Ok(vec![]));
        outputs
    }

    pub(crate) fn update(&mut self, from: Offset, config: Config, filter: &[u8]) -> Vec<Output> {
        let filter = filter.to_vec();
        let (result, outputs) = self.administer(|request| Input::Update { request, from, config, filter });
        assert_eq!(result.map(|from| from.len()), Ok(1), "it tells from where");
        outputs
    }

    pub(crate) fn redrive(&mut self, offsets: &[Offset]) -> (Result<Vec<Offset>, NotDone>, Vec<Output>) {
        let events = offsets.iter().map(|&offset| Candidate { offset, bytes: 100, key: None }).collect();
        self.administer(|request| Input::Redrive { request, events })
    }

    pub(crate) fn discard(&mut self, offsets: &[Offset]) -> Result<Vec<Offset>, NotDone> {
        let offsets = offsets.to_vec();
        self.administer(|request| Input::Discard { request, offsets }).0
    }

    pub(crate) fn pause(&mut self, paused: bool) -> Vec<Output> {
        self.administer(|request| Input::Pause { request, paused }).1
    }

    /// Time passes, and every timer fires when it is due.
    pub(crate) fn wait(&mut self, span: Duration) -> Vec<Output> {
        let end = self.now + span;
        let mut outputs = Vec::new();
        while let Some(due) = self.machine.next_timeout().filter(|due| *due <= end && (*due > self.now || self.in_flight.is_none())) {
            self.now = self.now.max(due);
            outputs.extend(self.tick());
        }
        self.now = end;
        outputs.extend(self.tick());
        outputs
    }

    /// The process dies: what is in flight may be durable or not, all else that is not recorded is gone.
    pub(crate) fn crash(&mut self, in_flight_is_durable: bool) -> Vec<Output> {
        if let Some(plan) = self.in_flight.take().filter(|_| in_flight_is_durable) {
            self.persist(&plan);
        }
        self.epoch += 1;
        self.read = None;
        let records = self.records.iter().map(Vec::as_slice);
        self.machine = Subscription::restore(self.now, self.epoch, self.tail, records).unwrap().expect("a subscription");
        self.machine.set_defect(self.defect);
        self.tick()
    }

    /// Makes the next commit a snapshot: by so many harmless steps as it takes.
    pub(crate) fn force_snapshot(&mut self) {
        let before = self.plans.len();
        while !self.plans[before..].iter().any(|plan| plan.supersede) {
            let paused = self.machine.status().paused;
            self.pause(paused);
            assert!(self.plans.len() < before + 2_000, "no snapshot");
        }
    }

    /// What is durable about a kind of record.
    pub(crate) fn recorded(&self, is: impl Fn(&Record) -> bool) -> usize {
        self.plans.iter().flat_map(|plan| &plan.records).filter(|record| is(record)).count()
    }
}

pub(crate) fn deliveries(outputs: &[Output]) -> Vec<Deliver> {
    outputs.iter().filter_map(|output| if let Output::Deliver(deliver) = output { Some(*deliver) } else { None }).collect()
}

pub(crate) fn tokens(outputs: &[Output]) -> Vec<Token> {
    deliveries(outputs).iter().map(|deliver| deliver.token).collect()
}

pub(crate) fn offsets(outputs: &[Output]) -> Vec<Offset> {
    tokens(outputs).iter().map(|token| token.offset).collect()
}

/// The one delivery among the outputs.
pub(crate) fn delivery(outputs: &[Output]) -> Deliver {
    let all = deliveries(outputs);
    assert_eq!(all.len(), 1, "deliveries in {outputs:?}");
    all[0]
}

pub(crate) fn revoked(outputs: &[Output]) -> Vec<(SessionId, Token, RevokeReason)> {
    let revoked = outputs.iter().filter_map(|output| match output {
        Output::Revoke { session, token, reason } => Some((*session, *token, *reason)),
        _ => None,
    });
    revoked.collect()
}

pub(crate) fn closed(outputs: &[Output]) -> Vec<(StreamId, CloseReason)> {
    let closed = outputs.iter().filter_map(|output| match output {
        Output::Close { stream, reason, .. } => Some((*stream, *reason)),
        _ => None,
    });
    closed.collect()
}

/// What went on and what did not, of a stream that opened.
pub(crate) fn opened(outputs: &[Output]) -> (Vec<Token>, Vec<Token>) {
    let opened = outputs.iter().find_map(|output| match output {
        Output::Opened { adopted, dropped, .. } => Some((adopted.iter().map(|(token, _)| *token).collect(), dropped.clone())),
        _ => None,
    });
    opened.expect("opened")
}
