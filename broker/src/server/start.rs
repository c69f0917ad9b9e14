//! From a configuration and a store to a broker with routes.
//!
//! Constraint: what each listener serves is said here, and nowhere else.

use std::sync::Arc;

use tonic_health::pb::health_server;
use tonic_reflection::pb::v1::server_reflection_server;
use waypost_proto::FILE_DESCRIPTOR_SET;
use waypost_store::EventStore;

use super::{RenewedSecrets, Routes};
use crate::{
    access::guard::guarded,
    broker::{Broker, BrokerError, Settings},
    clock::Clock,
    config::Setup,
    entropy::{Entropy, NoEntropy},
    grpc,
    ingress::{
        self, Edge, Fetcher, KeyRing, LiveSources, Replays,
        poll::{self, Poller},
    },
    journal::Journal,
    metrics::{self, Exposition, Histogram},
    page::{self, Pages},
    renewal::{Renew, Renewals},
    trace::Tracer,
};

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// What the store remembers of it could not be read.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The program's own descriptors are broken.
    #[error("reflection cannot be served: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The operating system has no random numbers.
    #[error("no random numbers for the page in the browser: {0}")]
    Random(#[from] NoEntropy),
}

/// A broker that was opened, and what it is served and changed with.
#[derive(Debug)]
pub struct Opened {
    /// The broker.
    pub broker: Arc<Broker>,
    /// What each listener serves.
    pub routes: Routes,
    /// The secrets of its sources.
    pub secrets: Arc<RenewedSecrets>,
}

/// Opens a broker on a store, and says what each listener serves. `syncs` is where the store notes how long its disk takes.
///
/// # Errors
/// [`StartError`].
pub async fn start(mut setup: Setup, store: Arc<dyn EventStore>, syncs: Arc<Histogram>) -> Result<Opened, StartError> {
    let (sources, schemas) = (LiveSources::new(std::mem::take(&mut setup.sources)), Arc::new(setup.schemas.clone()));
    let secrets = Arc::new(RenewedSecrets::new(&setup, Arc::clone(&schemas), sources.clone()));
    let Setup { config, authority, collector, certificates, connections, .. } = setup;
    let (clock, entropy) = (Clock::from_wall(), Arc::new(Entropy::from_os()));
    let (tracer, export) = collector.map(|collector| Tracer::to(collector, clock)).unzip();
    let tracer = tracer.unwrap_or_default();
    let (journal, writer) = config.journal.rules(&config.store).map(|rules| Journal::new(rules, sources.clone(), clock)).unzip();
    let journal = journal.unwrap_or_default();
    let settings = Settings { tracer: tracer.clone(), journal: journal.clone(), ..Settings::of(&config) };
    let broker = Broker::open(Arc::clone(&store), clock, Arc::clone(&entropy), schemas, settings).await?;
    if let Some(export) = export {
        broker.spawn(export.run(broker.stopping()));
    }
    if let Some(writer) = writer {
        broker.spawn(writer.run(broker.stopping()));
    }
    let agents = grpc::agent_routes(&broker).add_service(reflection(&grpc::AGENT_SERVICES)?).into_axum_router();
    let admin = grpc::admin_routes(&broker, sources.clone()).add_service(reflection(&grpc::ADMIN_SERVICES)?).into_axum_router();
    let figures = Exposition { broker: Arc::clone(&broker), sources: sources.clone(), syncs, connections, certificates };
    let admin = admin.merge(metrics::router(figures));
    let page = page::router(Pages::new(&broker, sources.clone(), authority.clone())?);
    let (published, interval) = (Arc::clone(&broker.publisher), broker.retention.interval);
    broker.spawn(ingress::watch(sources.clone(), Arc::clone(&store), clock, published, interval, broker.stopping()));
    let replays = Arc::new(Replays::new(&entropy));
    broker.spawn(recall(Arc::clone(&replays), sources.clone(), Arc::clone(&store), clock.now()));
    let poller = Poller::new(Arc::clone(&store), clock, Arc::clone(&entropy), Fetcher::new());
    broker.spawn(poll::run(poller, sources.clone(), broker.stopping()));
    let (keys, renewals) = (KeyRing::default(), Renewals::from_iter([Arc::clone(&secrets) as Arc<dyn Renew>]));
    let edge = ingress::router(Edge { store, clock, entropy, sources, keys, replays, tracer, journal, renewals });
    // Everything that is served there, whatever it is, is behind the guard; the page has a door of its own, with the same lock.
    let (agents, admin) = (guarded(agents, authority.clone()), guarded(admin, authority).merge(page));
    Ok(Opened { broker, routes: Routes { edge, agents, admin }, secrets })
}

/// What came before the start, for the edge to recognise when it comes again.
async fn recall(replays: Arc<Replays>, sources: LiveSources, store: Arc<dyn EventStore>, now: u64) {
    if let Err(error) = replays.recall(&sources.current(), &*store, now).await {
        tracing::warn!(%error, "the newest webhooks could not be read: one of them that comes again under another id is not recognised");
    }
}

/// Lists these services beside health and itself: what the listener serves, and no more.
fn reflection(
    services: &[&str],
) -> Result<
    tonic_reflection::server::v1::ServerReflectionServer<impl tonic_reflection::server::v1::ServerReflection>,
    tonic_reflection::server::Error,
> {
    let builder = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let everywhere = [health_server::SERVICE_NAME, server_reflection_server::SERVICE_NAME];
    services.iter().chain(&everywhere).fold(builder, |builder, name| builder.with_service_name(*name)).build_v1()
}
