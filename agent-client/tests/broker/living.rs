//! The broker of a test is a broker: it delivers, waits, redelivers, restarts, and takes webhooks.

use std::time::Duration;

use agent_client::proto::logistics::v1::ShippingDelayed;
use agent_client::proto::v1::subscription_admin_service_client::SubscriptionAdminServiceClient;
use agent_client::proto::v1::{DeadLetterReason, PauseSubscriptionRequest};
use agent_client::{Client, Router, SettleError, Start, Story, SubscribeError};
use tokio::time::{Instant, timeout};
use waypost_broker::testing::{PostError, StartError, TestBroker, Webhook};

use crate::{Asked, Running, delayed, ignore};

const TEN_MINUTES: Duration = Duration::from_secs(600);

#[tokio::test(start_paused = true)]
async fn a_backoff_of_ten_minutes_takes_no_time() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    client.publish(delayed("fails once")).await.unwrap();

    let asked = Asked::default();
    let subscribe = client.subscribe("routing").start_at(Start::Earliest).backoff(TEN_MINUTES, TEN_MINUTES);
    let agent = Running::start(subscribe.serve(asked.router()));
    let began = Instant::now();
    broker.settled("routing").await.unwrap();
    let jitter = TEN_MINUTES / 5;
    assert!(began.elapsed() >= TEN_MINUTES - jitter && began.elapsed() <= TEN_MINUTES + jitter + Duration::from_secs(2));
    assert_eq!(asked.times(), 2);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn what_fails_for_good_is_a_dead_letter_with_its_reason() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let asked = Asked::default();
    let agent = Running::start(client.subscribe("routing").start_at(Start::Earliest).max_attempts(3).serve(asked.router()));
    for shipment in ["poison", "fine", "fails"] {
        client.publish(delayed(shipment)).await.unwrap();
    }
    broker.settled("routing").await.unwrap();
    let dead = broker.dead_letters("routing").await.unwrap();
    let told: Vec<_> = dead.iter().map(|dead| (&*dead.event_id, dead.reason(), dead.attempts, &*dead.detail)).collect();
    let rejected = ("event-poison", DeadLetterReason::Rejected, 1, "there is no such port");
    let exhausted = ("event-fails", DeadLetterReason::MaxAttempts, 3, "to be tried again: never");
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!((told[1], told[0].0, told[0].1, told[0].2), (rejected, exhausted.0, exhausted.1, exhausted.2), "newest first");
    assert!(told[0].3.contains("never"), "{told:?}");
    assert_eq!(asked.times(), 5);
    assert_eq!(broker.dead_letters("other").await.unwrap(), []);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn p6_a_lease_of_an_agent_that_is_cut_off_goes_to_the_next() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let mut held = client.subscribe("routing").open().await.unwrap();
    client.publish(delayed("a")).await.unwrap();
    let first = held.try_next().await.unwrap().unwrap();
    assert_eq!(first.attempt(), 1);

    broker.set_reachable(false);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!held.state().borrow().is_connected());
    broker.set_reachable(true);
    let second = held.try_next().await.unwrap().unwrap();
    assert!(first.is_revoked().is_some(), "its resume grace is over");
    assert_eq!((second.event().id.as_str(), second.losses()), ("event-a", 1));
    second.ack().await.unwrap();
    timeout(TEN_MINUTES, broker.settled("routing")).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_cut_costs_nothing_that_is_held() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let mut deliveries = client.subscribe("routing").open().await.unwrap();
    client.publish(delayed("a")).await.unwrap();
    let held = deliveries.try_next().await.unwrap().unwrap();
    broker.cut();
    client.publish(delayed("b")).await.unwrap();
    deliveries.try_next().await.unwrap().unwrap().ack().await.unwrap();
    assert_eq!(held.is_revoked(), None, "the session went on with what it held");
    held.ack().await.unwrap();
    broker.settled("routing").await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_was_durable_survives_a_crash_and_a_restart() {
    let mut broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let asked = Asked::default();
    let agent = Running::start(client.subscribe("routing").start_at(Start::Earliest).serve(asked.router()));
    client.publish(delayed("takes 40 s")).await.unwrap();
    while asked.times() == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The handler is in the middle of its work: the session goes on where it was.
    broker.crash().await.unwrap();
    client.publish(delayed("b")).await.unwrap();
    broker.settled("routing").await.unwrap();
    assert_eq!(asked.times(), 2, "nothing was done twice");

    broker.restart().await.unwrap();
    client.publish(delayed("c")).await.unwrap();
    broker.settled("routing").await.unwrap();
    assert_eq!(asked.times(), 3);
    let again = client.publish(delayed("b")).await.unwrap();
    assert!(again.duplicate, "the broker remembers");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_paused_subscription_is_not_settled_until_it_goes_on() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let agent =
        Running::start(client.subscribe("routing").start_at(Start::Earliest).serve(Router::new(()).on::<ShippingDelayed, _>(ignore)));
    client.publish(delayed("a")).await.unwrap();
    broker.settled("routing").await.unwrap();
    let mut admin = SubscriptionAdminServiceClient::new(broker.admin());
    admin.pause_subscription(PauseSubscriptionRequest { name: "routing".into(), ..Default::default() }).await.unwrap();
    client.publish(delayed("b")).await.unwrap();
    assert!(timeout(TEN_MINUTES, broker.settled("routing")).await.is_err());
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_time_to_wait_is_too_long() {
    let broker = TestBroker::start().await.unwrap();
    let client = Client::builder().call_deadline(Duration::MAX).over(broker.channel()).unwrap();
    client.publish(delayed("a")).await.unwrap();
    client.lineage(Story::Correlation("nobody's".into())).await.unwrap_err();
    let subscribe = client.subscribe("routing").settle_deadline(Duration::MAX).start_at(Start::Earliest);
    let mut deliveries = subscribe.open().await.unwrap();
    let delivery = deliveries.try_next().await.unwrap().unwrap();
    assert!(matches!(delivery.nack_after(Duration::MAX, "too long").await, Err(SettleError::Invalid(_))));
    deliveries.try_next().await.unwrap().unwrap().ack().await.unwrap();
    for refused in [client.subscribe("a").heartbeat(Duration::MAX), client.subscribe("b").ack_deadline(Duration::MAX)] {
        assert!(matches!(refused.open().await, Err(SubscribeError::Refused { .. })));
    }
}

const SOURCES: &str = r#"
[sources.carrier]
verify = "none"
identity = { template = "{/id}" }
event_type = ["{/type}"]
types.delay = "logistics.v1.ShippingDelayed"

[sources.github]
scheme = "github"
secrets = ["env:CARGO_PKG_NAME"]
"#;

#[tokio::test(start_paused = true)]
async fn a_webhook_takes_the_way_through_the_edge() {
    let broker = TestBroker::with_config(SOURCES).await.unwrap();
    let client = Client::over(broker.channel()).unwrap();
    let mut delays = client.subscribe("routing").of::<ShippingDelayed>().open().await.unwrap();
    let body = r#"{"id":"7","type":"delay","shipment_id":"SHIP-7","new_eta":"2026-01-02T10:00:00Z"}"#;
    let first = broker.post("carrier", body).await.unwrap();
    assert_eq!((first.status, &*first.outcome), (202, "accepted"), "{first:?}");
    let again = broker.post("carrier", body).await.unwrap();
    assert_eq!((again.status, &*again.outcome, &again.event_id), (202, "duplicate", &first.event_id));

    let delivery = delays.try_next().await.unwrap().unwrap();
    assert_eq!((&*delivery.data().shipment_id, &*delivery.event().source), ("SHIP-7", "carrier"));
    delivery.ack().await.unwrap();

    let push = Webhook::new(include_str!("../../../tests/payloads/github_push.json")).event_type("push").id("72d3162e");
    let signed = broker.post("github", push).await.unwrap();
    assert_eq!((signed.status, &*signed.outcome), (202, "accepted"), "{signed:?}");
}

#[tokio::test(start_paused = true)]
async fn mistakes_are_told() {
    let broker = TestBroker::with_config(SOURCES).await.unwrap();
    let unknown = broker.post("gitlab", "{}").await.unwrap_err();
    assert_eq!(unknown.to_string(), r#"the configuration has no source "gitlab"; it has: carrier, github"#);
    let unsigned = broker.post("github", "{}").await.unwrap_err();
    assert!(matches!(unsigned, PostError::Unsigned { .. }), "{unsigned}");
    let wrong = TestBroker::with_config("[delivery]\nresume_grac = \"2s\"").await.unwrap_err();
    assert!(matches!(wrong, StartError::Config(_)) && wrong.to_string().contains("waypost.toml:2"), "{wrong}");
}
