//! A backup taken under load, and a broker on it: everything confirmed before the backup was asked for is as true there as after a kill.
//!
//! Constraint: the ledger that judges the copy is a copy itself, made before the backup was asked for.

use std::sync::Arc;

use tokio::process::Command;
use waypost_tests::process::{Broker, program};

use crate::{CONFIGURATION, PATIENCE, SECRET, SUBSCRIPTIONS, agent::Agent, ledger::Ledger, load, verdict};

async fn waypost(args: &[&str]) -> String {
    let output = tokio::time::timeout(PATIENCE, Command::new(program()).args(args).output()).await.unwrap().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

async fn more(ledger: &Ledger, count: usize) {
    let goal = ledger.confirmed() + count;
    assert!(tokio::time::timeout(PATIENCE, ledger.reaches(goal)).await.is_ok(), "{} of {goal} confirmations", ledger.confirmed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p1_p2_p4_p5_p7_a_backup_taken_under_load_keeps_everything_that_was_confirmed_before() {
    let mut rng = fastrand::Rng::with_seed(7);
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), SECRET).unwrap();
    let ledger = Arc::new(Ledger::default());
    let broker = Broker::start(folder.path(), CONFIGURATION);
    let agents = SUBSCRIPTIONS.iter().flat_map(|&(name, types)| [0, 1].map(|_| Agent::new(name, types, rng.fork())));
    let work: Vec<_> = agents.map(|agent| tokio::spawn(agent.work(broker.channel(), Arc::clone(&ledger)))).collect();
    let load = load::start(&broker, &ledger, 1, &mut rng);

    let (restored, mut copy) = (tempfile::tempdir().unwrap(), Ledger::default());
    let mut names = ["first", "second", "data"].map(|name| restored.path().join(name)).into_iter();
    for dir in names.by_ref() {
        more(&ledger, 1_500).await;
        copy = ledger.copy();
        let dir = dir.to_str().unwrap();
        let told = waypost(&["store", "backup", dir, "--admin", &broker.admin]).await;
        assert!(told.contains("verified"), "{told}");
        assert!(waypost(&["store", "verify", dir]).await.contains("no damage found"));
        assert!(waypost(&["store", "verify", "--admin", &broker.admin]).await.contains("no damage found"));
    }
    more(&ledger, 500).await;
    broker.kill();
    for publisher in load {
        publisher.await.unwrap();
    }
    let mut agents = Vec::new();
    for agent in work {
        agents.push(agent.await.unwrap().without_what_it_held());
    }
    copy.excuse(&ledger);
    assert!(copy.confirmed() + 500 <= ledger.confirmed(), "nothing went on beside the backup: it proves nothing");

    std::fs::write(restored.path().join("secret"), SECRET).unwrap();
    let copy = Arc::new(copy);
    let broker = Broker::start(restored.path(), CONFIGURATION);
    let agents = verdict::all_is_settled(broker, &copy, agents).await;
    let broker = Broker::start(restored.path(), CONFIGURATION);
    verdict::nothing_comes_back(&broker, &copy, agents).await;
    verdict::dead_letters_are_there(&broker, &copy).await;
    verdict::duplicates_are_recognised(&broker, &copy, &mut rng).await;
    println!("{}", copy.summary());
}
