//! One life of the broker: from its start on a disk to its crash or its drain.
//!
//! Constraint: a life is a runtime of its own. Dropping the runtime is the crash: every task ends where it waits, and nothing but the
//! disk remains.

use std::{
    collections::BTreeSet,
    sync::{Arc, OnceLock},
    time::Duration,
};

use waypost_broker::{
    broker::{Broker, Settings},
    clock::Clock,
    entropy::Entropy,
    grpc,
    publisher::PublishRules,
    registry::RegistryLimits,
    retention::RetentionRules,
    schema::Schemas,
    spec::DeliverySettings,
    token::TokenKey,
    trace::Tracer,
};
use waypost_store::{
    EventStore, MemoryConfig, MemoryDisk, ReadLimits, Selection, Table,
    testing::{Faults, FaultyStore},
};

use crate::{
    ledger::{SharedLedger, lock},
    witness::Witness,
};

/// How long an id is remembered, in microseconds.
pub(crate) const WINDOW: u64 = 20_000_000;
/// How long the leases of a broken stream wait.
pub(crate) const GRACE: Duration = Duration::from_millis(300);
/// The most unsettled events of a subscription.
pub(crate) const MAX_UNSETTLED: u32 = 24;
/// What the store takes in all, and what of it is not for publishers: so little that a pause or an absence fills it.
pub(crate) const CAP: u64 = 1536 * 1024;
pub(crate) const RESERVE: u64 = 256 * 1024;
/// How long settled events are kept, in microseconds.
pub(crate) const SETTLED: u64 = 15_000_000;
/// How long dead letters are kept, in microseconds.
pub(crate) const DEAD_LETTERS: u64 = 45_000_000;

pub(crate) fn disk(defect: Option<waypost_store::testing::Defect>) -> MemoryDisk {
    MemoryDisk::new(MemoryConfig {
        cap: CAP,
        reserve: RESERVE,
        segment_bytes: 8 * 1024,
        sync_delay: Duration::from_millis(3),
        sparse: true,
        defect,
        ..MemoryConfig::default()
    })
}

fn settings() -> Settings {
    Settings {
        publish: PublishRules { reserved_sources: BTreeSet::from(["hooks".to_owned()]), max_hops: 32, dedup_window: WINDOW },
        delivery: DeliverySettings { resume_grace: GRACE, max_unsettled: MAX_UNSETTLED },
        registry: RegistryLimits { max_subscriptions: 100, max_sessions: 100 },
        retention: RetentionRules {
            settled: Duration::from_micros(SETTLED),
            dead_letters: Duration::from_micros(DEAD_LETTERS),
            quarantine: Duration::from_secs(3_600),
            interval: Duration::from_secs(1),
        },
        tracer: Tracer::off(),
        journal: waypost_broker::journal::Journal::off(),
    }
}

/// Compiled once: nothing of a run depends on it.
fn schemas() -> Arc<Schemas> {
    static SCHEMAS: OnceLock<Arc<Schemas>> = OnceLock::new();
    Arc::clone(SCHEMAS.get_or_init(|| Arc::new(Schemas::built_in().expect("the types of this build"))))
}

/// The services, as their callers reach them.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) broker: Arc<Broker>,
    pub(crate) agents: Arc<grpc::Agent>,
    pub(crate) subscriptions: Arc<grpc::SubscriptionAdmin>,
    pub(crate) dead_letters: Arc<grpc::DeadLetterAdmin>,
    pub(crate) clock: Clock,
}

impl Life {
    /// Opens what is on the disk, looks whether all is there, and starts the broker, as often as it takes.
    pub(crate) async fn start(disk: &MemoryDisk, faults: &Faults, ledger: &SharedLedger, key: &TokenKey, now: u64, entropy: u64) -> Self {
        let clock = Clock::starting_at(now);
        let store = Arc::new(disk.open());
        lock(ledger).clock = Some(clock);
        inspect(&*store, ledger).await;
        let witness = Arc::new(Witness::new(store, Arc::clone(ledger)));
        let store: Arc<dyn EventStore> = Arc::new(FaultyStore::new(witness, faults.clone()));
        let entropy = Arc::new(Entropy::seeded(entropy));
        let broker = loop {
            let (store, entropy) = (Arc::clone(&store), Arc::clone(&entropy));
            match Broker::open_with_key(store, clock, entropy, schemas(), settings(), key.clone()).await {
                Ok(broker) => break broker,
                // What an operator's supervisor does.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        };
        Self {
            agents: Arc::new(grpc::Agent::new(Arc::clone(&broker))),
            subscriptions: Arc::new(grpc::SubscriptionAdmin::new(Arc::clone(&broker))),
            dead_letters: Arc::new(grpc::DeadLetterAdmin::new(Arc::clone(&broker))),
            broker,
            clock,
        }
    }
}

/// P1, P5: everything that was answered is on the disk.
async fn inspect(store: &dyn EventStore, ledger: &SharedLedger) {
    let everything = ReadLimits { events: usize::MAX, bytes: usize::MAX };
    let log = store.read(1, &Selection::All, everything).await.expect("a store that was just opened");
    let dead = store.scan(Table::DeadLetters, &[], usize::MAX).await.expect("a store that was just opened");
    let names = store.scan(Table::Subscriptions, &[], usize::MAX).await.expect("a store that was just opened");
    lock(ledger).reopened(log.events, &dead, &names);
}
