//! Bare tonic server streaming: the same Subscribe call, answered with ready-made deliveries and nothing else. No log, no
//! leases, no settling.

use std::{net::Ipv4Addr, pin::Pin};

use bytes::Bytes;
use tokio_stream::{Stream, wrappers::TcpListenerStream};
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
        let event = lean::Event { source: "bench".into(), event_type: payload::event_type(0).into(), data: Some(data) };
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
        _: Request<Streaming<wire::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        Err(Status::unimplemented("bare"))
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
