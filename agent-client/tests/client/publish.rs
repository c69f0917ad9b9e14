//! Publishing: durable, and never twice for a retry.

use std::time::Duration;

use agent_client::proto::v1::publish_result::Result as Outcome;
use agent_client::proto::v1::{ErrorReason, Event, PublishResponse, PublishResult, PublishStreamResponse, PublishStreamResult, Refusal};
use agent_client::{Client, PublishError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::fake::{Fake, PublishStreamCall, accepted};

fn event(id: &str) -> Event {
    Event { id: id.into(), source: "agents/a".into(), r#type: "x".into(), ..Event::default() }
}

fn refused(code: i32, reason: ErrorReason, retry: Option<i64>) -> PublishResult {
    let retry_delay = retry.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
    PublishResult { result: Some(Outcome::Refused(Refusal { code, reason: reason.into(), retry_delay, ..Default::default() })) }
}

#[tokio::test(start_paused = true)]
async fn p7_a_publish_tried_again_keeps_its_id() {
    let (mut fake, client) = Fake::start();
    let publishing = tokio::spawn(async move { client.publish(event("")).await });
    let call = fake.publish().await;
    let ids = call.ids();
    assert!(!ids[0].is_empty());
    fake.cut();
    drop(call);
    let call = fake.publish().await;
    assert_eq!(call.ids(), ids);
    call.fail(Status::unavailable("starting"));
    let call = fake.publish().await;
    assert_eq!(call.ids(), ids);
    call.accept();
    let published = publishing.await.unwrap().unwrap();
    assert_eq!((published.id, published.offset), (ids[0].clone(), 7));
}

#[tokio::test(start_paused = true)]
async fn only_what_has_no_final_answer_is_published_again() {
    let (mut fake, client) = Fake::start();
    let publishing = tokio::spawn(async move { client.publish_batch([event("a"), event("b"), event("c")]).await });
    let call = fake.publish().await;
    let items = call.request.items.clone();
    let full = refused(8, ErrorReason::StoreFull, Some(3));
    let results = vec![accepted(&items[0], 1), full, refused(6, ErrorReason::IdConflict, None)];
    let began = Instant::now();
    call.answer(PublishResponse { results });
    let call = fake.publish().await;
    assert_eq!(call.ids(), ["b"]);
    assert!(began.elapsed() >= Duration::from_secs(3), "the broker's advice is honoured");
    call.accept();
    let results = publishing.await.unwrap();
    assert_eq!(results[0].as_ref().unwrap().offset, 1);
    assert_eq!(results[1].as_ref().unwrap().id, "b");
    assert!(matches!(&results[2], Err(PublishError::Refused(failure)) if failure.reason == Some(ErrorReason::IdConflict)));
}

#[tokio::test(start_paused = true)]
async fn publishing_gives_up_at_the_call_deadline_and_names_the_id() {
    let (fake, client) = Fake::start_with(Client::builder().call_deadline(Duration::from_secs(5)));
    fake.set_down(true);
    let began = Instant::now();
    let error = client.publish(event("mine")).await.unwrap_err();
    assert!(matches!(&error, PublishError::TimedOut { id, last: Some(_) } if id == "mine"), "{error}");
    assert!(began.elapsed() <= Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_too_large_is_refused_without_a_call() {
    let (_fake, client) = Fake::start();
    let error = client.publish(Event { subject: "x".repeat(1 << 20), ..event("big") }).await.unwrap_err();
    assert!(matches!(error, PublishError::Refused(failure) if failure.reason == Some(ErrorReason::EventTooLarge)));
}

type Results = mpsc::UnboundedSender<Result<PublishStreamResponse, Status>>;
type Requests = tonic::Streaming<agent_client::proto::v1::PublishStreamRequest>;

/// Lets the stream begin.
fn begin(call: PublishStreamCall) -> (Requests, Results) {
    let (results, out) = mpsc::unbounded_channel();
    let requests = call.begin(UnboundedReceiverStream::new(out));
    (requests, results)
}

async fn request(requests: &mut Requests) -> (u64, Vec<agent_client::proto::v1::PublishItem>) {
    let request = requests.next().await.unwrap().unwrap();
    (request.sequence, request.items)
}

fn all_accepted(sequence: u64, items: &[agent_client::proto::v1::PublishItem]) -> PublishStreamResponse {
    let results = items.iter().map(|item| accepted(item, 5)).collect();
    PublishStreamResponse { results: vec![PublishStreamResult { sequence, results }] }
}

fn ids(items: &[agent_client::proto::v1::PublishItem]) -> Vec<String> {
    items.iter().map(|item| item.event.as_ref().unwrap().id.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_publisher_does_not_wait_for_one_before_the_next() {
    let (mut fake, client) = Fake::start();
    let publisher = client.publisher();
    let first = publisher.submit(event("a")).await.unwrap();
    let (mut requests, results) = begin(fake.publish_stream().await);
    let (one, items) = request(&mut requests).await;
    assert_eq!(ids(&items), ["a"]);
    let more = [publisher.submit(event("b")).await.unwrap(), publisher.submit(event("c")).await.unwrap()];
    let (two, rest) = request(&mut requests).await;
    assert_eq!(ids(&rest), ["b", "c"], "what queued up goes together");
    assert!(two > one);
    results.send(Ok(all_accepted(one, &items))).unwrap();
    assert_eq!(first.await.unwrap().id, "a");
    results.send(Ok(all_accepted(two, &rest))).unwrap();
    for receipt in more {
        receipt.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn p7_a_publisher_sends_again_what_has_no_answer_in_its_order() {
    let (mut fake, client) = Fake::start();
    let publisher = client.publisher();
    let a = publisher.submit(event("")).await.unwrap();
    let (mut requests, results) = begin(fake.publish_stream().await);
    let (sequence, first) = request(&mut requests).await;
    let b = publisher.submit(event("")).await.unwrap();
    let (_, second) = request(&mut requests).await;
    let c = publisher.submit(event("")).await.unwrap();
    let (_, third) = request(&mut requests).await;
    results.send(Ok(all_accepted(sequence, &first))).unwrap();
    a.await.unwrap();
    fake.cut();
    let (mut requests, results) = begin(fake.publish_stream().await);
    let (again, items) = request(&mut requests).await;
    assert_eq!(ids(&items), [ids(&second), ids(&third)].concat());
    results.send(Ok(all_accepted(again, &items))).unwrap();
    b.await.unwrap();
    c.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_full_store_is_waited_for() {
    let (mut fake, client) = Fake::start();
    let publisher = client.publisher();
    let a = publisher.submit(event("a")).await.unwrap();
    let (mut requests, results) = begin(fake.publish_stream().await);
    let (sequence, _) = request(&mut requests).await;
    let began = Instant::now();
    let full = PublishStreamResult { sequence, results: vec![refused(8, ErrorReason::StoreFull, Some(2))] };
    results.send(Ok(PublishStreamResponse { results: vec![full] })).unwrap();
    let (sequence, items) = request(&mut requests).await;
    assert!(began.elapsed() >= Duration::from_secs(2));
    results.send(Ok(all_accepted(sequence, &items))).unwrap();
    assert_eq!(a.await.unwrap().id, "a");
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_bounded() {
    let (mut fake, client) = Fake::start();
    let publisher = client.publisher_builder().max_in_flight(2).start();
    let a = publisher.submit(event("a")).await.unwrap();
    let _b = publisher.submit(event("b")).await.unwrap();
    let third = tokio::spawn({
        let publisher = publisher.clone();
        async move { publisher.submit(event("c")).await }
    });
    sleep(Duration::from_secs(1)).await;
    assert!(!third.is_finished(), "the third waits for room");
    let (mut requests, results) = begin(fake.publish_stream().await);
    let (sequence, items) = request(&mut requests).await;
    results.send(Ok(all_accepted(sequence, &items))).unwrap();
    a.await.unwrap();
    let _receipt = third.await.unwrap().unwrap();
}
