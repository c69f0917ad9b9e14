//! Settling: confirmed, coalesced, re-sent, and never twice.

use std::time::Duration;

use agent_client::proto::v1::settlement::Action;
use agent_client::proto::v1::{ErrorReason, Event, Refusal, SettleResponse, SettleResult, SettlementStatus};
use agent_client::{AckWithError, SettleError, Settled};
use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::Status;

use crate::fake::Fake;
use crate::sessions::subscribed;

#[tokio::test(start_paused = true)]
async fn an_ack_resolves_when_the_broker_has_recorded_it_and_not_before() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let acking = tokio::spawn(a.ack());
    let call = fake.settle().await;
    sleep(Duration::from_secs(5)).await;
    assert!(!acking.is_finished());
    call.done();
    assert_eq!(acking.await.unwrap().unwrap(), Settled::Done);
}

#[tokio::test(start_paused = true)]
async fn one_call_is_in_flight_and_takes_along_what_queued_meanwhile() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    let tokens: Vec<_> = (0..1_500).map(|i| format!("{i:04}")).collect();
    stream.deliver(&tokens.iter().map(String::as_str).collect::<Vec<_>>());
    let first = subscription.try_next().await.unwrap().unwrap();
    let began = Instant::now();
    let first = tokio::spawn(first.ack());
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["0000 ack"]);
    assert!(began.elapsed() < Duration::from_millis(2), "an idle client waits for nothing");

    let mut acking = tokio::task::JoinSet::new();
    for _ in 1..1_500 {
        acking.spawn(subscription.try_next().await.unwrap().unwrap().ack());
    }
    sleep(Duration::from_secs(1)).await;
    assert!(!fake.settle_came(), "while one is in flight there is no other");
    call.done();
    first.await.unwrap().unwrap();
    for expected in [1_000, 499] {
        let call = fake.settle().await;
        assert_eq!(call.asked().len(), expected);
        call.done();
    }
    while let Some(acked) = acking.join_next().await {
        assert_eq!(acked.unwrap().unwrap(), Settled::Done);
    }
}

#[tokio::test(start_paused = true)]
async fn settlements_without_an_answer_are_sent_again_until_there_is_one() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b"]);
    let a = tokio::spawn(subscription.try_next().await.unwrap().unwrap().ack());
    let call = fake.settle().await;
    let b = tokio::spawn(subscription.try_next().await.unwrap().unwrap().reject("no use"));
    sleep(Duration::from_millis(1)).await;
    // It was recorded, but the answer is lost with the connection.
    fake.cut();
    drop(call);
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a ack", "b reject"], "in their order");
    call.fail(Status::unavailable("still starting"));
    let call = fake.settle().await;
    let status = |status: SettlementStatus| SettleResult { status: status.into(), ..Default::default() };
    call.answer(SettleResponse { results: vec![status(SettlementStatus::AlreadySettled), status(SettlementStatus::Unavailable)] });
    assert_eq!(a.await.unwrap().unwrap(), Settled::AlreadySettled);
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["b reject"]);
    call.done();
    assert_eq!(b.await.unwrap().unwrap(), Settled::Done);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_is_made_again() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let acking = tokio::spawn(subscription.try_next().await.unwrap().unwrap().ack());
    let hanging = fake.settle().await;
    let call = fake.settle().await;
    assert_eq!(call.asked(), hanging.asked());
    call.done();
    acking.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_settle_deadline_ends_the_trying() {
    let (mut fake, client) = Fake::start();
    let mut subscription = client.subscribe("routing").settle_deadline(Duration::from_secs(3)).start();
    let stream = fake.open().await;
    stream.deliver(&["a"]);
    let began = Instant::now();
    let acking = tokio::spawn(subscription.try_next().await.unwrap().unwrap().ack());
    let _hanging = fake.settle().await;
    assert!(matches!(acking.await.unwrap(), Err(SettleError::TimedOut)));
    assert_eq!(began.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_dropped_by_its_handler_is_nacked_and_a_queued_one_released() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b", "c"]);
    drop(subscription.try_next().await.unwrap().unwrap());
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a nack"]);
    let Some(Action::Nack(nack)) = &call.request.settlements[0].action else { panic!("a nack") };
    assert_eq!((nack.delay, nack.reason.as_str()), (None, "dropped by the agent without being settled"));
    call.done();

    let b = subscription.try_next().await.unwrap().unwrap();
    let panicked = tokio::spawn(async move {
        let _held = b;
        panic!("a handler's bug");
    });
    assert!(panicked.await.is_err());
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["b nack"]);
    let Some(Action::Nack(nack)) = &call.request.settlements[0].action else { panic!("a nack") };
    assert_eq!(nack.reason, "the handler panicked");
    call.done();

    drop(subscription);
    assert_eq!(fake.settle().await.asked(), ["c release"]);
}

#[tokio::test(start_paused = true)]
async fn an_ack_that_nobody_awaits_takes_place_all_the_same_and_only_once() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let acking = tokio::spawn(a.ack());
    let call = fake.settle().await;
    acking.abort();
    assert!(acking.await.unwrap_err().is_cancelled());
    fake.cut();
    drop(call);
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a ack"], "and no nack");
    call.done();
    sleep(Duration::from_secs(60)).await;
    assert!(!fake.settle_came());
}

#[tokio::test(start_paused = true)]
async fn p9_the_ids_of_the_outputs_come_back() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let output = Event { source: "agents/a".into(), r#type: "x".into(), ..Event::default() };
    let acking = tokio::spawn(a.ack_with([output.clone()]));
    let call = fake.settle().await;
    let Some(Action::Ack(ack)) = &call.request.settlements[0].action else { panic!("an ack") };
    assert_eq!(ack.outputs, [output], "the broker gives outputs their ids");
    call.one(SettleResult { status: SettlementStatus::Done.into(), output_ids: vec!["id-1".into()], ..Default::default() });
    let acked = acking.await.unwrap().unwrap();
    assert_eq!((acked.settled, acked.output_ids), (Settled::Done, vec!["id-1".to_owned()]));
}

#[tokio::test(start_paused = true)]
async fn p9_a_refused_output_gives_the_delivery_back() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let acking = tokio::spawn(a.ack_with([Event::default(), Event::default()]));
    let refusal = Refusal { code: 6, reason: ErrorReason::IdConflict.into(), field: "outputs[1].id".into(), ..Default::default() };
    let call = fake.settle().await;
    call.one(SettleResult { status: SettlementStatus::OutputRefused.into(), refusal: Some(refusal), ..Default::default() });
    let Err(AckWithError::OutputRefused { delivery, output, failure }) = acking.await.unwrap() else { panic!("refused") };
    assert_eq!((output, failure.reason), (Some(1), Some(ErrorReason::IdConflict)));
    let rejecting = tokio::spawn(delivery.reject("its output conflicts"));
    let call = fake.settle().await;
    assert_eq!(call.asked(), ["a reject"]);
    call.done();
    rejecting.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn outputs_beyond_the_size_of_a_call_are_refused_here() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a"]);
    let a = subscription.try_next().await.unwrap().unwrap();
    let big = Event { subject: "x".repeat(1 << 20), ..Event::default() };
    let refused = a.ack_with(std::iter::repeat_n(big, 5)).await.unwrap_err();
    assert!(matches!(refused, AckWithError::OutputRefused { output: None, .. }), "{refused}");
    drop(refused);
    assert_eq!(fake.settle().await.asked(), ["a nack"]);
}

#[tokio::test(start_paused = true)]
async fn no_call_exceeds_what_a_broker_takes() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b", "c", "d", "e", "f"]);
    let big = Event { subject: "x".repeat(1_000_000), ..Event::default() };
    let mut acking = tokio::task::JoinSet::new();
    for _ in 0..6 {
        acking.spawn(subscription.try_next().await.unwrap().unwrap().ack_with([big.clone()]));
    }
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 6 {
        let call = fake.settle().await;
        assert!(call.request.encoded_len() <= 4 << 20);
        sizes.push(call.asked().len());
        call.done();
    }
    assert!(sizes.contains(&4), "but holds what fits: {sizes:?}");
    while let Some(acked) = acking.join_next().await {
        acked.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn every_answer_has_its_meaning() {
    let (mut fake, client) = Fake::start();
    let (mut subscription, stream) = subscribed(&mut fake, &client).await;
    stream.deliver(&["a", "b", "c", "d"]);
    let mut answered = async |status: SettlementStatus| {
        let nacking = tokio::spawn(subscription.try_next().await.unwrap().unwrap().nack_after(Duration::from_secs(1), "busy"));
        fake.settle().await.all(status);
        nacking.await.unwrap()
    };
    assert_eq!(answered(SettlementStatus::DeadLettered).await.unwrap(), Settled::DeadLettered);
    assert!(matches!(answered(SettlementStatus::Stale).await, Err(SettleError::Stale(_))));
    assert!(matches!(answered(SettlementStatus::UnknownToken).await, Err(SettleError::UnknownToken(_))));
    assert!(matches!(answered(SettlementStatus::Invalid).await, Err(SettleError::Invalid(_))));
    assert_eq!(fake.settle().await.asked(), ["d nack"], "an invalid settlement leaves it leased, so it is given back");
}
