//! A broker in this process, and an agent that speaks gRPC to it over a pipe.

use std::{sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint, Server},
};
use waypost_broker::{
    broker::{Broker, Settings},
    clock::Clock,
    entropy::Entropy,
    grpc::{admin_routes, agent_routes},
    ingress::LiveSources,
    journal::Journal,
    publisher::PublishRules,
    registry::RegistryLimits,
    retention::RetentionRules,
    schema::Schemas,
    spec::DeliverySettings,
    trace::Tracer,
};
use waypost_proto::v1::{
    self, Ack, Delivery, Event, PublishItem, PublishRequest, SettleRequest, Settlement, SettlementStatus, SubscribeRequest,
    SubscribeResponse, agent_service_client::AgentServiceClient, dead_letter_admin_service_client::DeadLetterAdminServiceClient,
    session_admin_service_client::SessionAdminServiceClient, settlement::Action, subscribe_response::Response,
    subscription_admin_service_client::SubscriptionAdminServiceClient,
};
use waypost_store::{
    EventStore, MemoryConfig, MemoryDisk,
    testing::faulty::{Faults, FaultyStore},
};

/// When every test begins.
const START: u64 = 1_700_000_000_000_000;

/// A broker and its disk.
pub(crate) struct World {
    pub(crate) disk: MemoryDisk,
    pub(crate) broker: Arc<Broker>,
    pub(crate) settings: Settings,
    pub(crate) faults: Faults,
    clock: Clock,
}

pub(crate) fn settings() -> Settings {
    Settings {
        publish: PublishRules { reserved_sources: ["github".to_owned()].into(), max_hops: 3, dedup_window: 72 * 3_600_000_000 },
        delivery: DeliverySettings { resume_grace: Duration::from_secs(2), max_unsettled: 10_000 },
        registry: RegistryLimits { max_subscriptions: 100, max_sessions: 10 },
        retention: RetentionRules {
            settled: Duration::from_secs(7 * 86_400),
            dead_letters: Duration::from_secs(30 * 86_400),
            quarantine: Duration::from_secs(30 * 86_400),
            interval: Duration::from_secs(10),
        },
        tracer: Tracer::off(),
        journal: Journal::off(),
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::on(MemoryDisk::new(MemoryConfig::default()), settings()).await
    }

    pub(crate) async fn on(disk: MemoryDisk, settings: Settings) -> Self {
        let clock = Clock::starting_at(START);
        let faults = Faults::none();
        let broker = open(&disk, &faults, clock, settings.clone()).await;
        Self { disk, broker, settings, faults, clock }
    }

    /// What a crash and a start leave.
    pub(crate) async fn restarted(self) -> Self {
        let Self { disk, broker, settings, faults, clock } = self;
        drop(broker);
        disk.crash(0);
        let broker = open(&disk, &faults, clock, settings.clone()).await;
        Self { disk, broker, settings, faults, clock }
    }

    pub(crate) async fn channel(&self, routes: tonic::service::Routes) -> Channel {
        let (client, server) = tokio::io::duplex(1 << 20);
        let (incoming, accepted) = mpsc::channel(1);
        incoming.send(Ok::<_, std::io::Error>(server)).await.unwrap();
        tokio::spawn(async move {
            // The pipe ends with its client.
            let _ = Server::builder().add_routes(routes).serve_with_incoming(ReceiverStream::new(accepted)).await;
        });
        let mut client = Some(client);
        let connector = tower::service_fn(move |_: http::Uri| {
            let client = client.take().ok_or_else(|| std::io::Error::other("one connection only"));
            std::future::ready(client.map(TokioIo::new))
        });
        Endpoint::from_static("http://waypost").connect_with_connector(connector).await.unwrap()
    }

    pub(crate) async fn agent(&self) -> Agent {
        let client = AgentServiceClient::new(self.channel(agent_routes(&self.broker)).await);
        Agent { client: client.max_decoding_message_size(4 << 20) }
    }

    pub(crate) async fn subscriptions(&self) -> SubscriptionAdminServiceClient<Channel> {
        SubscriptionAdminServiceClient::new(self.channel(admin_routes(&self.broker, LiveSources::default())).await)
    }

    pub(crate) async fn sessions(&self) -> SessionAdminServiceClient<Channel> {
        SessionAdminServiceClient::new(self.channel(admin_routes(&self.broker, LiveSources::default())).await)
    }

    pub(crate) async fn dead_letters(&self) -> DeadLetterAdminServiceClient<Channel> {
        DeadLetterAdminServiceClient::new(self.channel(admin_routes(&self.broker, LiveSources::default())).await)
    }
}

async fn open(disk: &MemoryDisk, faults: &Faults, clock: Clock, settings: Settings) -> Arc<Broker> {
    let store: Arc<dyn EventStore> = Arc::new(FaultyStore::new(Arc::new(disk.open()), faults.clone()));
    let schemas = Arc::new(Schemas::built_in().unwrap());
    Broker::open(store, clock, Arc::new(Entropy::seeded(7)), schemas, settings).await.unwrap()
}

/// A client.
#[derive(Clone)]
pub(crate) struct Agent {
    pub(crate) client: AgentServiceClient<Channel>,
}

impl Agent {
    /// Publishes events of one type with these ids; answers their offsets.
    pub(crate) async fn publish(&mut self, ids: &[&str]) -> Vec<u64> {
        let items = ids.iter().map(|id| item(id)).collect();
        let response = self.client.publish(PublishRequest { items }).await.unwrap().into_inner();
        response.results.into_iter().map(|result| accepted(result).offset).collect()
    }

    pub(crate) async fn subscribe(&mut self, request: SubscribeRequest) -> Stream {
        self.try_subscribe(request).await.unwrap()
    }

    pub(crate) async fn try_subscribe(&mut self, request: SubscribeRequest) -> Result<Stream, Status> {
        let mut stream = self.client.subscribe(request).await?.into_inner();
        let Some(Response::Opened(opened)) = stream.message().await?.unwrap().response else { panic!("the first message is Opened") };
        Ok(Stream { stream, opened, waiting: Vec::new() })
    }

    pub(crate) async fn settle(&mut self, token: &[u8], action: Action) -> v1::SettleResult {
        let settlements = vec![Settlement { token: token.to_vec().into(), action: Some(action) }];
        self.client.settle(SettleRequest { settlements }).await.unwrap().into_inner().results.remove(0)
    }

    pub(crate) async fn ack(&mut self, delivery: &Delivery) -> SettlementStatus {
        self.settle(&delivery.token, ack()).await.status()
    }
}

/// An open stream.
pub(crate) struct Stream {
    pub(crate) stream: Streaming<SubscribeResponse>,
    pub(crate) opened: v1::Opened,
    waiting: Vec<Delivery>,
}

impl Stream {
    /// The next message that is no heartbeat.
    pub(crate) async fn message(&mut self) -> Response {
        self.try_message().await.unwrap()
    }

    pub(crate) async fn try_message(&mut self) -> Result<Response, Status> {
        loop {
            match self.stream.message().await?.expect("the stream ended without a status").response.unwrap() {
                Response::Heartbeat(_) => {}
                response => return Ok(response),
            }
        }
    }

    pub(crate) async fn delivery(&mut self) -> Delivery {
        if self.waiting.is_empty() {
            match self.message().await {
                Response::Deliveries(deliveries) => self.waiting = deliveries.deliveries,
                other => panic!("a delivery was expected, {other:?} came"),
            }
        }
        self.waiting.remove(0)
    }

    pub(crate) async fn deliveries(&mut self, count: usize) -> Vec<Delivery> {
        let mut all = Vec::new();
        for _ in 0..count {
            all.push(self.delivery().await);
        }
        all
    }

    /// Nothing but heartbeats comes within this time.
    pub(crate) async fn stays_silent(&mut self, span: Duration) {
        assert!(self.waiting.is_empty(), "{:?} came", self.waiting);
        if let Ok(message) = tokio::time::timeout(span, self.message()).await {
            panic!("{message:?} came");
        }
    }
}

pub(crate) fn event(id: &str) -> Event {
    Event { id: id.into(), source: "agents/test".into(), r#type: "test.v1.Happened".into(), ..Event::default() }
}

pub(crate) fn item(id: &str) -> PublishItem {
    PublishItem { event: Some(event(id)), cause_token: Vec::new().into() }
}

pub(crate) fn accepted(result: v1::PublishResult) -> v1::PublishAccepted {
    match result.result.unwrap() {
        v1::publish_result::Result::Accepted(accepted) => accepted,
        v1::publish_result::Result::Refused(refusal) => panic!("refused: {refusal:?}"),
    }
}

pub(crate) fn refused(result: v1::PublishResult) -> v1::Refusal {
    match result.result.unwrap() {
        v1::publish_result::Result::Accepted(accepted) => panic!("accepted: {accepted:?}"),
        v1::publish_result::Result::Refused(refusal) => refusal,
    }
}

pub(crate) fn ack() -> Action {
    Action::Ack(Ack::default())
}

pub(crate) fn to(name: &str) -> SubscribeRequest {
    SubscribeRequest { subscription: name.into(), ..SubscribeRequest::default() }
}

pub(crate) fn id(delivery: &Delivery) -> &str {
    &delivery.event.as_ref().unwrap().id
}
