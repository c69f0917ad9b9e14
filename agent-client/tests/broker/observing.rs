//! Observers: what they are told, how often, and that they decide nothing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_client::proto::logistics::v1::ShippingDelayed;
use agent_client::proto::v1::{Event, RevokedReason};
use agent_client::{Client, Disconnected, Failure, Observed, Observer, Outcome, PublishError, Published, Settlement, Start};
use tokio::time::{Instant, sleep};
use waypost_broker::testing::TestBroker;

use crate::{Asked, Running, delayed};

/// Writes down what it is told.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: String) {
        self.0.lock().unwrap().push(what);
    }

    /// What was told since the last look.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Observer for Told {
    fn connected(&self, subscription: &str, again: bool) {
        self.note(format!("{subscription} connected, again: {again}"));
    }

    fn disconnected(&self, subscription: &str, why: Disconnected<'_>) {
        let why = match why {
            Disconnected::Ended => "ended".to_owned(),
            Disconnected::Broken(_) => "broken".to_owned(),
            Disconnected::Refused(error) => error.to_string(),
            Disconnected::Left => "left".to_owned(),
            _ => "something new".to_owned(),
        };
        self.note(format!("{subscription} disconnected: {why}"));
    }

    fn unreachable(&self, subscription: &str, _: &Failure) {
        self.note(format!("{subscription} unreachable"));
    }

    fn received(&self, Observed { subscription, event, attempt, offset, .. }: Observed<'_>) {
        assert!(offset > 0);
        self.note(format!("{subscription} received {}, attempt {attempt}", event.id));
    }

    fn handled(&self, Observed { subscription, event, .. }: Observed<'_>, outcome: Outcome, took: Duration) {
        // How long it took to learn that a lease is gone depends on the jitter of reconnecting.
        let took = if outcome == Outcome::Cancelled { 0 } else { took.as_secs() };
        self.note(format!("{subscription} handled {} in {took} s: {}", event.id, outcome.as_str()));
    }

    fn settled(&self, settlement: Settlement<'_>, _: Duration) {
        let Settlement { subscription, action, answer, .. } = settlement;
        let answer = answer.map_or_else(|error| error.to_string(), |status| status.as_str_name().to_owned());
        self.note(format!("{subscription} {}: {answer}", action.as_str()));
    }

    fn lease_extended(&self, subscription: &str) {
        self.note(format!("{subscription} extended"));
    }

    fn lease_lost(&self, subscription: &str, reason: RevokedReason) {
        self.note(format!("{subscription} lost: {}", reason.as_str_name()));
    }

    fn published(&self, event: &Event, result: Result<&Published, &PublishError>, _: Duration) {
        let result = match result {
            Ok(published) if published.duplicate => "again".to_owned(),
            Ok(_) => "done".to_owned(),
            Err(error) => error.to_string(),
        };
        self.note(format!("published {}: {result}", event.id));
    }
}

async fn watched() -> (TestBroker, Client, Told) {
    let (broker, told) = (TestBroker::start().await.unwrap(), Told::default());
    let client = Client::builder().observer(told.clone()).over(broker.channel()).unwrap();
    (broker, client, told)
}

#[tokio::test(start_paused = true)]
async fn each_thing_is_told_once_through_a_redelivery_and_a_reconnect() {
    let (broker, client, told) = watched().await;
    client.publish(delayed("fails once")).await.unwrap();
    client.publish(delayed("fails once")).await.unwrap();
    let agent = Running::start(client.subscribe("routing").start_at(Start::Earliest).serve(Asked::default().router()));
    broker.settled("routing").await.unwrap();
    let first = [
        "published event-fails once: done",
        "published event-fails once: again",
        "routing connected, again: false",
        "routing received event-fails once, attempt 1",
        "routing handled event-fails once in 0 s: nacked",
        "routing nack: SETTLEMENT_STATUS_DONE",
        "routing received event-fails once, attempt 2",
        "routing handled event-fails once in 0 s: done",
        "routing ack: SETTLEMENT_STATUS_DONE",
    ];
    assert_eq!(told.take(), first);

    broker.set_reachable(false);
    sleep(Duration::from_millis(20)).await;
    broker.set_reachable(true);
    client.publish(delayed("poison")).await.unwrap();
    broker.settled("routing").await.unwrap();
    agent.stop().await;
    let second = [
        "routing disconnected: broken",
        "routing unreachable",
        "routing connected, again: true",
        "published event-poison: done",
        "routing received event-poison, attempt 1",
        "routing handled event-poison in 0 s: rejected",
        "routing reject: SETTLEMENT_STATUS_DONE",
        "routing disconnected: left",
    ];
    let mut second_told = told.take();
    // Whether the publisher or the subscription is the first on the new connection is not promised.
    second_told.sort();
    let mut second = second.map(str::to_owned);
    second.sort();
    assert_eq!(second_told, second);
}

#[tokio::test(start_paused = true)]
async fn extensions_losses_and_cancelled_handlers_are_told() {
    let (broker, client, told) = watched().await;
    client.publish(delayed("takes 40 s")).await.unwrap();
    let agent = Running::start(client.subscribe("routing").start_at(Start::Earliest).serve(Asked::default().router()));
    broker.settled("routing").await.unwrap();
    let first = [
        "published event-takes 40 s: done",
        "routing connected, again: false",
        "routing received event-takes 40 s, attempt 1",
        "routing extended",
        "routing extended",
        "routing handled event-takes 40 s in 40 s: done",
        "routing ack: SETTLEMENT_STATUS_DONE",
    ];
    assert_eq!(told.take(), first);

    let again = Event { id: "second".into(), ..delayed("takes 40 s") };
    client.publish(again).await.unwrap();
    let began = Instant::now();
    while !told.0.lock().unwrap().iter().any(|line| line.starts_with("routing received second")) {
        sleep(Duration::from_millis(1)).await;
    }
    broker.set_reachable(false);
    sleep(Duration::from_secs(5)).await;
    broker.set_reachable(true);
    broker.settled("routing").await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(45), "it began again");
    agent.stop().await;
    let mut seen = told.take();
    let refused = |line: &String| line == "routing unreachable";
    assert!(seen.iter().filter(|line| refused(line)).count() > 3, "{seen:?}");
    seen.retain(|line| !refused(line));
    seen.sort();
    let mut second = [
        "published second: done",
        "routing received second, attempt 1",
        "routing disconnected: broken",
        "routing lost: REVOKED_REASON_SESSION_LOST",
        "routing connected, again: true",
        "routing handled second in 0 s: cancelled",
        "routing received second, attempt 2",
        "routing extended",
        "routing extended",
        "routing handled second in 40 s: done",
        "routing ack: SETTLEMENT_STATUS_DONE",
        "routing disconnected: left",
    ];
    second.sort_unstable();
    assert_eq!(seen, second);
}

#[tokio::test(start_paused = true)]
async fn what_a_hand_settles_and_what_is_dropped_is_told_as_well() {
    let (broker, client, told) = watched().await;
    let mut deliveries = client.subscribe("routing").of::<ShippingDelayed>().open().await.unwrap();
    let publisher = client.publisher();
    for shipment in ["a", "b", "c"] {
        publisher.publish(delayed(shipment)).await.unwrap();
    }
    let too_large = Event { subject: "x".repeat(2 << 20), ..delayed("d") };
    publisher.publish(too_large).await.unwrap_err();
    deliveries.try_next().await.unwrap().unwrap().ack().await.unwrap();
    drop(deliveries.try_next().await.unwrap().unwrap());
    let held = deliveries.try_next().await.unwrap().unwrap();
    drop(deliveries);
    sleep(Duration::from_secs(1)).await;
    held.reject("as the test has it").await.unwrap();
    sleep(Duration::from_secs(1)).await;
    let count = |start: &str| told.0.lock().unwrap().iter().filter(|line| line.starts_with(start)).count();
    for (what, times) in [
        ("published event-a: done", 1),
        ("published event-d: the event was refused", 1),
        ("published", 4),
        ("routing ack: SETTLEMENT_STATUS_DONE", 1),
        ("routing nack: SETTLEMENT_STATUS_DONE", 1),
        ("routing reject: SETTLEMENT_STATUS_DONE", 1),
        ("routing handled", 0),
        ("routing connected, again: false", 1),
        ("routing connected, again: true", 1),
        ("routing disconnected: left", 2),
    ] {
        assert_eq!(count(what), times, "{what}: {:?}", told.0.lock().unwrap());
    }
    drop(broker);
}

/// Panics, whatever it is told.
struct Panicking;

#[allow(clippy::panic, reason = "that is what it is for")]
impl Observer for Panicking {
    fn connected(&self, _: &str, _: bool) {
        panic!("connected")
    }

    fn disconnected(&self, _: &str, _: Disconnected<'_>) {
        panic!("disconnected")
    }

    fn received(&self, _: Observed<'_>) {
        panic!("received")
    }

    fn handled(&self, _: Observed<'_>, _: Outcome, _: Duration) {
        panic!("handled")
    }

    fn settled(&self, _: Settlement<'_>, _: Duration) {
        panic!("settled")
    }

    fn published(&self, _: &Event, _: Result<&Published, &PublishError>, _: Duration) {
        panic!("published")
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_that_panics_decides_nothing() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::builder().observer(Panicking).over(broker.channel()).unwrap();
    client.publish(delayed("fails once")).await.unwrap();
    client.publisher().publish(delayed("b")).await.unwrap();
    let asked = Asked::default();
    let agent = Running::start(client.subscribe("routing").start_at(Start::Earliest).serve(asked.router()));
    broker.settled("routing").await.unwrap();
    broker.cut();
    client.publish(delayed("c")).await.unwrap();
    broker.settled("routing").await.unwrap();
    agent.stop().await;
    assert_eq!(asked.times(), 4);
    assert_eq!(broker.dead_letters("routing").await.unwrap(), []);
}
