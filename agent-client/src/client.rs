//! The client: what all subscriptions, publishers and readers of a process share.
//!
//! Constraints: connecting is lazy and goes on for ever, so an agent may start before its broker; streams that either side
//! may hold back have connections of their own, so that they never hold up deliveries and settlements.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};

use crate::limits::FOREVER;
use crate::lineage::{Lineage, LineageError, Story};
use crate::observe::{Observer, Watch};
use crate::publish::{self, PublishError, Published, Publisher, PublisherBuilder};
use crate::read::ReadBuilder;
use crate::rpc::{self, InvalidToken, Rpc, Token};
use crate::settle::Settler;
use crate::subscription::SubscribeBuilder;
use crate::tls::{Tls, TlsError};
use waypost_proto::v1::PublishItem;

/// A client of one broker. Cheap to clone; all clones share the connections.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    /// Subscribe, Settle and the unary calls.
    control: Rpc,
    /// Publish streams, which the broker may hold back.
    publish: Rpc,
    /// Read streams, which the reader may hold back.
    read: Rpc,
    settler: Settler,
    agent: String,
    call_deadline: Duration,
    watch: Watch,
}

/// Why there is no client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The address is none.
    #[error("{address:?} is no address of a broker ({problem}); it looks like http://127.0.0.1:8481")]
    InvalidAddress {
        /// As given.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The token is none.
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
    /// What TLS needs is not there, or of no use.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no Tokio runtime.
    #[error("a client needs a Tokio runtime; call this inside #[tokio::main] or Runtime::enter")]
    NoRuntime,
}

/// Settings of a client.
#[derive(Debug, Clone)]
#[must_use = "nothing happens until it is connected"]
pub struct ClientBuilder {
    agent: String,
    call_deadline: Duration,
    token: Option<Token>,
    tls: Tls,
    watch: Watch,
}

impl Client {
    /// A client of the broker at this address, with the default settings. It connects when it is first used, and goes on
    /// trying for ever; what needs an answer has a deadline.
    ///
    /// # Errors
    ///
    /// When the address cannot be one, or outside of a Tokio runtime.
    pub fn connect(address: impl Into<String>) -> Result<Self, ConnectError> {
        Self::builder().connect(address)
    }

    /// A client over a channel that was set up elsewhere, with the default settings: see [`ClientBuilder::over`].
    ///
    /// # Errors
    ///
    /// Outside of a Tokio runtime.
    pub fn over(channel: Channel) -> Result<Self, ConnectError> {
        Self::builder().over(channel)
    }

    /// Settings for a client.
    pub fn builder() -> ClientBuilder {
        let agent = format!("agent-client/{}", env!("CARGO_PKG_VERSION"));
        ClientBuilder { agent, call_deadline: Duration::from_secs(30), token: None, tls: Tls::new(), watch: Watch::default() }
    }

    /// A subscription by this name: 1 to 128 of `a-z`, `A-Z`, `0-9`, `.`, `_`, `-`. Empty: an ephemeral one, which lives
    /// as long as its session.
    pub fn subscribe(&self, subscription: impl Into<String>) -> SubscribeBuilder {
        SubscribeBuilder::new(self.clone(), subscription.into())
    }

    /// Publishes an event (an [`Event`](waypost_proto::v1::Event), or what [`Delivery::causes`](crate::Delivery::causes)
    /// makes of one), and resolves when it is durable. An event without an id gets one before the first try, so that
    /// trying again never stores it twice.
    ///
    /// # Errors
    ///
    /// When the broker refuses it, or does not answer within the call deadline: see [`PublishError`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped before it resolves, the event may be stored or not, and is not sent again. Set an id to publish
    /// it again.
    pub async fn publish(&self, item: impl Into<PublishItem>) -> Result<Published, PublishError> {
        let mut results = self.publish_batch([item]).await;
        results.pop().unwrap_or(Err(PublishError::Closed))
    }

    /// Publishes events in this order, as for [`publish`](Self::publish), with a result for each, in the order of the events. It is
    /// no transaction.
    ///
    /// # Errors
    ///
    /// Each event has its own, as for [`publish`](Self::publish).
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped before it resolves, any of the events may be stored or not.
    pub async fn publish_batch<I>(&self, items: I) -> Vec<Result<Published, PublishError>>
    where
        I: IntoIterator,
        I::Item: Into<PublishItem>,
    {
        let items = items.into_iter().map(Into::into).collect();
        publish::batch(self.inner.control.clone(), items, self.inner.call_deadline, &self.inner.watch).await
    }

    /// The fast way to publish many events: without waiting for one before the next.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn publisher(&self) -> Publisher {
        self.publisher_builder().start()
    }

    /// Settings for a [`publisher`](Self::publisher).
    pub fn publisher_builder(&self) -> PublisherBuilder {
        PublisherBuilder::new(self.inner.publish.clone(), self.inner.watch.clone())
    }

    /// Reads the log, from the earliest event to the last unless told otherwise, without touching any subscription.
    pub fn read(&self) -> ReadBuilder {
        ReadBuilder::new(self.inner.read.clone())
    }

    /// The events of one story, and who did what with them.
    ///
    /// # Errors
    ///
    /// When there is no such story, or the broker does not answer within the call deadline: see [`LineageError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    pub async fn lineage(&self, story: Story) -> Result<Lineage, LineageError> {
        crate::lineage::get(self.inner.control.clone(), story, self.inner.call_deadline).await
    }

    pub(crate) fn control(&self) -> Rpc {
        self.inner.control.clone()
    }

    pub(crate) fn settler(&self) -> Settler {
        self.inner.settler.clone()
    }

    pub(crate) fn watch(&self) -> Watch {
        self.inner.watch.clone()
    }

    pub(crate) fn agent(&self) -> &str {
        &self.inner.agent
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("agent", &self.inner.agent).finish_non_exhaustive()
    }
}

impl ClientBuilder {
    /// Names the agent and its version to operators, for example `route-planner/1.4`.
    pub fn agent(mut self, name: impl Into<String>) -> Self {
        self.agent = name.into();
        self
    }

    /// How long publishing and look-ups are tried before they fail. Default: 30 s. Subscriptions have no such end.
    pub fn call_deadline(mut self, deadline: Duration) -> Self {
        self.call_deadline = deadline.min(FOREVER);
        self
    }

    /// The token by which the broker knows this agent, as `waypost token create` printed it. It goes with every call, and
    /// into no log. Where the connection is not `https://`, whoever is on the way can read it.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(Token::new(token.into()));
        self
    }

    /// Who is told what happens, for metrics. Default: nobody.
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.watch = Watch::new(observer);
        self
    }

    /// Whom to trust, and how to show oneself, when the address is `https://`.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = tls;
        self
    }

    /// A client of the broker at this address: `http://`, or `https://` with the authorities that [`tls`](Self::tls) names.
    ///
    /// # Errors
    ///
    /// When the address or the token cannot be one, when a file of [`Tls`] cannot be used, or outside of a Tokio runtime.
    pub fn connect(self, address: impl Into<String>) -> Result<Client, ConnectError> {
        let endpoint = endpoint(address.into(), &self.tls)?;
        in_runtime()?;
        self.build([endpoint.connect_lazy(), endpoint.connect_lazy(), endpoint.connect_lazy()])
    }

    /// A client over a channel that was set up elsewhere: for other transports, and for [tests](crate#testing-your-agent).
    /// The channel must connect again by itself.
    ///
    /// # Errors
    ///
    /// When the token cannot be one, or outside of a Tokio runtime.
    pub fn over(self, channel: Channel) -> Result<Client, ConnectError> {
        in_runtime()?;
        self.build([channel.clone(), channel.clone(), channel])
    }

    fn build(self, channels: [Channel; 3]) -> Result<Client, ConnectError> {
        let bearer = rpc::bearer(self.token.clone())?;
        let [control, publish, read] = channels.map(|channel| rpc::over(channel, bearer.clone()));
        let settler = Settler::start(control.clone());
        let Self { agent, call_deadline, watch, .. } = self;
        Ok(Client { inner: Arc::new(Inner { control, publish, read, settler, agent, call_deadline, watch }) })
    }
}

fn in_runtime() -> Result<(), ConnectError> {
    Handle::try_current().map(drop).map_err(|_| ConnectError::NoRuntime)
}

fn endpoint(address: String, tls: &Tls) -> Result<Endpoint, ConnectError> {
    let invalid = |problem: String| ConnectError::InvalidAddress { address: address.clone(), problem };
    let mut endpoint = Endpoint::from_shared(address.clone()).map_err(|error| invalid(error.to_string()))?;
    match endpoint.uri().scheme_str() {
        Some("http") => {}
        Some("https") => endpoint = tls.secure(endpoint)?,
        _ => return Err(invalid("it begins with neither http:// nor https://".to_owned())),
    }
    Ok(endpoint
        .connect_timeout(Duration::from_secs(5))
        .tcp_nodelay(true)
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        // What a session may hold must fit, or the broker waits for the network while there is room.
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(32 << 20)
        .max_frame_size(1 << 20))
}
