//! Replay, and lineage.

use std::time::Duration;

use agent_client::proto::v1::read_events_response::Response as Kind;
use agent_client::proto::v1::start_position::Position;
use agent_client::proto::v1::{ErrorReason, GetLineageResponse, LineageEvent, ReadEventsResponse, ReadProgress, StoredEvent, StoredEvents};
use agent_client::{LineageError, ReadError, Start, Story};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status};

use crate::fake::{Fake, ReadCall, status};

fn begin(call: ReadCall) -> mpsc::UnboundedSender<Result<ReadEventsResponse, Status>> {
    let (send, out) = mpsc::unbounded_channel();
    call.answer(UnboundedReceiverStream::new(out));
    send
}

fn events(offsets: &[u64]) -> ReadEventsResponse {
    let events = offsets.iter().map(|offset| StoredEvent { offset: *offset, ..StoredEvent::default() }).collect();
    ReadEventsResponse { response: Some(Kind::Events(StoredEvents { events })) }
}

#[tokio::test(start_paused = true)]
async fn a_reader_goes_on_where_the_connection_broke() {
    let (mut fake, client) = Fake::start();
    let reading = tokio::spawn(async move {
        let mut reader = client.read().start_at(Start::Offset(3)).limit(4).open();
        let mut read = Vec::new();
        while let Some(event) = reader.try_next().await.unwrap() {
            read.push(event.offset);
        }
        read
    });
    let call = fake.read().await;
    assert_eq!(call.request.start_position.unwrap().position, Some(Position::Offset(3)));
    let stream = begin(call);
    stream.send(Ok(events(&[3, 5]))).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    fake.cut();
    let call = fake.read().await;
    assert_eq!(call.request.start_position.unwrap().position, Some(Position::Offset(6)));
    assert_eq!(call.request.limit, Some(2), "what was read counts");
    begin(call).send(Ok(events(&[7, 8]))).unwrap();
    assert_eq!(reading.await.unwrap(), [3, 5, 7, 8]);
}

#[tokio::test(start_paused = true)]
async fn a_start_beyond_the_end_is_an_error() {
    let (mut fake, client) = Fake::start();
    let reading = tokio::spawn(async move { client.read().start_at(Start::Offset(99)).open().try_next().await });
    fake.read().await.fail(Status::out_of_range("the end is 7"));
    assert!(matches!(reading.await.unwrap(), Err(ReadError::OutOfRange(_))));
}

#[tokio::test(start_paused = true)]
async fn a_reader_ends_where_the_broker_says_and_not_where_a_connection_does() {
    let (mut fake, client) = Fake::start();
    let reading = tokio::spawn(async move {
        let mut reader = client.read().open();
        let first = reader.try_next().await.unwrap().unwrap().offset;
        (first, reader.try_next().await)
    });
    let stream = begin(fake.read().await);
    stream.send(Ok(events(&[1]))).unwrap();
    stream.send(Err(Status::unavailable("draining"))).unwrap();
    let call = fake.read().await;
    assert_eq!(call.request.start_position.unwrap().position, Some(Position::Offset(2)));
    let stream = begin(call);
    let progress = ReadProgress { next_offset: 2, durable_end_offset: 2 };
    stream.send(Ok(ReadEventsResponse { response: Some(Kind::Progress(progress)) })).unwrap();
    drop(stream);
    assert_eq!(reading.await.unwrap(), (1, Ok(None)));
}

#[tokio::test(start_paused = true)]
async fn all_pages_of_a_story_are_fetched() {
    let (mut fake, client) = Fake::start();
    let asking = tokio::spawn(async move { client.lineage(Story::Correlation("story".into())).await });
    let page = |next: &str| GetLineageResponse {
        correlation_id: "story".into(),
        events: vec![LineageEvent::default()],
        next_page_token: next.into(),
    };
    fake.lineage().await.answer(page("more"));
    fake.lineage().await.fail(Status::unavailable("busy"));
    let call = fake.lineage().await;
    assert_eq!(call.request.page_token, "more");
    call.answer(page(""));
    let lineage = asking.await.unwrap().unwrap();
    assert_eq!((lineage.correlation_id.as_str(), lineage.events.len(), lineage.truncated), ("story", 2, false));
}

#[tokio::test(start_paused = true)]
async fn a_story_that_is_not_kept_is_told_at_once() {
    let (mut fake, client) = Fake::start();
    let story = Story::OfEvent { source: "carrier".into(), id: "1".into() };
    let asking = tokio::spawn(async move { client.lineage(story).await });
    fake.lineage().await.fail(status(Code::NotFound, ErrorReason::NotFound));
    assert!(matches!(asking.await.unwrap(), Err(LineageError::NotFound(_))));
}
