//! Seeded simulation of the broker: the shipping registry, dispatchers, publisher, hub, retention and services, over a store with
//! faults, with paused time.
//!
//! Constraints:
//! - One seed decides everything; the same seed gives the same run, to the last byte (P13).
//! - The checker ([`ledger`] and what is built on it) only reads.
//! - A promise that does not hold ends the run, with the seed and how to replay it.
//!
//! ```text
//!   WAYPOST_SIM_SEED=7 cargo test -p waypost-tests --test sim promises          replays one seed
//!   WAYPOST_SIM_SEEDS=5000 cargo test -p waypost-tests --test sim promises      runs more than CI does
//!   WAYPOST_SIM_STEPS=200000 …                                                  longer ones
//! ```
//!
//! | file | what it holds |
//! |---|---|
//! | `world`, `life`, `run` | the step loop, one life of the broker, one seed |
//! | `publishers`, `agents`, `settlements`, `streams`, `readers`, `operator`, `specs` | who is around the broker |
//! | `ledger`, `interest`, `facts`, `checks`, `retention`, `witness` | what is known to be durable, and what must follow |
//! | `coverage` | what the runs went through |
//! | `defects` | what is broken on purpose, and must be noticed |
//! | `panics` | panics of tasks |

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod agents;
mod checks;
mod coverage;
mod defects;
mod facts;
mod interest;
mod ledger;
mod life;
mod operator;
mod panics;
mod pipeline;
mod publishers;
mod readers;
mod retention;
mod run;
mod settlements;
mod specs;
mod streams;
mod witness;
mod world;

use defects::Plan;
use run::{Outcome, run, run_many};

/// How many seeds are run, and how many steps of each, unless told otherwise.
const SEEDS: u64 = 300;
const STEPS: u64 = 10_000;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is {text:?}, not a number")))
}

fn steps() -> u64 {
    variable("WAYPOST_SIM_STEPS").unwrap_or(STEPS)
}

fn fail(seed: u64, outcome: &Outcome) -> ! {
    let broken = outcome.broken.as_ref().map_or_else(String::new, ToString::to_string);
    let (at, steps) = (outcome.steps, steps());
    panic!(
        "seed {seed}, step {at}: {broken}\nreplay: WAYPOST_SIM_SEED={seed} WAYPOST_SIM_STEPS={steps} cargo test -p waypost-tests --test sim promises"
    );
}

#[test]
fn the_promises_hold_under_every_seed() {
    if let Some(seed) = variable("WAYPOST_SIM_SEED") {
        let outcome = run(seed, steps(), Plan::None);
        println!("seed {seed}: {} steps, trace {:016x}\n{}", outcome.steps, outcome.trace, outcome.coverage);
        if outcome.broken.is_some() {
            fail(seed, &outcome);
        }
        return;
    }
    let seeds = variable("WAYPOST_SIM_SEEDS").unwrap_or(SEEDS);
    match run_many(0..seeds, steps()) {
        Err((seed, outcome)) => fail(seed, &outcome),
        Ok(coverage) => {
            println!("{seeds} seeds of {} steps went through:\n{coverage}", steps());
            assert!(coverage.missing().is_empty(), "never seen in {seeds} seeds: {:?}", coverage.missing());
        }
    }
}

#[test]
fn p13_a_seed_replays_exactly() {
    for seed in [1, 2] {
        let (first, second) = (run(seed, 3_000, Plan::None), run(seed, 3_000, Plan::None));
        assert_eq!(first.trace, second.trace, "seed {seed} went two ways");
    }
}
