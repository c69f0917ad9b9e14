//! Prolonging leases.

use std::time::Duration;

use agent_client::proto::v1::subscribe_response::Response as Kind;
use agent_client::proto::v1::{Revoked, RevokedReason, SettleResult, SettlementStatus};
use tokio::time::{Instant, sleep};

use crate::fake::{Fake, in_seconds};
use crate::sessions::subscribed;

#[tokio::test(start_paused = true)]
async fn all_that_is_held_is_prolonged_at_half_time_also_what_is_queued() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    let began = Instant::now();
    stream.deliver(&["a", "b", "c"]);
    let _handled = subscription.try_next().await.unwrap().unwrap();
    for round in 1..=10 {
        let call = fake.settle().await;
        let mut asked = call.asked();
        asked.sort();
        assert_eq!(asked, ["a extend", "b extend", "c extend"], "in one call");
        let at = began.elapsed().as_secs_f64();
        assert!((at - f64::from(round) * 15.0).abs() < 0.5, "round {round} at {at}");
        call.done();
    }
}

#[tokio::test(start_paused = true)]
async fn a_revoked_lease_is_prolonged_no_more() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    stream.send(Kind::Revoked(Revoked { token: "a".into(), reason: RevokedReason::Sought.into() }));
    a.revoked().await;
    assert_eq!(fake.settle().await.asked(), ["b extend"]);
}

#[tokio::test(start_paused = true)]
async fn a_stale_extension_tells_the_handler() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    fake.settle().await.all(SettlementStatus::Stale);
    assert_eq!(a.revoked().await, RevokedReason::Expired);
    sleep(Duration::from_secs(120)).await;
    assert!(!fake.settle_came());
}

#[tokio::test(start_paused = true)]
async fn at_the_total_of_the_lease_asking_stops() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let _a = subscription.try_next().await.unwrap().unwrap();
    // The lease ends in 20 s whatever is asked.
    let end = in_seconds(35);
    for _ in 0..2 {
        let result = SettleResult { status: SettlementStatus::Done.into(), lease_expires_at: Some(end), ..Default::default() };
        fake.settle().await.one(result);
    }
    sleep(Duration::from_secs(600)).await;
    assert!(!fake.settle_came(), "what cannot be prolonged is not asked for again and again");
}

#[tokio::test(start_paused = true)]
async fn a_failed_extension_is_repeated_while_there_is_time() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let began = Instant::now();
    fake.settle().await.fail(tonic::Status::unavailable("busy"));
    fake.settle().await.all(SettlementStatus::Unavailable);
    let call = fake.settle().await;
    assert!(began.elapsed() < Duration::from_secs(30), "before the lease ends: {:?}", began.elapsed());
    call.done();
    fake.settle().await.done();
    assert_eq!(a.is_revoked(), None);
}

#[tokio::test(start_paused = true)]
async fn an_extension_does_not_wait_for_a_slow_settlement() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let b = subscription.try_next().await.unwrap().unwrap();
    sleep(Duration::from_secs(14)).await;
    let acking = tokio::spawn(a.ack());
    let slow = fake.settle().await;
    assert_eq!(slow.asked(), ["a ack"]);
    // What waits for its answer is still held: both are prolonged.
    let mut asked = fake.settle().await.asked();
    asked.sort();
    assert_eq!(asked, ["a extend", "b extend"]);
    slow.done();
    acking.await.unwrap().unwrap();
    drop(b);
}
