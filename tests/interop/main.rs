//! Agents in other languages, with clients generated from `proto/`, against the broker as a process.
//!
//! Constraints: the agent is the one of `examples/`, only its handler is the test's; what cannot be prepared is a failure, never a skip;
//! every wait is for something that the agent or the broker says.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

mod agent;
mod broker;

use std::collections::BTreeMap;
use std::time::Duration;

use agent_client::Client;
use tokio::time::timeout;
use waypost_proto::logistics::v1::ShippingDelayed;
use waypost_proto::v1::Event;

use agent::{Agent, Language, Said};
use broker::Broker;

const SOURCE: &str = "tests/interop";

fn event(id: &str) -> Event {
    let new_eta = Some("2026-04-10T17:00:00Z".parse().unwrap());
    let delayed = ShippingDelayed { shipment_id: id.to_owned(), new_eta, ..Default::default() };
    Event { id: id.to_owned(), ..Event::of(SOURCE, &delayed) }
}

async fn publish(client: &Client, ids: &[String]) {
    for result in client.publish_batch(ids.iter().map(|id| event(id))).await {
        result.unwrap();
    }
}

fn ids(kind: &str, count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{kind}-{n}")).collect()
}

/// What the broker answered to each settlement of an event, in order: `(attempt, action, status)`.
type History = BTreeMap<String, Vec<(u32, String, String)>>;

#[tokio::test(flavor = "multi_thread")]
async fn a_python_agent_settles_everything_once_over_a_crash_of_the_broker() {
    settles_everything_once_over_a_crash_of_the_broker(Language::Python).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_typescript_agent_settles_everything_once_over_a_crash_of_the_broker() {
    settles_everything_once_over_a_crash_of_the_broker(Language::TypeScript).await;
}

async fn settles_everything_once_over_a_crash_of_the_broker(language: Language) {
    let mut broker = Broker::start().await;
    let client = Client::builder().call_deadline(Duration::from_secs(120)).connect(broker.agents()).unwrap();
    let mut agent = Agent::start(language, &broker.agents()).await;
    assert_eq!(agent.until_opened().await, 0);

    // The slow one is held until the test says go; the stubborn one fails three times, a second apart. So the slow one outlives its ack
    // deadline of one second several times, and only because the agent prolongs it.
    let first = [ids("ok", 50), ids("fail", 5), ids("reject", 3), ids("slow", 1), ids("stubborn", 1)].concat();
    publish(&client, &first).await;
    agent.until_settled(first.len() - 1).await;

    // Everything but the slow one is confirmed. The broker dies, and comes back; the agent goes on with what it holds.
    broker.kill().await;
    let second = [ids("after", 20), ids("slow-again", 1)].concat();
    let publishing = tokio::spawn({
        let (client, second) = (client.clone(), second.clone());
        async move { publish(&client, &second).await }
    });
    broker.restart().await;
    assert_eq!(agent.until_opened().await, 1, "the lease of the slow one is adopted");
    publishing.await.unwrap();
    agent.go("slow-0").await;
    agent.until_settled(first.len() + second.len() - 1).await;

    // On SIGTERM the agent finishes what it has begun.
    agent.terminate();
    agent.go("slow-again-0").await;
    let said = agent.until_ended().await;

    let of_slow: Vec<_> = said.iter().filter(|said| said.id().starts_with("slow-") || *said == &Said::Revoked).collect();
    assert_eq!(of_slow.iter().filter(|said| matches!(said, Said::Began { .. })).count(), 2, "neither is begun twice: {of_slow:#?}");
    assert!(!of_slow.contains(&&Said::Revoked), "no lease is lost: {of_slow:#?}");
    let mut history = History::new();
    for settled in said {
        if let Said::Settled { id, attempt, action, status } = settled {
            history.entry(id).or_default().push((attempt, action, status));
        }
    }
    assert_eq!(history.len(), first.len() + second.len());
    for (id, settlements) in &history {
        let kind = id.split('-').next().unwrap();
        let actions: &[&str] = match kind {
            "fail" => &["nack", "ack"],
            "stubborn" => &["nack", "nack", "nack", "ack"],
            "reject" => &["reject"],
            _ => &["ack"],
        };
        let expected: Vec<_> = (1..).zip(actions).map(|(attempt, action)| (attempt, (*action).to_owned(), "DONE".to_owned())).collect();
        assert_eq!(*settlements, expected, "{id}");
    }

    nothing_is_left(&client).await;
    broker.kill().await;
}

/// Whoever takes the subscription over gets what is new, and nothing of what was settled.
async fn nothing_is_left(client: &Client) {
    let mut successor = client.subscribe("interop").must_exist().open().await.unwrap();
    client.publish(event("new")).await.unwrap();
    let next = timeout(Duration::from_secs(60), successor.try_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(next.event().id, "new");
    next.ack().await.unwrap();
    successor.drain().await;
}
