//! Replay.

use std::time::Duration;

use agent_client::proto::v1::read_events_response::Response as Kind;
use agent_client::proto::v1::start_position::Position;
use agent_client::proto::v1::{ReadEventsResponse, StoredEvent, StoredEvents};
use agent_client::{ReadError, Start};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::Status;

use crate::fake::{Fake, ReadCall};

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
