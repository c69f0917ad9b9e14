//! The agent API.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};
use waypost_proto::{v1, wire, wire::agent_service_server::AgentService};

use super::{lineage, publish, publish_stream::PublishStream, read, settle, subscribe};
use crate::{
    access::{By, Caller},
    broker::Broker,
    dispatcher::SubscribeStream,
};

/// Serves the agent API of a broker.
#[derive(Debug)]
pub struct Agent {
    broker: Arc<Broker>,
}

impl Agent {
    /// For this broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

#[tonic::async_trait]
impl AgentService for Agent {
    type PublishStreamStream = PublishStream;
    type SubscribeStream = SubscribeStream;
    type ReadEventsStream = read::ReadStream;

    async fn publish(&self, request: Request<wire::PublishRequest>) -> Result<Response<v1::PublishResponse>, Status> {
        let (caller, call) = (Caller::of(request.extensions()), self.broker.publisher.tracer.of_call(request.metadata()));
        Ok(Response::new(publish::publish(&self.broker, &caller, call, request.into_inner()).await?))
    }

    async fn publish_stream(&self, request: Request<Streaming<wire::PublishStreamRequest>>) -> Result<Response<PublishStream>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(PublishStream::new(Arc::clone(&self.broker), caller, request.into_inner())))
    }

    async fn subscribe(&self, request: Request<v1::SubscribeRequest>) -> Result<Response<SubscribeStream>, Status> {
        let by = By::of(&request);
        Ok(Response::new(subscribe::subscribe(&self.broker, by, request.into_inner()).await?))
    }

    async fn settle(&self, request: Request<wire::SettleRequest>) -> Result<Response<v1::SettleResponse>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(settle::settle(&self.broker, &caller, request.into_inner()).await?))
    }

    async fn read_events(&self, request: Request<v1::ReadEventsRequest>) -> Result<Response<read::ReadStream>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(read::read(&self.broker, &caller, request.into_inner()).await?))
    }

    async fn get_lineage(&self, request: Request<v1::GetLineageRequest>) -> Result<Response<wire::GetLineageResponse>, Status> {
        let caller = Caller::of(request.extensions());
        Ok(Response::new(lineage::lineage(&self.broker, &caller, request.into_inner()).await?))
    }
}
