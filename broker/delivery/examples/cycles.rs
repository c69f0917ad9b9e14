//! How many events a second one machine hands out and settles, with nothing around it:
//!
//! ```text
//! cargo run --release -p waypost-delivery --example cycles
//! ```
//!
//! Each line doubles what is unsettled and waiting beside; the figures must not follow it.

#![allow(clippy::disallowed_methods, reason = "it measures real time")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use waypost_delivery::{
    Action, Candidate, Commit, Config, Input, Output, RequestId, RetryPolicy, SessionId, SessionLimits, Settlement, StreamId, Subscription,
    Time, Token,
};

const CYCLES: u64 = 500_000;
const BATCH: u32 = 256;

fn config() -> Config {
    Config {
        ack_deadline: Duration::from_secs(30),
        max_lease_total: Duration::from_secs(3600),
        retry: RetryPolicy {
            min_backoff: Duration::from_secs(500),
            max_backoff: Duration::from_secs(600),
            max_attempts: 16,
            max_losses: 10,
        },
        max_outstanding: BATCH,
        max_outstanding_bytes: u64::MAX,
        max_unsettled: 32_768,
        resume_grace: Duration::from_secs(2),
        ordered: false,
        ephemeral: false,
        jitter_seed: 1,
    }
}

/// Answers every read and commit at once, and settles every delivery: the first `waiting` as failed, all others as done.
fn run(waiting: u64) -> f64 {
    let (mut machine, _) = Subscription::create(1, 1, 1, config(), Vec::new());
    let (mut outputs, mut now) = (Vec::new(), Time::from_micros(1));
    let limits = SessionLimits { max_outstanding: BATCH, max_outstanding_bytes: u64::MAX };
    machine.handle(now, Input::Connect { session: SessionId(1), stream: StreamId(1), limits, held: vec![] }, &mut outputs);
    let (mut settled, mut start) = (0, Instant::now());
    let mut given: Vec<Token> = Vec::new();
    while settled < waiting + CYCLES {
        machine.advance(now, &mut outputs);
        now = now + Duration::from_micros(1);
        for output in std::mem::take(&mut outputs) {
            match output {
                Output::Read(read) => {
                    let next = read.from + u64::from(read.limit);
                    let events = (read.from..next).map(|offset| Candidate { offset, bytes: 200, key: None }).collect();
                    machine.handle(now, Input::Candidates { read, events, next, gaps: vec![] }, &mut outputs);
                }
                Output::Commit(plan) => {
                    plan.records.iter().for_each(|record| drop(black_box(record.encode())));
                    machine.handle(now, Input::Commit(Commit::Committed), &mut outputs);
                }
                Output::Deliver(deliver) => given.push(deliver.token),
                Output::Settled { .. } => settled += 1,
                _ => {}
            }
        }
        let settlements = given.drain(..).map(|token| {
            let fails = token.offset <= waiting;
            let action =
                if fails { Action::Nack { delay: None, reason: String::new() } } else { Action::Ack { outputs: 0, output_bytes: 0 } };
            Settlement { token, action }
        });
        machine.handle(now, Input::Settle { request: RequestId(1), settlements: settlements.collect() }, &mut outputs);
        if settled <= waiting {
            start = Instant::now();
        }
    }
    CYCLES as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    for waiting in [0, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000] {
        println!("{waiting:>6} waiting: {:>9.0} events handed out and settled per second", run(waiting));
    }
}
