//! The Waypost side of each work: a raw tonic client with the lean messages.
//!
//! Constraints: one event is one request on the publish stream, and every result is checked; every delivery is settled by
//! an ack of its own whose result is checked. The settlements of one connection that gather while a call is under way
//! share the next one.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{
    sync::{Semaphore, SemaphorePermit, mpsc},
    task::JoinHandle,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request, Streaming,
    client::Grpc,
    codegen::http::uri::PathAndQuery,
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use waypost_proto::v1::{
    Ack, Filter, PublishStreamResponse, SessionLimits, SettleRequest, Settlement, SettlementStatus, StartPoint, StartPosition,
    SubscribeRequest, SubscriptionSpec, agent_service_client::AgentServiceClient, publish_result, settlement, start_position,
};

use super::{Subscribers, Tasks, lean, payload, tally::Tally};
use crate::{Error, measure, measure::Latencies};

/// Settlements in one call.
const SETTLE: usize = 1_000;
const MAX_MESSAGE: usize = 8 * 1024 * 1024;
const PUBLISH_STREAM: PathAndQuery = PathAndQuery::from_static("/waypost.v1.AgentService/PublishStream");
const SUBSCRIBE: PathAndQuery = PathAndQuery::from_static("/waypost.v1.AgentService/Subscribe");

/// Connects to a gRPC port.
pub(crate) async fn connect(port: u16) -> Result<Channel, Error> {
    let endpoint = Endpoint::from_shared(format!("http://127.0.0.1:{port}"))?;
    Ok(endpoint.tcp_nodelay(true).max_frame_size(1024 * 1024).connect().await?)
}

async fn ready(channel: Channel) -> Result<Grpc<Channel>, Error> {
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MAX_MESSAGE);
    grpc.ready().await?;
    Ok(grpc)
}

/// The names of a topic, made once.
struct Topic {
    event_type: Bytes,
    type_url: Bytes,
}

impl Topic {
    fn new(topic: u32) -> Self {
        let event_type = payload::event_type(topic);
        Self { type_url: format!("{}/{event_type}", waypost_proto::TYPE_URL_PREFIX).into(), event_type: event_type.into() }
    }

    fn request(&self, sequence: u64, data: Bytes) -> lean::PublishStreamRequest {
        let data = Some(lean::Any { type_url: self.type_url.clone(), value: data });
        let event = lean::Event { source: Bytes::from_static(b"agents/bench"), event_type: self.event_type.clone(), data };
        lean::PublishStreamRequest { sequence, items: vec![lean::PublishItem { event: Some(event) }] }
    }
}

type Requests = mpsc::Sender<lean::PublishStreamRequest>;
type Results = Streaming<PublishStreamResponse>;

async fn open_publish_stream(port: u16, window: usize) -> Result<(Requests, impl Future<Output = Result<Results, Error>>), Error> {
    let mut grpc = ready(connect(port).await?).await?;
    let (sender, requests) = mpsc::channel(window);
    // The response's head may come only with the first result: it must not be waited for before a request is sent.
    let results = async move {
        let request = Request::new(ReceiverStream::new(requests));
        Ok(grpc.streaming(request, PUBLISH_STREAM, ProstCodec::default()).await?.into_inner())
    };
    Ok((sender, results))
}

/// Checks that every event of a message was accepted. Gives how many.
fn accepted(message: &PublishStreamResponse) -> Result<usize, Error> {
    let mut count = 0;
    for result in message.results.iter().flat_map(|request| &request.results) {
        match &result.result {
            Some(publish_result::Result::Accepted(accepted)) if !accepted.duplicate => count += 1,
            other => return Err(format!("an event was not accepted as new: {other:?}").into()),
        }
    }
    Ok(count)
}

/// Publishes with one in flight.
pub(super) async fn publish_serially(port: u16, count: usize) -> Result<Latencies, Error> {
    let (sender, results) = open_publish_stream(port, 1).await?;
    let topic = Topic::new(0);
    sender.send(topic.request(1, payload::stamped(0))).await?;
    let mut results = results.await?;
    let mut answered = results.message().await?;
    let mut took = Vec::with_capacity(count);
    for sequence in 0..count as u64 {
        accepted(&answered.ok_or("the publish stream ended")?)?;
        let request = topic.request(sequence + 2, payload::stamped(0));
        let start = measure::now();
        sender.send(request).await?;
        answered = results.message().await?;
        took.push(measure::now() - start);
    }
    Ok(Latencies::of(took))
}

/// Publishes with many in flight on one stream.
pub(crate) struct Publisher {
    requests: Requests,
    sequence: u64,
    topics: Vec<Topic>,
    window: Arc<Semaphore>,
    results: JoinHandle<Result<u64, Error>>,
}

impl Publisher {
    pub(super) async fn new(port: u16, window: usize, topics: u32) -> Result<Self, Error> {
        let (requests, results) = open_publish_stream(port, window).await?;
        let semaphore = Arc::new(Semaphore::new(window));
        let freed = Arc::clone(&semaphore);
        let results = tokio::spawn(async move {
            // However this ends, a sender that waits for the window must learn it.
            let closing = Closing(freed);
            let mut results = results.await?;
            let mut total = 0;
            while let Some(message) = results.message().await? {
                let count = accepted(&message)?;
                closing.0.add_permits(count);
                total += count as u64;
            }
            Ok(total)
        });
        Ok(Self { requests, sequence: 0, topics: (0..topics).map(Topic::new).collect(), window: semaphore, results })
    }

    pub(super) async fn send(&mut self, topic: u32, data: Bytes) -> Result<(), Error> {
        let open = self.window.acquire().await.map(SemaphorePermit::forget).is_ok();
        if !open {
            return Err(self.ended().await);
        }
        self.sequence += 1;
        let request = self.topics[topic as usize].request(self.sequence, data);
        if self.requests.send(request).await.is_err() {
            return Err(self.ended().await);
        }
        Ok(())
    }

    async fn ended(&mut self) -> Error {
        match (&mut self.results).await {
            Ok(Err(error)) => error,
            other => format!("the publish stream ended early: {other:?}").into(),
        }
    }

    pub(super) async fn finish(self) -> Result<(), Error> {
        drop(self.requests);
        let answered = self.results.await??;
        if answered == self.sequence { Ok(()) } else { Err(format!("{} events were sent and {answered} answered", self.sequence).into()) }
    }
}

struct Closing(Arc<Semaphore>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Opens a stream of a new or existing subscription. Gives it when the broker says that it is open.
pub(crate) async fn open(
    channel: Channel,
    name: String,
    event_type: String,
    start: StartPoint,
    max_outstanding: u32,
) -> Result<Streaming<lean::SubscribeResponse>, Error> {
    let start = start_position::Position::Point(start.into());
    let spec = SubscriptionSpec {
        filter: Some(Filter { types: vec![event_type], ..Default::default() }),
        max_outstanding: Some(max_outstanding),
        start_position: Some(StartPosition { position: Some(start) }),
        ..Default::default()
    };
    let request = SubscribeRequest {
        subscription: name,
        spec: Some(spec),
        session_limits: Some(SessionLimits { max_outstanding: Some(max_outstanding), max_outstanding_bytes: Some(64 << 20) }),
        client: "waypost-bench".to_owned(),
        ..Default::default()
    };
    let mut grpc = ready(channel).await?;
    let mut stream: Streaming<lean::SubscribeResponse> =
        grpc.server_streaming(Request::new(request), SUBSCRIBE, ProstCodec::default()).await?.into_inner();
    match stream.message().await? {
        Some(lean::SubscribeResponse { opened: Some(_), .. }) => Ok(stream),
        other => Err(format!("the first message of a subscribe stream is {other:?}, not Opened").into()),
    }
}

/// Starts subscribers; returns when all are open.
pub(super) async fn subscribe(port: u16, wanted: Subscribers, tally: &Arc<Tally>) -> Result<Tasks, Error> {
    let mut tasks = Tasks::default();
    let mut connections = Vec::new();
    for _ in 0..wanted.connections {
        let channel = connect(port).await?;
        let (sender, tokens) = mpsc::channel(64);
        tasks.spawn(failing(Arc::clone(tally), settle(channel.clone(), tokens, Arc::clone(tally))));
        connections.push((channel, sender));
    }
    for index in 0..wanted.count {
        let (channel, tokens) = &connections[(index % wanted.connections) as usize];
        let event_type = wanted.event_type_of(index);
        let name = format!("subscriber{index}");
        let stream = open(channel.clone(), name, event_type, StartPoint::New, wanted.max_outstanding).await?;
        tasks.spawn(failing(Arc::clone(tally), receive(stream, wanted, tokens.clone(), Arc::clone(tally))));
    }
    Ok(tasks)
}

async fn failing(tally: Arc<Tally>, task: impl Future<Output = Result<(), Error>>) {
    if let Err(error) = task.await {
        tally.fail(error);
    }
}

async fn receive(
    mut stream: Streaming<lean::SubscribeResponse>,
    wanted: Subscribers,
    tokens: mpsc::Sender<Vec<Bytes>>,
    tally: Arc<Tally>,
) -> Result<(), Error> {
    while let Some(message) = stream.message().await? {
        if message.gap.is_some() || message.revoked.is_some() {
            return Err("a subscriber that keeps up saw a gap or lost a lease".into());
        }
        let Some(deliveries) = message.deliveries else { continue };
        tally.message();
        let mut settle = Vec::with_capacity(deliveries.deliveries.len());
        for delivery in deliveries.deliveries {
            let data = delivery.event.and_then(|event| event.data).ok_or("a delivery without data")?;
            tally.delivered(wanted.stamp(&data.value), delivery.attempt > 1);
            settle.push(delivery.token);
        }
        tokens.send(settle).await?;
    }
    Err("a subscribe stream ended".into())
}

/// Acks what the subscribers of one connection got, until they are gone.
async fn settle(channel: Channel, mut tokens: mpsc::Receiver<Vec<Bytes>>, tally: Arc<Tally>) -> Result<(), Error> {
    let mut client = AgentServiceClient::new(channel);
    let mut waiting = Vec::new();
    while let Some(more) = tokens.recv().await {
        waiting.extend(more);
        while let Ok(more) = tokens.try_recv() {
            waiting.extend(more);
        }
        while !waiting.is_empty() {
            let batch = waiting.drain(..waiting.len().min(SETTLE));
            let action = || Some(settlement::Action::Ack(Ack::default()));
            let settlements = batch.map(|token| Settlement { token, action: action() }).collect();
            let response = client.settle(SettleRequest { settlements }).await?.into_inner();
            for result in &response.results {
                if result.status() != SettlementStatus::Done {
                    return Err(format!("an ack was answered {:?}: {}", result.status(), result.message).into());
                }
            }
            tally.settled(response.results.len() as u64);
        }
    }
    Ok(())
}
