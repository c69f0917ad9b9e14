//! Agents with a whole broker in the same process: what goes wrong on a bad day, and what comes of it.
//!
//! Constraint: the time is paused, so that hours are over in milliseconds; sources are those of the example, and verify what they get.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::time::Duration;

use agent_client::{Agent, Client, Filter};
use tempfile::TempDir;
use tokio::time::Instant;
use waypost_broker::testing::TestBroker;
use waypost_proto::logistics::v1::{PackageRerouted, StockReserved};
use waypost_proto::v1::{DeadLetterReason, Event};

use super::{inventory, routing};
use crate::broker::SOURCES;
use crate::ledger::{Entry, Fact, Ledger, Ledgers};
use crate::simulator::SECRET;

/// A broker with the sources of the example, and a folder for ledgers.
struct Stage {
    broker: TestBroker,
    client: Client,
    folder: TempDir,
}

impl Stage {
    async fn set() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        fs::write(&secret, SECRET).unwrap();
        let sources = SOURCES.replace("env:LOGISTICS_SECRET", &format!("file:{}", secret.display()));
        let broker = TestBroker::with_config(&sources).await.unwrap();
        let client = Client::over(broker.channel()).unwrap();
        Self { broker, client, folder }
    }

    fn ledger(&self, who: &str) -> Ledger {
        Ledger::open(self.folder.path(), who).unwrap()
    }

    async fn post(&self, source: &str, body: &str) {
        let answer = self.broker.post(source, body.to_owned()).await.unwrap();
        assert_eq!(answer.outcome, "accepted", "{answer:?}");
    }

    /// Runs an agent until its subscription has nothing left to do.
    async fn run(&self, subscription: &str, agent: Agent<Ledger>) {
        agent.run_until(async { self.broker.settled(subscription).await.unwrap() }).await.unwrap();
    }

    async fn events<M: prost::Name>(&self) -> Vec<Event> {
        let mut reader = self.client.read().filter(Filter::new().of::<M>()).open();
        let mut events = Vec::new();
        while let Some(stored) = reader.try_next().await.unwrap() {
            events.extend(stored.event);
        }
        events
    }

    /// What the agents did, and at which attempts they were asked to.
    fn deeds(&self) -> (Vec<String>, Vec<u32>) {
        let (mut deeds, mut attempts) = (Vec::new(), Vec::new());
        for Entry { fact, .. } in Ledgers::of(self.folder.path()).read().unwrap() {
            match fact {
                Fact::Effect { did, .. } => deeds.push(did),
                Fact::Received { attempt, .. } => attempts.push(attempt),
                _ => {}
            }
        }
        (deeds, attempts)
    }
}

const DELAY: &str = r#"{"event_id":"1","event_type":"shipping_delay","shipment_id":"SHIP-7","carrier":"Global Freight","reason":"Storm at Rotterdam",
    "new_eta":"2026-01-02T10:00:00Z","affected_products":["PROD-A"]}"#;

#[tokio::test(start_paused = true)]
async fn a_delay_becomes_another_route_in_the_step_of_its_ack() {
    let stage = Stage::set().await;
    stage.post("carrier", DELAY).await;
    stage.run("routing", routing::agent(&stage.client, stage.ledger("routing"))).await;
    let [rerouted] = stage.events::<PackageRerouted>().await.try_into().unwrap();
    let data: PackageRerouted = rerouted.data_as().unwrap();
    assert_eq!((data.package_id.as_str(), data.new_route), ("SHIP-7", vec!["Antwerp".to_owned(), "Cologne".to_owned()]));
    assert_eq!((rerouted.subject.as_str(), rerouted.lineage.unwrap().hops), ("shipments/SHIP-7", 1));
    assert_eq!(stage.deeds().0, ["sent SHIP-7 over Antwerp, Cologne"]);
}

#[tokio::test(start_paused = true)]
async fn p5_an_agent_that_hangs_loses_its_event_after_an_hour_and_it_is_not_done_twice() {
    let stage = Stage::set().await;
    stage.post("carrier", DELAY).await;
    // It does its work, and never comes to its end.
    let hanging = stage.ledger("routing").hang_at(Some("SHIP-7".to_owned()));
    let began = Instant::now();
    stage.run("routing", routing::agent(&stage.client, hanging)).await;
    assert!(began.elapsed() >= Duration::from_secs(3_600), "its lease was prolonged up to its total: {:?}", began.elapsed());
    let (deeds, attempts) = stage.deeds();
    assert_eq!((deeds.len(), attempts), (1, vec![1, 2]));
    assert_eq!(stage.events::<PackageRerouted>().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p5_an_order_that_no_depot_can_fill_is_set_aside_after_three_attempts_and_holds_nobody_up() {
    let stage = Stage::set().await;
    for (id, sku) in [("1", "PROD-Z"), ("2", "PROD-A")] {
        let items = format!(r#"[{{"sku":"{sku}","quantity":1}}]"#);
        let order =
            format!(r#"{{"event_id":"{id}","event_type":"order_placed","order_id":"ORDER-{id}","customer_id":"C-1","items":{items}}}"#);
        stage.post("shop", &order).await;
    }
    let began = Instant::now();
    stage.run("inventory", inventory::agent(&stage.client, stage.ledger("inventory"))).await;
    let backoffs = Duration::from_millis(250 + 500);
    assert!(began.elapsed() >= backoffs * 4 / 5, "it waits between attempts, give or take a fifth: {:?}", began.elapsed());

    let [dead] = stage.broker.dead_letters("inventory").await.unwrap().try_into().unwrap();
    assert_eq!((dead.reason(), dead.attempts), (DeadLetterReason::MaxAttempts, 3));
    assert_eq!(dead.detail, "no depot holds PROD-Z, which ORDER-1 asks for");
    let [reserved] = stage.events::<StockReserved>().await.try_into().unwrap();
    assert_eq!(reserved.data_as::<StockReserved>().unwrap().order_id, "ORDER-2");
    assert_eq!(stage.deeds().1, [1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_crash_of_the_broker_is_no_matter_for_an_agent() {
    let mut stage = Stage::set().await;
    let agent = routing::agent(&stage.client, stage.ledger("routing"));
    let running = tokio::spawn(agent.run_until(std::future::pending()));
    stage.post("carrier", DELAY).await;
    stage.broker.crash().await.unwrap();
    stage.post("carrier", &DELAY.replace('1', "2")).await;
    stage.broker.settled("routing").await.unwrap();
    assert_eq!(stage.events::<PackageRerouted>().await.len(), 2);
    assert_eq!(stage.deeds().0.len(), 2);
    running.abort();
}
