//! Sessions: reconnecting, resuming, ending, leaving.

use std::time::Duration;

use agent_client::proto::v1::subscribe_response::Response as Kind;
use agent_client::proto::v1::{
    Deliveries, Delivery, DroppedLease, ErrorReason, Event, Gap, Heartbeat, Opened, Revoked, RevokedReason, SettlementStatus,
};
use agent_client::proto::{logistics::v1::ShippingDelayed, tasks::v1::TaskFailed};
use agent_client::{Client, Filter, SubscribeError, Subscription, SubscriptionState};
use tokio::time::{Instant, advance, sleep, timeout};
use tonic::{Code, Status};

use crate::fake::{Fake, Stream, now, status};

pub(crate) async fn subscribed(fake: &mut Fake, client: &Client) -> (Subscription, Stream) {
    let subscription = client.subscribe("routing").start();
    (subscription, fake.open().await)
}

#[tokio::test(start_paused = true)]
async fn a_delivery_is_continued_before_its_event_is() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    let attributes = [("traceparent".to_owned(), "the event's".to_owned()), ("tracestate".to_owned(), "a=1".to_owned())];
    let traced = Event { attributes: attributes.into(), ..Event::default() };
    let delivery = |own: &str, event| Delivery { token: own.to_owned().into(), traceparent: own.into(), event, ..Delivery::default() };
    let deliveries = vec![delivery("the delivery's", Some(traced.clone())), delivery("", Some(traced)), delivery("", None)];
    stream.send(Kind::Deliveries(Deliveries { deliveries }));
    for parent in [Some("the delivery's"), Some("the event's"), None] {
        let delivery = subscription.try_next().await.unwrap().unwrap();
        assert_eq!((delivery.traceparent(), delivery.tracestate()), (parent, parent.map(|_| "a=1")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_agent_waits_for_its_broker_for_ever_and_with_jitter() {
    let (mut fake, client) = Fake::start();
    fake.set_down(true);
    let subscription = client.subscribe("routing").start();
    sleep(Duration::from_secs(3_600)).await;
    assert!(matches!(&*subscription.state().borrow(), SubscriptionState::Connecting { failures: 100.., last: Some(_) }));

    let dials = fake.dials();
    let waits: Vec<_> = dials.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let (first, late) = waits.split_at(10);
    assert!(first[0] <= Duration::from_millis(1), "the second try comes at once: {first:?}");
    for (wait, base) in first[1..].iter().zip([100, 200, 400, 800, 1_600, 3_200, 6_400]) {
        let base = Duration::from_millis(base);
        assert!((base / 2..=base + Duration::from_millis(2)).contains(wait), "{wait:?} for {base:?}");
    }
    assert!(late.iter().all(|wait| (Duration::from_secs(5)..=Duration::from_millis(10_100)).contains(wait)), "{late:?}");
    assert!(late.windows(2).any(|pair| pair[0] != pair[1]), "no two agents come in step");

    fake.set_down(false);
    let _stream = fake.open().await;
    subscription.state().wait_for(SubscriptionState::is_connected).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_broken_stream_is_resumed_at_once_with_the_session_and_the_held_tokens() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b", "c", "d"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let b = subscription.try_next().await.unwrap().unwrap();
    let (acked, ()) = tokio::join!(a.ack(), async { fake.settle().await.done() });
    acked.unwrap();
    // This one's settlement has no answer yet: it is held as well.
    let b = tokio::spawn(b.ack());
    let unanswered = fake.settle().await;

    let cut = Instant::now();
    fake.cut();
    let again = fake.open().await;
    assert!(cut.elapsed() < Duration::from_millis(10), "within the resume grace");
    assert_eq!(again.request.session_id, stream.request.session_id);
    assert!(!again.request.session_id.is_empty());
    assert_eq!(again.held(), ["b", "c", "d"]);
    drop(unanswered);
    assert_eq!(fake.settle().await.asked(), ["b ack"]);
    b.abort();
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_did_not_survive_is_revoked_and_no_longer_held() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let b = subscription.try_next().await.unwrap().unwrap();
    fake.cut();
    let dropped = vec![DroppedLease { token: "a".into(), reason: RevokedReason::SessionLost.into() }];
    let stream = fake.subscribe().await.open(Opened { dropped, ..Opened::default() });
    assert_eq!(a.revoked().await, RevokedReason::SessionLost);
    assert_eq!(b.is_revoked(), None);
    stream.fail(Status::unavailable("again"));
    assert_eq!(fake.open().await.held(), ["b"]);
}

#[tokio::test(start_paused = true)]
async fn a_revoked_handler_is_told_and_its_late_ack_still_counts() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let b = subscription.try_next().await.unwrap().unwrap();
    for token in ["a", "b"] {
        stream.send(Kind::Revoked(Revoked { token: token.into(), reason: RevokedReason::Expired.into() }));
    }
    assert_eq!(a.revoked().await, RevokedReason::Expired);
    let (acked, asked) = tokio::join!(a.ack(), async {
        let call = fake.settle().await;
        let asked = call.asked();
        call.done();
        asked
    });
    assert_eq!((acked.unwrap(), asked), (agent_client::Settled::Done, vec!["a ack".to_owned()]));
    // A lease that is gone cannot be given back, so nothing is sent for it.
    b.revoked().await;
    drop(b);
    sleep(Duration::from_secs(60)).await;
    assert!(!fake.settle_came());
}

#[tokio::test(start_paused = true)]
async fn a_replaced_session_does_not_come_back() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    stream.fail(status(Code::Aborted, ErrorReason::SessionReplaced));
    assert_eq!(subscription.try_next().await.unwrap_err(), SubscribeError::Replaced);
    assert!(subscription.try_next().await.unwrap().is_none());
    assert_eq!(a.revoked().await, RevokedReason::SessionLost);
    sleep(Duration::from_secs(3_600)).await;
    assert!(!fake.subscribe_came());
    assert_eq!(*subscription.state().borrow(), SubscriptionState::Closed(Some(SubscribeError::Replaced)));
}

#[tokio::test(start_paused = true)]
async fn other_rules_end_the_subscription_with_the_differences() {
    let (mut fake, client) = Fake::start();
    let opening = tokio::spawn(client.subscribe("routing").ack_deadline(Duration::from_secs(7)).open());
    let call = fake.subscribe().await;
    let spec = call.request.spec.clone().unwrap();
    assert_eq!(spec.ack_deadline.unwrap().seconds, 7);
    assert_eq!((spec.filter, spec.max_lease_total, spec.start_position), (None, None, None), "what is not set is not sent");
    call.fail(status(Code::FailedPrecondition, ErrorReason::SpecMismatch));
    assert!(matches!(opening.await.unwrap(), Err(SubscribeError::SpecMismatch { subscription, .. }) if subscription == "routing"));
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_accepts_and_drops_everyone_is_not_stormed() {
    let (mut fake, client) = Fake::start();
    let _subscription = client.subscribe("routing").start();
    let began = Instant::now();
    for _ in 0..20 {
        fake.open().await.fail(Status::unavailable("too busy"));
    }
    assert!(began.elapsed() > Duration::from_secs(30), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_silent_broker_is_left_after_three_heartbeats() {
    let (mut fake, client) = Fake::start();
    let _subscription = client.subscribe("routing").heartbeat(Duration::from_secs(2)).start();
    let stream = fake.open().await;
    for _ in 0..5 {
        advance(Duration::from_secs(4)).await;
        stream.send(Kind::Heartbeat(Heartbeat { server_time: Some(now()), ..Heartbeat::default() }));
        sleep(Duration::from_millis(1)).await;
    }
    assert!(!fake.subscribe_came());
    let silent = Instant::now();
    let _again = fake.open().await;
    let waited = silent.elapsed().as_secs_f64();
    assert!((5.9..6.2).contains(&waited), "{waited}");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_of_the_type_is_rejected_and_never_handed_out() {
    let (mut fake, client) = Fake::start();
    let mut subscription = client.subscribe("routing").of::<ShippingDelayed>().filter(Filter::new().source("carrier")).start();
    let stream = fake.open().await;
    let filter = stream.request.spec.clone().unwrap().filter.unwrap();
    assert_eq!((filter.types, filter.sources), (vec!["logistics.v1.ShippingDelayed".to_owned()], vec!["carrier".to_owned()]));
    let delayed = ShippingDelayed { shipment_id: "SHIP-1".into(), ..Default::default() };
    stream.deliver_events([("bad", Event::of("s", &TaskFailed::default())), ("good", Event::of("s", &delayed))]);
    let good = subscription.try_next().await.unwrap().unwrap();
    assert_eq!(good.data().shipment_id, "SHIP-1");
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["bad reject"]);
    call.done();
    let (acked, ()) = tokio::join!(good.ack(), async { fake.settle().await.done() });
    acked.unwrap();
}

#[tokio::test(start_paused = true)]
async fn draining_releases_what_is_queued_and_waits_for_the_rest() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b", "c"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let state = subscription.state();
    let drained = tokio::spawn(subscription.drain());
    let call = fake.settle().await;
    let mut asked = call.asked();
    if asked.len() == 1 {
        call.done();
        let more = fake.settle().await;
        asked.extend(more.asked());
        more.done();
    } else {
        call.done();
    }
    assert_eq!(asked, ["b release", "c release"]);

    // The stream is opened anew without room, so that what was released does not come straight back.
    let again = fake.open().await;
    stream.closed().await;
    assert!(again.held().contains(&"a".to_owned()));
    assert!(again.request.session_limits.unwrap().max_outstanding.unwrap() <= 3);
    assert_eq!(*state.borrow(), SubscriptionState::Leaving);

    // Room that comes free may be filled once more; that is given back at the end, when the stream is closed.
    again.deliver(&["late"]);
    sleep(Duration::from_secs(1)).await;
    assert!(!drained.is_finished() && !fake.settle_came());
    let acking = tokio::spawn(a.ack());
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a ack"]);
    assert!(!again.is_closed());
    call.done();
    acking.await.unwrap().unwrap();
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["late release"]);
    timeout(Duration::from_secs(1), again.closed()).await.expect("the stream ends first, or it would come straight back");
    call.done();
    drained.await.unwrap();
    assert!(state.borrow().is_closed());
    assert!(!fake.subscribe_came());
}

#[tokio::test(start_paused = true)]
async fn draining_ends_even_if_the_broker_is_gone() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    fake.set_down(true);
    fake.cut();
    drop(a);
    let began = Instant::now();
    subscription.drain().await;
    assert!(began.elapsed() < Duration::from_secs(60), "a release is pointless once the lease has ended: {:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_gap_is_told() {
    let (mut fake, client) = Fake::start();
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let _subscription = client.subscribe("routing").on_gap(move |gap| tell.send(gap).unwrap()).start();
    let gap = Gap { from_offset: 3, to_offset: 9, reason: 1 };
    fake.open().await.send(Kind::Gap(gap));
    assert_eq!(told.recv().await.unwrap(), gap);
}

#[tokio::test(start_paused = true)]
async fn a_draining_broker_is_left_and_found_again() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    stream.send(Kind::Draining(Default::default()));
    subscription.state().wait_for(|state| *state == SubscriptionState::Draining).await.unwrap();
    // Settling goes on meanwhile.
    let (acked, ()) = tokio::join!(a.ack(), async { fake.settle().await.all(SettlementStatus::Done) });
    acked.unwrap();
    stream.fail(status(Code::Unavailable, ErrorReason::Draining));
    let again = fake.open().await;
    assert!(again.held().is_empty());
    again.deliver(&["b"]);
    drop(subscription.try_next().await.unwrap().unwrap());
}
