//! A broker of which the test plays every part: it sees each call, and gives each answer.
//!
//! Constraints: the real client, tonic and HTTP/2 are between the two; only the network is memory, and can be cut.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_client::proto::rpc;
use agent_client::proto::v1::agent_service_server::{AgentService, AgentServiceServer};
use agent_client::proto::v1::publish_result::Result as PublishOutcome;
use agent_client::proto::v1::settlement::Action;
use agent_client::proto::v1::subscribe_response::Response as Kind;
use agent_client::proto::v1::*;
use agent_client::{Client, ClientBuilder};
use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::io::{DuplexStream, copy_bidirectional, duplex};
use tokio::sync::{mpsc, oneshot};
use tokio::task::AbortHandle;
use tokio::time::{Instant, timeout};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::async_trait;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status, Streaming};

type Out<T> = UnboundedReceiverStream<Result<T, Status>>;
type Answer<T> = oneshot::Sender<Result<Response<T>, Status>>;

/// A call that waits for its answer.
pub(crate) struct Call<Q, A> {
    pub(crate) request: Q,
    answer: Answer<A>,
}

impl<Q, A> Call<Q, A> {
    pub(crate) fn answer(self, answer: A) {
        let _gone = self.answer.send(Ok(Response::new(answer)));
    }

    pub(crate) fn fail(self, status: Status) {
        let _gone = self.answer.send(Err(status));
    }
}

pub(crate) type SubscribeCall = Call<SubscribeRequest, Out<SubscribeResponse>>;
pub(crate) type SettleCall = Call<SettleRequest, SettleResponse>;
pub(crate) type PublishCall = Call<PublishRequest, PublishResponse>;
pub(crate) type ReadCall = Call<ReadEventsRequest, Out<ReadEventsResponse>>;
pub(crate) type LineageCall = Call<GetLineageRequest, GetLineageResponse>;
pub(crate) type PublishStreamCall = Call<Streaming<PublishStreamRequest>, Out<PublishStreamResponse>>;

/// The calls that have come and were not looked at.
struct Calls<C>(mpsc::UnboundedReceiver<C>, VecDeque<C>);

impl<C> Calls<C> {
    async fn next(&mut self, what: &str) -> C {
        if let Some(call) = self.1.pop_front() {
            return call;
        }
        let came = timeout(Duration::from_secs(600), self.0.recv()).await;
        came.unwrap_or_else(|_| panic!("the client never called {what}")).expect("the service lives")
    }

    fn any(&mut self) -> bool {
        while let Ok(call) = self.0.try_recv() {
            self.1.push_back(call);
        }
        !self.1.is_empty()
    }
}

/// The test's end of the broker.
pub(crate) struct Fake {
    network: Arc<Mutex<Network>>,
    subscribes: Calls<SubscribeCall>,
    settles: Calls<SettleCall>,
    publishes: Calls<PublishCall>,
    streams: Calls<PublishStreamCall>,
    reads: Calls<ReadCall>,
    lineages: Calls<LineageCall>,
}

#[derive(Default)]
struct Network {
    down: bool,
    dials: Vec<Instant>,
    cables: Vec<AbortHandle>,
}

impl Fake {
    /// A broker, and a client that is not connected yet.
    pub(crate) fn start() -> (Self, Client) {
        Self::start_with(Client::builder())
    }

    pub(crate) fn start_with(builder: ClientBuilder) -> (Self, Client) {
        let (subscribe, subscribes) = mpsc::unbounded_channel();
        let (settle, settles) = mpsc::unbounded_channel();
        let (publish, publishes) = mpsc::unbounded_channel();
        let (stream, streams) = mpsc::unbounded_channel();
        let (read, reads) = mpsc::unbounded_channel();
        let (lineage, lineages) = mpsc::unbounded_channel();
        let (accept, accepted) = mpsc::unbounded_channel::<io::Result<DuplexStream>>();
        let service = AgentServiceServer::new(Service { subscribe, settle, publish, stream, read, lineage });
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(UnboundedReceiverStream::new(accepted)));

        let network = Arc::new(Mutex::new(Network::default()));
        let dialed = Arc::clone(&network);
        let connector = tower::service_fn(move |_| {
            let end = dialed.lock().unwrap().dial(&accept);
            async move { end.map(TokioIo::new) }
        });
        let channel = Endpoint::from_static("http://broker").connect_with_connector_lazy(connector);
        let fake = Self {
            network,
            subscribes: Calls(subscribes, VecDeque::new()),
            settles: Calls(settles, VecDeque::new()),
            publishes: Calls(publishes, VecDeque::new()),
            streams: Calls(streams, VecDeque::new()),
            reads: Calls(reads, VecDeque::new()),
            lineages: Calls(lineages, VecDeque::new()),
        };
        (fake, builder.over(channel).unwrap())
    }

    /// Cuts every connection. New ones can be made.
    pub(crate) fn cut(&self) {
        self.network.lock().unwrap().cables.drain(..).for_each(|cable| cable.abort());
    }

    /// Whether new connections are refused.
    pub(crate) fn set_down(&self, down: bool) {
        self.network.lock().unwrap().down = down;
    }

    /// When connections were attempted since the last look.
    pub(crate) fn dials(&self) -> Vec<Instant> {
        std::mem::take(&mut self.network.lock().unwrap().dials)
    }

    pub(crate) async fn subscribe(&mut self) -> SubscribeCall {
        self.subscribes.next("Subscribe").await
    }

    /// Takes the next Subscribe and opens its stream.
    pub(crate) async fn open(&mut self) -> Stream {
        self.subscribe().await.open(Opened::default())
    }

    pub(crate) async fn settle(&mut self) -> SettleCall {
        self.settles.next("Settle").await
    }

    pub(crate) fn settle_came(&mut self) -> bool {
        self.settles.any()
    }

    pub(crate) fn subscribe_came(&mut self) -> bool {
        self.subscribes.any()
    }

    pub(crate) async fn publish(&mut self) -> PublishCall {
        self.publishes.next("Publish").await
    }

    pub(crate) async fn publish_stream(&mut self) -> PublishStreamCall {
        self.streams.next("PublishStream").await
    }

    pub(crate) async fn read(&mut self) -> ReadCall {
        self.reads.next("ReadEvents").await
    }

    pub(crate) async fn lineage(&mut self) -> LineageCall {
        self.lineages.next("GetLineage").await
    }
}

impl Network {
    fn dial(&mut self, accept: &mpsc::UnboundedSender<io::Result<DuplexStream>>) -> io::Result<DuplexStream> {
        self.dials.push(Instant::now());
        if self.down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let (client, mut left) = duplex(1 << 20);
        let (mut right, server) = duplex(1 << 20);
        self.cables.push(tokio::spawn(async move { copy_bidirectional(&mut left, &mut right).await }).abort_handle());
        accept.send(Ok(server)).map_err(|_| io::Error::from(io::ErrorKind::ConnectionRefused))?;
        Ok(client)
    }
}

/// The broker's end of a subscribe stream.
pub(crate) struct Stream {
    pub(crate) request: SubscribeRequest,
    out: mpsc::UnboundedSender<Result<SubscribeResponse, Status>>,
}

impl SubscribeCall {
    /// Opens the stream. What `opened` leaves out is as the client asked, or the default.
    pub(crate) fn open(self, mut opened: Opened) -> Stream {
        let (out, stream) = mpsc::unbounded_channel();
        let Self { request, answer } = self;
        opened.session_id.clone_from(&request.session_id);
        opened.heartbeat_interval = opened.heartbeat_interval.or(request.heartbeat_interval);
        opened.server_time = Some(now());
        let spec = opened.spec.get_or_insert_with(|| request.spec.clone().unwrap());
        spec.ack_deadline.get_or_insert(prost_types::Duration { seconds: 30, nanos: 0 });
        let _gone = answer.send(Ok(Response::new(UnboundedReceiverStream::new(stream))));
        let stream = Stream { request, out };
        stream.send(Kind::Opened(opened));
        stream
    }
}

impl Stream {
    pub(crate) fn send(&self, kind: Kind) {
        let _gone = self.out.send(Ok(SubscribeResponse { response: Some(kind) }));
    }

    pub(crate) fn fail(&self, status: Status) {
        let _gone = self.out.send(Err(status));
    }

    /// Delivers an event with each of these tokens, leased for 30 s.
    pub(crate) fn deliver(&self, tokens: &[&str]) {
        self.deliver_events(tokens.iter().map(|token| (*token, Event::default())));
    }

    pub(crate) fn deliver_events<'a>(&self, events: impl IntoIterator<Item = (&'a str, Event)>) {
        let deliveries = events.into_iter().map(|(token, event)| Delivery {
            token: token.to_owned().into(),
            attempt: 1,
            lease_expires_at: Some(in_seconds(30)),
            event: Some(event),
            ..Delivery::default()
        });
        self.send(Kind::Deliveries(Deliveries { deliveries: deliveries.collect() }));
    }

    pub(crate) fn held(&self) -> Vec<String> {
        let mut held: Vec<_> = self.request.held_tokens.iter().map(|token| text(token)).collect();
        held.sort();
        held
    }

    /// Resolves when the client has gone.
    pub(crate) async fn closed(&self) {
        self.out.closed().await;
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.out.is_closed()
    }
}

impl SettleCall {
    /// What is asked, as `token action`, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.request.settlements.iter().map(|settlement| format!("{} {}", text(&settlement.token), name(settlement))).collect()
    }

    /// Answers each with this status; extensions with 30 s more.
    pub(crate) fn all(self, status: SettlementStatus) {
        let result = SettleResult { status: status.into(), lease_expires_at: Some(in_seconds(30)), ..Default::default() };
        let results = self.request.settlements.iter().map(|_| result.clone()).collect();
        self.answer(SettleResponse { results });
    }

    pub(crate) fn done(self) {
        self.all(SettlementStatus::Done);
    }

    pub(crate) fn one(self, result: SettleResult) {
        assert_eq!(self.request.settlements.len(), 1);
        self.answer(SettleResponse { results: vec![result] });
    }
}

impl PublishStreamCall {
    /// Sends these results; gives the requests.
    pub(crate) fn begin(self, results: Out<PublishStreamResponse>) -> Streaming<PublishStreamRequest> {
        let Self { request, answer } = self;
        let _gone = answer.send(Ok(Response::new(results)));
        request
    }
}

impl PublishCall {
    pub(crate) fn ids(&self) -> Vec<String> {
        self.request.items.iter().map(|item| item.event.as_ref().unwrap().id.clone()).collect()
    }

    pub(crate) fn accept(self) {
        let results = self.request.items.iter().map(|item| accepted(item, 7)).collect();
        self.answer(PublishResponse { results });
    }
}

pub(crate) fn accepted(item: &PublishItem, offset: u64) -> PublishResult {
    let id = item.event.as_ref().unwrap().id.clone();
    PublishResult { result: Some(PublishOutcome::Accepted(PublishAccepted { id, offset, duplicate: false })) }
}

/// A failed call with a reason, as a broker makes one.
pub(crate) fn status(code: Code, reason: ErrorReason) -> Status {
    let details = rpc::Status::default().with(&rpc::ErrorInfo::new(reason));
    Status::with_details(code, "as the test has it", details.encode_to_vec().into())
}

/// The time by this broker's clock, which began in the year 2001.
pub(crate) fn now() -> prost_types::Timestamp {
    in_seconds(0)
}

pub(crate) fn in_seconds(seconds: i64) -> prost_types::Timestamp {
    thread_local!(static BEGAN: Instant = Instant::now());
    let since = BEGAN.with(|began| began.elapsed());
    prost_types::Timestamp { seconds: 1_000_000_000 + since.as_secs() as i64 + seconds, nanos: since.subsec_nanos() as i32 }
}

fn text(token: &[u8]) -> String {
    String::from_utf8(token.to_vec()).unwrap()
}

fn name(settlement: &Settlement) -> &'static str {
    match settlement.action.as_ref().unwrap() {
        Action::Ack(_) => "ack",
        Action::Nack(_) => "nack",
        Action::Reject(_) => "reject",
        Action::Release(_) => "release",
        Action::Extend(_) => "extend",
    }
}

/// The server's side: it hands each call to the test.
struct Service {
    subscribe: mpsc::UnboundedSender<SubscribeCall>,
    settle: mpsc::UnboundedSender<SettleCall>,
    publish: mpsc::UnboundedSender<PublishCall>,
    stream: mpsc::UnboundedSender<PublishStreamCall>,
    read: mpsc::UnboundedSender<ReadCall>,
    lineage: mpsc::UnboundedSender<LineageCall>,
}

async fn hand_over<Q, A>(to: &mpsc::UnboundedSender<Call<Q, A>>, request: Request<Q>) -> Result<Response<A>, Status> {
    let (answer, answered) = oneshot::channel();
    let _test_over = to.send(Call { request: request.into_inner(), answer });
    answered.await.unwrap_or_else(|_| Err(Status::unavailable("the test dropped the call")))
}

#[async_trait]
impl AgentService for Service {
    type PublishStreamStream = Out<PublishStreamResponse>;
    type SubscribeStream = Out<SubscribeResponse>;
    type ReadEventsStream = Out<ReadEventsResponse>;

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishResponse>, Status> {
        hand_over(&self.publish, request).await
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        hand_over(&self.stream, request).await
    }

    async fn subscribe(&self, request: Request<SubscribeRequest>) -> Result<Response<Self::SubscribeStream>, Status> {
        hand_over(&self.subscribe, request).await
    }

    async fn settle(&self, request: Request<SettleRequest>) -> Result<Response<SettleResponse>, Status> {
        hand_over(&self.settle, request).await
    }

    async fn read_events(&self, request: Request<ReadEventsRequest>) -> Result<Response<Self::ReadEventsStream>, Status> {
        hand_over(&self.read, request).await
    }

    async fn get_lineage(&self, request: Request<GetLineageRequest>) -> Result<Response<GetLineageResponse>, Status> {
        hand_over(&self.lineage, request).await
    }
}
