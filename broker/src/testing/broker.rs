//! The broker of a test: its lives, its troubles, and what came of it.
//!
//! Constraint: it begins at one time and with one seed, and goes on with both after a crash.

use std::{path::Path, sync::Arc, time::Duration};

use tokio::time::sleep;
use tonic::{Request, Status, transport::Channel};
use waypost_proto::v1::{self, dead_letter_admin_service_server::DeadLetterAdminService};
use waypost_store::{EventStore, MemoryConfig, MemoryDisk, Offset, ReadLimits};

use super::{
    network::Listener,
    webhook::{self, Answer, PostError, Webhook},
};
use crate::{
    broker::{Broker, BrokerError, Settings},
    clock::Clock,
    config::{Problems, parse},
    dispatcher::Inspection,
    entropy::Entropy,
    error::Fault,
    grpc::{DeadLetterAdmin, admin_routes, agent_routes},
    ingress::{Edge, KeyRing, LiveSources, Replays},
    journal::Journal,
    limits,
    renewal::Renewals,
    schema::Schemas,
};

/// When every test begins: 2026-01-01T00:00:00Z.
const BEGINNING: u64 = 1_767_225_600_000_000;

/// Any number; it is the same in each run.
const SEED: u64 = 7;

/// How long a session that is out of order has for its farewell, when the broker restarts.
const GRACE: Duration = Duration::from_secs(10);

/// How often it is looked whether something has happened, at first; and at most.
const LOOKS: [Duration; 2] = [Duration::from_millis(1), Duration::from_secs(1)];

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration is wrong; every problem is named with its line.
    #[error(transparent)]
    Config(#[from] Problems),
    /// The store does not hold what a broker needs.
    #[error(transparent)]
    Broker(#[from] BrokerError),
}

/// Why the broker cannot tell how something stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the broker cannot tell: {0}")]
pub struct WatchError(String);

impl From<Status> for WatchError {
    fn from(status: Status) -> Self {
        Self(status.message().to_owned())
    }
}

impl From<Fault> for WatchError {
    fn from(fault: Fault) -> Self {
        Self(fault.message)
    }
}

/// A broker on a store in memory. It ends with its runtime.
///
/// Its clock is tokio's, and begins at 2026-01-01T00:00:00Z: with `#[tokio::test(start_paused = true)]` time passes only while every task
/// waits, at once, and as far as the next of them needs. What takes ten minutes is tested in milliseconds, and nothing is ever late.
///
/// Two things would stop a paused clock: work on another thread that a task does not await (an awaited
/// [`spawn_blocking`](tokio::task::spawn_blocking) is well), and sockets.
#[derive(Debug)]
pub struct TestBroker {
    disk: MemoryDisk,
    settings: Settings,
    schemas: Arc<Schemas>,
    sources: LiveSources,
    clock: Clock,
    entropy: Arc<Entropy>,
    agents: Listener,
    operators: Listener,
    broker: Arc<Broker>,
}

impl TestBroker {
    /// Starts one with the default configuration. Must be called inside a Tokio runtime.
    ///
    /// # Errors
    /// None that a caller could bring about.
    ///
    /// # Cancel safety
    /// Cancel safe: there is no broker.
    pub async fn start() -> Result<Self, StartError> {
        Self::with_config("").await
    }

    /// Starts one with a configuration as an operator writes it, in TOML: sources, limits, schemas. Listeners, certificates, tokens,
    /// the folder of the store and the collector of traces are read and not used. Relative paths start at the current folder, which cargo makes that of the package.
    ///
    /// # Errors
    /// When the configuration is wrong, with every problem in it: see [`StartError`].
    ///
    /// # Cancel safety
    /// Cancel safe: there is no broker.
    pub async fn with_config(toml: &str) -> Result<Self, StartError> {
        let setup = parse(toml, Path::new("waypost.toml"))?;
        let disk = MemoryDisk::new(MemoryConfig::default());
        let (clock, entropy) = (Clock::starting_at(BEGINNING), Arc::new(Entropy::seeded(SEED)));
        let (settings, schemas) = (Settings::of(&setup.config), Arc::new(setup.schemas));
        let sources = LiveSources::new(setup.sources);
        let broker = open(&disk, clock, &entropy, &schemas, &settings).await?;
        let (agents, operators) = (Listener::default(), Listener::default());
        let this = Self { disk, settings, schemas, sources, clock, entropy, agents, operators, broker };
        this.serve();
        Ok(this)
    }

    /// A channel for agents: `Client::over(broker.channel())`. It connects when it is first used, and again after each cut.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.agents.channel()
    }

    /// A channel for the administration: the clients of `waypost_proto::v1`, such as `SubscriptionAdminServiceClient`, take it, to pause
    /// or seek a subscription, to redrive dead letters, or to look at anything that an operator can.
    #[must_use]
    pub fn admin(&self) -> Channel {
        self.operators.channel()
    }

    /// Posts a webhook to a source of the configuration, signed as its provider would: a body, or a [`Webhook`]. Sources with
    /// `verify = "none"` get it unsigned.
    ///
    /// # Errors
    /// When there is no such source, or the webhook cannot be signed, for it lacks what its scheme signs, or only the provider has the
    /// key: see [`PostError`]. A refusal is an [`Answer`].
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it resolves, the event may be stored or not.
    pub async fn post(&self, source: &str, webhook: impl Into<Webhook>) -> Result<Answer, PostError> {
        let Self { clock, entropy, sources, .. } = self;
        let store = Arc::clone(&self.broker.store);
        let tracer = self.settings.tracer.clone();
        let (entropy, replays) = (Arc::clone(entropy), Arc::new(Replays::new(entropy)));
        let (sources, keys, journal) = (sources.clone(), KeyRing::default(), Journal::off());
        let edge = Edge { store, clock: *clock, entropy, sources, keys, replays, tracer, journal, renewals: Renewals::default() };
        webhook::post(edge, source, webhook.into()).await
    }

    /// The dead letters of a subscription, newest first. What led to one stands in its `detail`.
    ///
    /// # Errors
    /// When the broker has crashed, and did not start again.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn dead_letters(&self, subscription: &str) -> Result<Vec<v1::DeadLetter>, WatchError> {
        let admin = DeadLetterAdmin::new(Arc::clone(&self.broker));
        let mut found = Vec::new();
        let mut page_token = String::new();
        loop {
            let request = v1::ListDeadLettersRequest { subscription: subscription.to_owned(), page_token, ..Default::default() };
            let page = admin.list_dead_letters(Request::new(request)).await?.into_inner();
            found.extend(page.dead_letters);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return Ok(found);
            }
        }
    }

    /// Waits until a subscription is there and has nothing left to do: each event that it wants is settled, or a dead letter. Backoffs
    /// are waited out, which takes no time when it is paused. Without an agent that settles it waits for ever; set a timeout around it.
    ///
    /// # Errors
    /// When the state of the subscription cannot be read.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn settled(&self, subscription: &str) -> Result<(), WatchError> {
        let [mut wait, longest] = LOOKS;
        while !self.is_settled(subscription).await? {
            sleep(wait).await;
            wait = (wait * 2).min(longest);
        }
        Ok(())
    }

    async fn is_settled(&self, subscription: &str) -> Result<bool, WatchError> {
        let Some(handle) = self.broker.registry.get(subscription) else { return Ok(false) };
        let inspection = handle.inspect(self.broker.registry.shared()).await?;
        Ok(inspection.status.unsettled == 0 && !self.is_wanted_ahead(&inspection).await?)
    }

    /// Whether anything lies ahead of a subscription that it wants: where it stands says nothing, since it sleeps until something matches.
    async fn is_wanted_ahead(&self, inspection: &Inspection) -> Result<bool, WatchError> {
        let store = &self.broker.store;
        let end = *store.tail().borrow();
        let mut from = inspection.status.frontier;
        while from < end {
            let batch = store.read(from, &waypost_store::Selection::All, AHEAD).await.map_err(Fault::from)?;
            let wants = |offset: Offset, event| {
                let in_force = inspection.filters.iter().rev().find(|(from, _)| *from <= offset);
                in_force.is_some_and(|(_, filter)| filter.matches(event))
            };
            if batch.events.iter().any(|event| wants(event.offset, event)) {
                return Ok(true);
            }
            from = batch.next;
        }
        Ok(false)
    }

    /// Breaks every connection, as a network does. Agents connect again at once.
    pub fn cut(&self) {
        self.agents.cut();
        self.operators.cut();
    }

    /// Whether the broker can be reached. While it cannot, every connection is broken and each new one is refused.
    pub fn set_reachable(&self, reachable: bool) {
        self.agents.set_reachable(reachable);
        self.operators.set_reachable(reachable);
    }

    /// Restarts the broker in order, as a deploy does: agents are told, have 10 s to settle what they hold, and connect again.
    ///
    /// # Errors
    /// None that a caller could bring about.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it resolves, the broker may be gone.
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.broker.drain(GRACE).await;
        self.begin_again().await
    }

    /// Kills the broker in the middle of things and starts it again. What was durable is there; what no answer had come for may be lost.
    ///
    /// # Errors
    /// None that a caller could bring about.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped before it resolves, the broker may be gone.
    pub async fn crash(&mut self) -> Result<(), StartError> {
        self.disk.crash(0);
        self.broker.stopping().cancel();
        self.begin_again().await
    }

    async fn begin_again(&mut self) -> Result<(), StartError> {
        self.agents.close();
        self.operators.close();
        self.broker = open(&self.disk, self.clock, &self.entropy, &self.schemas, &self.settings).await?;
        self.serve();
        Ok(())
    }

    fn serve(&self) {
        self.agents.serve(agent_routes(&self.broker));
        self.operators.serve(admin_routes(&self.broker, self.sources.clone()));
    }
}

/// How much is looked at in one step.
const AHEAD: ReadLimits = ReadLimits { events: 1_000, bytes: limits::MAX_REQUEST_BYTES };

async fn open(
    disk: &MemoryDisk,
    clock: Clock,
    entropy: &Arc<Entropy>,
    schemas: &Arc<Schemas>,
    settings: &Settings,
) -> Result<Arc<Broker>, BrokerError> {
    let store: Arc<dyn EventStore> = Arc::new(disk.open());
    Broker::open(store, clock, Arc::clone(entropy), Arc::clone(schemas), settings.clone()).await
}
