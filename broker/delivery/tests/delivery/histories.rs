//! Random histories against the [model](crate::model): every step is checked, and at the end everything is acked and accounted for.
//! `PROPTEST_CASES=100000` runs more of them.

use std::time::Duration;

use proptest::{collection::vec, prelude::*};
use waypost_delivery::{
    Action, Commit, Config, Input, Offset, Output, Record, Refusal, RetryPolicy, SessionId, SessionLimits, SettleOutcome, Settlement,
    StreamId, Subscription, Token,
};

use crate::{model::Model, world::*};

/// One step of a history. Numbers are taken modulo what there is.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Publish {
        bytes: u32,
        key: Option<u64>,
    },
    Wait {
        millis: u64,
    },
    Connect {
        session: u128,
        keeps: u32,
    },
    Disconnect {
        session: u128,
    },
    Drain {
        session: u128,
    },
    Writable {
        session: u128,
        writable: bool,
    },
    Settle {
        back: usize,
        action: Action,
    },
    Commit(Commit),
    /// With or without what is in flight, or right after a snapshot if nothing is.
    Crash {
        in_flight_is_durable: bool,
        after_snapshot: bool,
    },
    Pause(bool),
    Seek {
        to: Offset,
    },
    Limit {
        max_outstanding: u32,
    },
    Redrive,
    Discard {
        back: usize,
    },
    Lose {
        from: Offset,
        count: u64,
    },
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        4 => (0_u32..3).prop_map(|outputs| Action::Ack { outputs, output_bytes: u64::from(outputs) * 10 }),
        3 => prop::option::of(0_u64..90).prop_map(|delay| Action::Nack { delay: delay.map(secs), reason: "no".into() }),
        1 => Just(reject()),
        1 => Just(Action::Release),
        2 => prop::option::of(0_u64..60).prop_map(|by| Action::Extend { by: by.map(secs) }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let commit = prop_oneof![
        8 => Just(Commit::Committed),
        1 => Just(Commit::Refused(Refusal::Unavailable)),
        1 => (0_usize..2).prop_map(|completion| Commit::Refused(Refusal::Output { completion })),
    ];
    let session = 1_u128..4;
    prop_oneof![
        6 => (1_u32..60, prop::option::of(0_u64..3)).prop_map(|(bytes, key)| Step::Publish { bytes, key }),
        4 => (1_u64..4_000).prop_map(|millis| Step::Wait { millis }),
        1 => (4_000_u64..70_000).prop_map(|millis| Step::Wait { millis }),
        3 => (session.clone(), any::<u32>()).prop_map(|(session, keeps)| Step::Connect { session, keeps }),
        2 => session.clone().prop_map(|session| Step::Disconnect { session }),
        1 => session.clone().prop_map(|session| Step::Drain { session }),
        1 => (session, any::<bool>()).prop_map(|(session, writable)| Step::Writable { session, writable }),
        10 => (0_usize..8, action()).prop_map(|(back, action)| Step::Settle { back, action }),
        10 => commit.prop_map(Step::Commit),
        1 => any::<(bool, bool)>().prop_map(|(in_flight_is_durable, after_snapshot)| Step::Crash { in_flight_is_durable, after_snapshot }),
        1 => any::<bool>().prop_map(Step::Pause),
        1 => (1_u64..20).prop_map(|to| Step::Seek { to }),
        1 => (1_u32..8).prop_map(|max_outstanding| Step::Limit { max_outstanding }),
        2 => Just(Step::Redrive),
        1 => (0_usize..8).prop_map(|back| Step::Discard { back }),
        1 => (1_u64..20, 1_u64..4).prop_map(|(from, count)| Step::Lose { from, count }),
    ]
}

pub(crate) fn history() -> impl Strategy<Value = (bool, Vec<Step>)> {
    (any::<bool>(), vec(step(), 1..150))
}

fn small(ordered: bool) -> Config {
    Config {
        ack_deadline: secs(10),
        max_lease_total: secs(25),
        retry: RetryPolicy { min_backoff: secs(1), max_backoff: secs(60), max_attempts: 3, max_losses: 2 },
        max_outstanding: 5,
        max_outstanding_bytes: 200,
        max_unsettled: 9,
        ordered,
        ..config()
    }
}

/// The machine, its shell and its model, side by side.
pub(crate) struct Run {
    pub(crate) world: World,
    model: Model,
    given: Vec<Token>,
    /// Everything that came out.
    all: Vec<Output>,
}

impl Run {
    pub(crate) fn new(ordered: bool) -> Self {
        let mut world = World::new(small(ordered));
        world.disk = Disk::Holds;
        Self { world, model: Model::new(small(ordered)), given: Vec::new(), all: Vec::new() }
    }

    /// The model looks at what came out; the shell reports what it could not hand out.
    fn observe(&mut self) {
        while !self.world.seen.is_empty() {
            let seen = std::mem::take(&mut self.world.seen);
            self.model.observe(self.world.now, &seen);
            for deliver in deliveries(&seen) {
                let offset = deliver.token.offset;
                self.given.push(deliver.token);
                if !deliver.redriven && self.world.lost.iter().any(|&(from, to)| (from..to).contains(&offset)) {
                    self.world.input(Input::Gap { from: offset, to: offset + 1 });
                }
            }
            self.all.extend(seen);
        }
        assert!(self.world.machine.status().unsettled <= 9, "P12: too many unsettled events");
    }

    fn administer(&mut self, make: impl FnOnce(waypost_delivery::RequestId) -> Input) {
        let request = self.world.request();
        self.model.administered(request);
        self.world.input(make(request));
    }

    pub(crate) fn settle(&mut self, token: Token, action: Action) {
        let request = self.world.request();
        self.model.asked(request, token, action.clone());
        self.world.input(Input::Settle { request, settlements: vec![Settlement { token, action }] });
    }

    pub(crate) fn commit(&mut self, result: Commit) {
        let Some(plan) = self.world.in_flight.clone() else { return };
        match result {
            Commit::Committed => self.model.committed(&plan),
            Commit::Refused(Refusal::Output { completion }) => self.model.refused(plan.completions.get(completion).copied()),
            Commit::Refused(Refusal::Unavailable) => self.model.refused(None),
        }
        self.world.answer_commit(result);
    }

    fn commit_all(&mut self) {
        while self.world.in_flight.is_some() {
            self.commit(Commit::Committed);
            self.observe();
        }
    }

    fn wait(&mut self, span: Duration) {
        let end = self.world.now + span;
        loop {
            let due =
                self.world.machine.next_timeout().filter(|due| *due <= end && (*due > self.world.now || self.world.in_flight.is_none()));
            self.world.now = due.map_or(end, |due| due.max(self.world.now));
            self.model.time_is(self.world.now);
            self.world.tick();
            self.observe();
            if due.is_none() {
                break;
            }
        }
    }

    fn connect(&mut self, session: u128, keeps: u32) {
        let mut held: Vec<_> = self.given.iter().rev().take(16).copied().collect();
        held.retain(|token| keeps >> (token.offset % 32) & 1 == 1);
        held.dedup_by_key(|token| token.offset);
        let limits = SessionLimits { max_outstanding: 2 + u32::try_from(session).unwrap() % 2, max_outstanding_bytes: 100 };
        self.model.connects(SessionId(session), StreamId(self.world.stream() + 1), limits);
        self.world.connect_with(session, limits, &held);
    }

    pub(crate) fn step(&mut self, step: Step) {
        let (now, tail) = (self.world.now, self.world.tail);
        match step {
            Step::Publish { bytes, key } => {
                self.model.published(tail, bytes, key);
                self.world.publish_event(bytes, key);
            }
            Step::Wait { millis } if !self.model.is_standing_still() => self.wait(Duration::from_millis(millis)),
            Step::Wait { .. } => {}
            Step::Connect { session, keeps } => self.connect(session, keeps),
            Step::Disconnect { session } => {
                if let Some(StreamId(stream)) = self.model.stream(SessionId(session)) {
                    self.model.disconnects(SessionId(session), now);
                    self.world.disconnect_stream(session, stream);
                }
            }
            Step::Drain { session } => {
                self.model.drains(SessionId(session));
                self.world.drain(session);
            }
            Step::Writable { session, writable } => {
                self.model.is_writable(SessionId(session), writable);
                self.world.input(Input::Writable { session: SessionId(session), writable });
            }
            Step::Settle { back, action } => {
                if let Some(token) = self.given.iter().rev().nth(back).copied() {
                    self.settle(token, action);
                }
            }
            Step::Commit(result) => self.commit(result),
            Step::Crash { in_flight_is_durable, after_snapshot } => {
                if after_snapshot && self.world.in_flight.is_none() {
                    self.world.records = vec![self.world.machine.snapshot().encode()];
                }
                if let Some(plan) = self.world.in_flight.clone().filter(|_| in_flight_is_durable) {
                    self.model.committed(&plan);
                }
                self.model.crashed(now, tail);
                self.world.crash(in_flight_is_durable);
            }
            Step::Pause(paused) => self.administer(|request| Input::Pause { request, paused }),
            Step::Seek { to } => self.administer(|request| Input::Seek { request, to: to.min(tail) }),
            Step::Limit { max_outstanding } => {
                let config = Config { max_outstanding, ..self.model.config.clone() };
                self.administer(|request| Input::Update { request, from: 1, config, filter: b"all".to_vec() });
            }
            Step::Redrive => {
                let events = self.world.events.clone();
                self.administer(|request| Input::Redrive { request, events });
            }
            Step::Discard { back } => {
                let offsets = self.given.iter().rev().nth(back).map(|token| token.offset).into_iter().collect();
                self.administer(|request| Input::Discard { request, offsets });
            }
            Step::Lose { from, count } => {
                let (from, to) = (from.min(tail), (from + count).min(tail));
                // A loss that is told while its event is being settled may be recorded for nothing; the model does not know that.
                self.commit_all();
                if from < to {
                    (from..to).for_each(|offset| self.model.vanished(offset));
                    self.world.lost.push((from, to));
                    self.world.input(Input::Gap { from, to });
                }
            }
        }
        self.observe();
    }

    /// Everybody acks everything, until nothing is left.
    pub(crate) fn end(mut self) -> Vec<Output> {
        self.administer(|request| Input::Pause { request, paused: false });
        let config = Config { max_outstanding: 5, ..self.model.config.clone() };
        self.administer(|request| Input::Update { request, from: 1, config, filter: b"all".to_vec() });
        self.observe();
        for round in 0..400 {
            if round == 0 {
                self.connect(9, 0);
                self.observe();
            }
            self.commit_all();
            if round > 5 && self.model.is_settled() {
                break;
            }
            for token in self.given.clone() {
                if self.model.is_held(token) {
                    self.settle(token, ACK);
                    self.observe();
                }
            }
            if self.world.in_flight.is_none() {
                self.wait(secs(1));
            }
        }
        self.model.check_end();
        self.all
    }
}

pub(crate) fn run((ordered, steps): (bool, Vec<Step>)) -> Vec<Output> {
    let mut run = Run::new(ordered);
    steps.into_iter().for_each(|step| run.step(step));
    run.end()
}

/// What a machine hands out from now on if everything is acked: by offset, with the number of the try.
fn future(world: &World, records: &[Vec<u8>], now: waypost_delivery::Time) -> Vec<(Offset, u32, u32, bool)> {
    let mut again = World::new(small(false));
    (again.events, again.tail, again.lost, again.now) = (world.events.clone(), world.tail, world.lost.clone(), now);
    again.records = records.to_vec();
    again.crash(false);
    again.pause(false);
    let mut handed_out = Vec::new();
    let mut out = again.connect_with(1, SessionLimits { max_outstanding: 1, ..LIMITS }, &[]);
    for _ in 0..200 {
        out.extend(again.wait(secs(1)));
        let deliver = deliveries(&std::mem::take(&mut out));
        for deliver in deliver {
            handed_out.push((deliver.token.offset, deliver.attempt, deliver.losses, deliver.redriven));
            let (answer, next) = again.settle_all(deliver.token, ACK);
            assert_eq!(answer, Some(SettleOutcome::Done));
            out.extend(next);
        }
    }
    // Events that are lost, which only the snapshots still know of, take up time; so the order may differ.
    handed_out.sort_unstable();
    handed_out.retain(|&(offset, .., redriven)| redriven || !world.lost.iter().any(|&(from, to)| (from..to).contains(&offset)));
    handed_out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(400), max_shrink_iters: 20_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_history_keeps_the_promises(history in history()) {
        run(history);
    }

    #[test]
    fn p13_the_same_history_gives_the_same_outputs(history in history()) {
        prop_assert_eq!(run(history.clone()), run(history));
    }

    /// The records, a snapshot of what they tell, and a snapshot of the running machine all tell of the same future.
    #[test]
    fn p2_records_and_snapshots_and_the_running_machine_agree((ordered, steps) in history()) {
        let mut run = Run::new(ordered);
        steps.into_iter().for_each(|step| run.step(step));
        run.commit_all();
        let (world, now) = (&run.world, run.world.now);
        let records = &world.records;
        let restored = Subscription::restore(now, 99, world.tail, records.iter().map(Vec::as_slice)).unwrap().unwrap();
        let by_records = future(world, records, now);
        prop_assert_eq!(&by_records, &future(world, &[Record::encode(&restored.snapshot())], now));
        prop_assert_eq!(&by_records, &future(world, &[Record::encode(&world.machine.snapshot())], now));
    }
}
