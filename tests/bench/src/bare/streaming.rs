//! Bare tonic streaming, of the same calls: Subscribe is answered with ready-made deliveries, PublishStream with made-up
//! offsets, as many in a message as are ready. No log, no leases, no settling.

use std::{net::Ipv4Addr, pin::Pin};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::{
    Stream,
    wrappers::{ReceiverStream, TcpListenerStream},
};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use waypost_proto::{v1, wire};

use crate::{
    Error,
    brokers::{lean, payload},
};

/// Serves until the process is killed: `count` deliveries on each stream, `batch` of them in a message.
pub(crate) async fn serve(port: u16, batch: usize, count: u64) -> Result<(), Error> {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let incoming = tokio_stream::StreamExt::map(TcpListenerStream::new(listener), |stream| {
        let stream = stream?;
        stream.set_nodelay(true)?;
        Ok::<_, std::io::Error>(stream)
    });
    let service = wire::agent_service_server::AgentServiceServer::new(Bare { batch: batch.max(1) as u64, count });
    Server::builder().max_frame_size(1024 * 1024).add_service(service).serve_with_incoming(incoming).await?;
    Ok(())
}

struct Bare {
    batch: u64,
    count: u64,
}

impl Bare {
    /// What a broker sends for one event.
    fn delivery(offset: u64) -> wire::Delivery {
        let data = lean::Any { type_url: "type.googleapis.com/bench.v1.Topic0".into(), value: payload::stamped(0) };
        let event = lean::Event { source: "agents/bench".into(), event_type: payload::event_type(0).into(), data: Some(data) };
        wire::Delivery {
            token: Bytes::from_static(&[7; 48]),
            offset,
            attempt: 1,
            event: Some(wire::EncodedEvent(prost::Message::encode_to_vec(&event).into())),
            ..Default::default()
        }
    }
}

type Answer<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl wire::agent_service_server::AgentService for Bare {
    type PublishStreamStream = Answer<v1::PublishStreamResponse>;
    type SubscribeStream = Answer<wire::SubscribeResponse>;
    type ReadEventsStream = Answer<wire::ReadEventsResponse>;

    async fn subscribe(&self, _: Request<v1::SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        use wire::subscribe_response::Response::{Deliveries, Opened};

        let (batch, count) = (self.batch, self.count);
        let one = Self::delivery(0);
        let opened = std::iter::once(Opened(v1::Opened::default()));
        let deliveries = (0..count.div_ceil(batch)).map(move |index| {
            let offsets = index * batch..((index + 1) * batch).min(count);
            let deliveries = offsets.map(|offset| wire::Delivery { offset, ..one.clone() }).collect();
            Deliveries(wire::Deliveries { deliveries })
        });
        let messages = opened.chain(deliveries).map(|response| Ok(wire::SubscribeResponse { response: Some(response) }));
        Ok(Response::new(Box::pin(tokio_stream::iter(messages))))
    }

    async fn publish(&self, _: Request<wire::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<wire::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let (answers, answered) = mpsc::channel(64);
        tokio::spawn(answer(request.into_inner(), answers));
        Ok(Response::new(Box::pin(ReceiverStream::new(answered))))
    }

    async fn settle(&self, _: Request<wire::SettleRequest>) -> Result<Response<v1::SettleResponse>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn read_events(&self, _: Request<v1::ReadEventsRequest>) -> Result<Response<Self::ReadEventsStream>, Status> {
        Err(Status::unimplemented("bare"))
    }

    async fn get_lineage(&self, _: Request<v1::GetLineageRequest>) -> Result<Response<wire::GetLineageResponse>, Status> {
        Err(Status::unimplemented("bare"))
    }
}

/// Accepts every event at once.
async fn answer(mut requests: Streaming<wire::PublishStreamRequest>, answers: mpsc::Sender<Result<v1::PublishStreamResponse, Status>>) {
    while let Ok(Some(first)) = requests.message().await {
        let mut results = vec![accepted(&first)];
        loop {
            tokio::select! {
                biased;
                Ok(Some(next)) = requests.message() => results.push(accepted(&next)),
                () = std::future::ready(()) => break,
                else => break,
            }
        }
        if answers.send(Ok(v1::PublishStreamResponse { results })).await.is_err() {
            return;
        }
    }
}

fn accepted(request: &wire::PublishStreamRequest) -> v1::PublishStreamResult {
    let id = "01890a5d-ac96-774b-bcce-b302099a8057".to_owned();
    let accepted = v1::PublishAccepted { id, offset: request.sequence, duplicate: false };
    let result = v1::PublishResult { result: Some(v1::publish_result::Result::Accepted(accepted)) };
    v1::PublishStreamResult { sequence: request.sequence, results: vec![result; request.items.len()] }
}
