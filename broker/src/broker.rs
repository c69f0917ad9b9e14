//! The broker without its sockets: what the edge and the gRPC services share.
//!
//! Constraints: it runs over any store, clock and entropy, so that a simulation can run it; opening it starts one task, the tail hub, and one
//! for retention; draining ends all of them.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use waypost_store::{Commit, CommitError, EventStore, ReadError, Row, RowChange, Table};

use crate::{
    clock::Clock,
    config::Config,
    dispatcher::Shared,
    entropy::{self, Entropy, NoEntropy},
    ingress::Mending,
    journal::Journal,
    publisher::{PublishRules, Publisher},
    registry::{OpenError, Registry, RegistryLimits, TailHub},
    retention::{self, RetentionRules},
    schema::Schemas,
    spec::DeliverySettings,
    token::TokenKey,
    trace::Tracer,
};

/// What an operator sets, as far as the broker itself is concerned.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What publishers may do.
    pub publish: PublishRules,
    /// What all subscriptions have in common.
    pub delivery: DeliverySettings,
    /// How many subscriptions and sessions there may be.
    pub registry: RegistryLimits,
    /// How long things are kept.
    pub retention: RetentionRules,
    /// Where spans go. Who starts the broker runs what sends them.
    pub tracer: Tracer,
    /// Where requests are noted. Who starts the broker runs what writes it.
    pub journal: Journal,
}

impl Settings {
    /// From the configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        Self {
            publish: PublishRules {
                reserved_sources: config.sources.keys().cloned().collect(),
                max_hops: config.limits.max_hops,
                dedup_window: config.store.dedup_window.micros(),
            },
            delivery: config.delivery.settings(),
            registry: RegistryLimits {
                max_subscriptions: config.limits.max_subscriptions,
                max_sessions: config.limits.max_sessions_per_subscription,
            },
            retention: RetentionRules {
                settled: config.retention.settled.get(),
                dead_letters: config.retention.dead_letters.get(),
                quarantine: config.retention.quarantine.get(),
                interval: config.retention.interval.get(),
            },
            tracer: Tracer::off(),
            journal: Journal::off(),
        }
    }
}

/// Why a broker could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The subscriptions could not be read.
    #[error(transparent)]
    Subscriptions(#[from] OpenError),
    /// The key of the tokens could not be read.
    #[error("the key of delivery tokens cannot be read: {0}")]
    ReadKey(#[from] ReadError),
    /// The key of the tokens could not be kept.
    #[error("the key of delivery tokens cannot be kept: {0}")]
    KeepKey(#[from] CommitError),
    /// The operating system has no random numbers.
    #[error("no random numbers for the key of delivery tokens: {0}")]
    Random(#[from] NoEntropy),
}

/// What the edge and the services share.
pub struct Broker {
    /// What remembers.
    pub store: Arc<dyn EventStore>,
    /// The time.
    pub clock: Clock,
    /// Random numbers.
    pub entropy: Arc<Entropy>,
    /// Makes and checks delivery tokens.
    pub tokens: TokenKey,
    /// Makes events durable.
    pub publisher: Arc<Publisher>,
    /// Every subscription.
    pub registry: Arc<Registry>,
    /// The registered types.
    pub schemas: Arc<Schemas>,
    /// How long things are kept.
    pub retention: RetentionRules,
    /// Where requests to the edge are noted.
    pub journal: Journal,
    /// What quarantined webhooks are retried with.
    pub mending: Arc<Mending>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Broker")
    }
}

impl Broker {
    /// Opens a broker on a store.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn open(
        store: Arc<dyn EventStore>,
        clock: Clock,
        entropy: Arc<Entropy>,
        schemas: Arc<Schemas>,
        settings: Settings,
    ) -> Result<Arc<Self>, BrokerError> {
        let tokens = TokenKey::new(&token_key(&*store, &clock).await?);
        Self::open_with_key(store, clock, entropy, schemas, settings, tokens).await
    }

    /// The same with a given key, so that a simulated history replays exactly.
    ///
    /// # Errors
    /// See [`BrokerError`].
    pub async fn open_with_key(
        store: Arc<dyn EventStore>,
        clock: Clock,
        entropy: Arc<Entropy>,
        schemas: Arc<Schemas>,
        settings: Settings,
        tokens: TokenKey,
    ) -> Result<Arc<Self>, BrokerError> {
        let publisher = Arc::new(Publisher::new(
            Arc::clone(&store),
            clock,
            Arc::clone(&entropy),
            tokens.clone(),
            Arc::clone(&schemas),
            settings.publish,
            settings.tracer,
        ));
        let hub = TailHub::new();
        let shared = Shared::new(Arc::clone(&store), clock, tokens.clone(), Arc::clone(&publisher), Arc::clone(&hub), settings.delivery);
        let registry = Arc::new(Registry::open(shared, Arc::clone(&entropy), settings.registry).await?);
        let broker = Arc::new(Self {
            store,
            clock,
            entropy,
            tokens,
            publisher,
            registry,
            schemas,
            retention: settings.retention,
            journal: settings.journal,
            mending: Arc::default(),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        });
        let (store, stop) = (Arc::clone(&broker.store), broker.stop.clone());
        broker.tasks.spawn(async move { hub.run(store, stop).await });
        broker.tasks.spawn(retention::run(
            Arc::clone(&broker.registry),
            Arc::clone(&broker.publisher),
            settings.retention,
            Arc::clone(&broker.mending),
            broker.stop.clone(),
        ));
        Ok(broker)
    }

    /// Runs something until it ends by itself, or by [`stopping`](Self::stopping).
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Cancelled when the broker ends.
    #[must_use]
    pub fn stopping(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Tells the agents, lets them settle for the grace, gives back what they still hold, and ends every task.
    pub async fn drain(&self, grace: Duration) {
        self.registry.drain(grace).await;
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// The name of the key's row.
const TOKEN_KEY: &[u8] = b"token-key";

/// What a copy of the store must not have: with the key, a delivery of the original could settle another event of the copy, since both
/// give the same offsets out from then on.
#[must_use]
pub fn not_to_be_copied() -> RowChange {
    RowChange::Delete(Table::Broker, Bytes::from_static(TOKEN_KEY))
}

/// The key of the tokens: made once, and kept, so that tokens outlive a restart.
async fn token_key(store: &dyn EventStore, clock: &Clock) -> Result<[u8; 16], BrokerError> {
    let rows = store.scan(Table::Broker, TOKEN_KEY, 1).await?;
    let kept = rows.first().filter(|row| row.key == TOKEN_KEY).and_then(|row| row.value[..].try_into().ok());
    if let Some(key) = kept {
        return Ok(key);
    }
    let fresh = entropy::key()?;
    let key = *fresh.first_chunk().unwrap_or(&[0; 16]);
    let row = Row { key: Bytes::from_static(TOKEN_KEY), value: Bytes::copy_from_slice(&key) };
    store.commit(clock.now(), Commit { rows: vec![RowChange::Put(Table::Broker, row)], ..Commit::default() }).await?;
    Ok(key)
}
