//! What the documentation says of futures that are dropped.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use agent_client::proto::logistics::v1::PackageRerouted;
use agent_client::proto::v1::Event;
use agent_client::{Client, Filter, Start, Subscription, SubscriptionState};
use tokio::time::{Instant, sleep, timeout};
use waypost_broker::testing::TestBroker;

use crate::delayed;

/// Polls it once, as a `select!` whose other branch is ready does, and drops it.
fn poll_and_drop<F: Future>(future: F) {
    let mut future = pin!(future);
    assert!(future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
}

async fn subscribed() -> (TestBroker, Client, Subscription) {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let deliveries = client.subscribe("routing").filter(Filter::new().event_type("logistics.v1.ShippingDelayed")).open().await.unwrap();
    (broker, client, deliveries)
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_was_polled_takes_place() {
    let (broker, client, mut deliveries) = subscribed().await;
    client.publish(delayed("a")).await.unwrap();
    poll_and_drop(deliveries.try_next().await.unwrap().unwrap().ack());
    timeout(Duration::from_secs(10), broker.settled("routing")).await.unwrap().unwrap();
    assert!(timeout(Duration::from_secs(3_600), deliveries.try_next()).await.is_err(), "it does not come again");
}

#[tokio::test(start_paused = true)]
async fn p9_an_ack_with_outputs_that_was_polled_publishes_them() {
    let (broker, client, mut deliveries) = subscribed().await;
    client.publish(delayed("a")).await.unwrap();
    let output =
        Event::of("agents/planner", &PackageRerouted { package_id: "a".into(), new_route: vec!["Antwerp".into()], ..Default::default() });
    poll_and_drop(deliveries.try_next().await.unwrap().unwrap().ack_with([output]));
    broker.settled("routing").await.unwrap();
    let mut outputs = client.read().filter(Filter::new().of::<PackageRerouted>()).open();
    assert!(outputs.try_next().await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn p9_a_refused_output_that_nobody_awaits_settles_nothing() {
    let (broker, client, mut deliveries) = subscribed().await;
    client.publish(delayed("a")).await.unwrap();
    let incomplete = Event::of("agents/planner", &PackageRerouted::default());
    let began = Instant::now();
    poll_and_drop(deliveries.try_next().await.unwrap().unwrap().ack_with([incomplete]));
    let again = deliveries.try_next().await.unwrap().unwrap();
    assert!(began.elapsed() >= Duration::from_secs(30), "its lease has run out");
    assert_eq!(again.attempt(), 2);
    again.ack().await.unwrap();
    broker.settled("routing").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_settlement_that_was_never_polled_drops_the_delivery() {
    let (broker, client, mut deliveries) = subscribed().await;
    client.publish(delayed("a")).await.unwrap();
    drop(deliveries.try_next().await.unwrap().unwrap().ack());
    let again = deliveries.try_next().await.unwrap().unwrap();
    assert_eq!(again.attempt(), 2, "dropped is failed");
    again.reject("as the test has it").await.unwrap();
    assert_eq!(broker.dead_letters("routing").await.unwrap().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn no_delivery_is_lost_with_a_dropped_next() {
    let (_broker, client, mut deliveries) = subscribed().await;
    for round in 0..50 {
        poll_and_drop(deliveries.try_next());
        client.publish(delayed(&round.to_string())).await.unwrap();
        sleep(Duration::from_millis(round % 3)).await;
        let delivery = deliveries.try_next().await.unwrap().unwrap();
        assert_eq!((delivery.event().id.clone(), delivery.attempt()), (format!("event-{round}"), 1));
        delivery.ack().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn no_event_is_lost_with_a_dropped_read() {
    let (_broker, client, _deliveries) = subscribed().await;
    let mut reader = client.read().start_at(Start::Earliest).follow().open();
    for round in 0..50 {
        poll_and_drop(reader.try_next());
        client.publish(delayed(&round.to_string())).await.unwrap();
        sleep(Duration::from_millis(round % 3)).await;
        let stored = reader.try_next().await.unwrap().unwrap();
        assert_eq!(stored.event.unwrap().id, format!("event-{round}"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_dropped_open_leaves_the_subscription() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    broker.set_reachable(false);
    assert!(timeout(Duration::from_secs(5), client.subscribe("routing").open()).await.is_err());
    broker.set_reachable(true);
    sleep(Duration::from_secs(60)).await;
    // Nobody has asked for it since.
    client.subscribe("routing").must_exist().open().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn a_drain_that_is_dropped_goes_on() {
    let (broker, client, mut deliveries) = subscribed().await;
    for shipment in ["held", "queued"] {
        client.publish(delayed(shipment)).await.unwrap();
    }
    let held = deliveries.try_next().await.unwrap().unwrap();
    sleep(Duration::from_secs(1)).await;
    let mut state = deliveries.state();
    assert!(timeout(Duration::from_secs(90), deliveries.drain()).await.is_err(), "it waits for what is held");
    assert_eq!(*state.borrow(), SubscriptionState::Leaving);
    assert_eq!(held.is_revoked(), None, "and what is held is prolonged");
    held.ack().await.unwrap();
    state.wait_for(SubscriptionState::is_closed).await.unwrap();

    let mut next = client.subscribe("routing").open().await.unwrap();
    let released = next.try_next().await.unwrap().unwrap();
    assert_eq!((released.event().id.as_str(), released.attempt()), ("event-queued", 1), "uncounted");
    released.ack().await.unwrap();
    broker.settled("routing").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_submit_that_has_no_room_sends_nothing_when_it_is_dropped() {
    let (broker, client, _deliveries) = subscribed().await;
    broker.set_reachable(false);
    let publisher = client.publisher_builder().max_in_flight(1).start();
    let first = publisher.submit(delayed("first")).await.unwrap();
    assert!(timeout(Duration::from_secs(5), publisher.submit(delayed("second"))).await.is_err());
    let waiting = Instant::now();
    broker.set_reachable(true);
    first.await.unwrap();
    assert!(waiting.elapsed() < Duration::from_secs(11));
    publisher.publish(delayed("third")).await.unwrap();
    let mut stored = client.read().open();
    let mut ids = Vec::new();
    while let Some(event) = stored.try_next().await.unwrap() {
        ids.push(event.event.unwrap().id);
    }
    assert_eq!(ids, ["event-first", "event-third"]);
}

#[tokio::test(start_paused = true)]
async fn a_receipt_that_is_dropped_calls_nothing_back() {
    let (broker, client, mut deliveries) = subscribed().await;
    let publisher = client.publisher();
    drop(publisher.submit(delayed("a")).await.unwrap());
    drop(publisher);
    deliveries.try_next().await.unwrap().unwrap().ack().await.unwrap();
    broker.settled("routing").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn revoked_resolves_also_for_who_asks_again() {
    let (broker, client, mut deliveries) = subscribed().await;
    client.publish(delayed("a")).await.unwrap();
    let held = deliveries.try_next().await.unwrap().unwrap();
    poll_and_drop(held.revoked());
    broker.set_reachable(false);
    sleep(Duration::from_secs(10)).await;
    broker.set_reachable(true);
    let reason = timeout(Duration::from_secs(60), held.revoked()).await.unwrap();
    assert_eq!(held.is_revoked(), Some(reason));
    assert!(poll_now(held.revoked()).is_ready(), "it is said once and for all");
}

fn poll_now<F: Future>(future: F) -> Poll<F::Output> {
    pin!(future).as_mut().poll(&mut Context::from_waker(Waker::noop()))
}
