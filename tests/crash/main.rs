//! kill -9 under load, again and again: what the broker confirmed is true after every restart.
//!
//! Constraints:
//! - The real program on a real disk, killed with SIGKILL at a moment that load decides, not a clock.
//! - Segments are tiny and retention is short, so that rolls, trims and snapshots happen in every round.
//! - The ledger holds what was confirmed to a client, and nothing else; it is what the broker is checked against.
//!
//! `WAYPOST_CRASH_ROUNDS` sets the rounds (50 by default), `WAYPOST_CRASH_SEED` repeats a run's choices (not its interleavings).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod agent;
mod backup;
mod ledger;
mod load;
mod verdict;

use std::{sync::Arc, time::Duration};

use waypost_tests::process::Broker;

use crate::{agent::Agent, ledger::Ledger};

/// The subscriptions, and which event types each is about.
pub(crate) const SUBSCRIPTIONS: [(&str, &[&str]); 3] =
    [("all", &["crash.*", "hook.*"]), ("odd", &["crash.odd"]), ("hooks", &["hook.crash"])];

pub(crate) const CONFIGURATION: &str = "
[store]
data_dir = 'data'
segment_size = '256KiB'
[retention]
settled = '1s'
interval = '1s'
[sources.hook]
scheme = 'hmac'
secrets = ['file:secret']
event_type = ['crash']
";

/// Longer than any backoff or lease that can be left over.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) const SECRET: &str = "correct horse battery staple";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p4_p5_p7_kill_minus_9_under_load_loses_nothing_that_was_confirmed() {
    let rounds: u32 = from_env("WAYPOST_CRASH_ROUNDS").unwrap_or(50);
    let seed: u64 = from_env("WAYPOST_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("WAYPOST_CRASH_SEED={seed} WAYPOST_CRASH_ROUNDS={rounds}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let ledger = Arc::new(Ledger::default());
    let mut agents: Vec<Agent> =
        SUBSCRIPTIONS.iter().flat_map(|&(name, types)| [0, 1].map(|_| Agent::new(name, types, rng.fork()))).collect();

    for round in 1..=rounds {
        let broker = Broker::start(folder.path(), CONFIGURATION);
        let goal = ledger.confirmed() + rng.usize(20..400);
        let work: Vec<_> = agents.drain(..).map(|agent| tokio::spawn(agent.work(broker.channel(), Arc::clone(&ledger)))).collect();
        let load = load::start(&broker, &ledger, round, &mut rng);
        let reached = tokio::time::timeout(PATIENCE, ledger.reaches(goal)).await;
        assert!(reached.is_ok(), "round {round}: {} of {goal} confirmations, and no more come", ledger.confirmed());
        broker.kill();
        for publisher in load {
            publisher.await.unwrap();
        }
        for agent in work {
            agents.push(agent.await.unwrap());
        }
    }
    let broker = Broker::start(folder.path(), CONFIGURATION);
    let agents = verdict::all_is_settled(broker, &ledger, agents).await;
    let broker = Broker::start(folder.path(), CONFIGURATION);
    verdict::nothing_comes_back(&broker, &ledger, agents).await;
    verdict::dead_letters_are_there(&broker, &ledger).await;
    verdict::duplicates_are_recognised(&broker, &ledger, &mut rng).await;
    verdict::segments_were_dropped(&broker).await;
    println!("{}", ledger.summary());
}

fn from_env<T: std::str::FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}
