//! `waypost serve`: the broker, from the first socket to the last flush.
//!
//! Constraints: sockets are bound before the store is touched, so that a port in use costs nothing; what is wrong is told before anything is
//! served; what was answered is durable, so that ending at once loses nothing.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::statvfs;
use tokio_util::sync::CancellationToken;
use waypost_store::{DiskState, EmbeddedOptions, EmbeddedStore, EventStore, MemoryConfig, MemoryStore, ObserveSyncs};

use super::{args::ConfigArgs, check, failure::Failure, output};
use crate::{
    config::{Config, Engine, Setup, Size},
    metrics::Histogram,
    renewal::{Renew, Renewals},
    server::{self, Addresses, Health, Listeners, Opened, Readiness, Reloader, descriptors, signals},
    telemetry,
};

/// Serves until a signal, then drains.
///
/// # Errors
/// When the configuration is wrong, a port is in use, or the store cannot be opened.
pub fn run(args: &ConfigArgs) -> Result<(), Failure> {
    let setup = check::load(args)?;
    telemetry::start(&setup.config.log).map_err(|error| Failure::Config(error.to_string()))?;
    descriptors::raise(setup.connections.all().map(|listener| u64::from(listener.max())).iter().sum());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let served = runtime.block_on(serve(setup, args.config.clone()));
    // Reads of a disk that hangs must not keep the process: they change nothing.
    runtime.shutdown_timeout(Duration::from_secs(1));
    served
}

async fn serve(setup: Setup, file: Option<PathBuf>) -> Result<(), Failure> {
    let stop = CancellationToken::new();
    let deaf = |error| Failure::Failed(format!("signals cannot be received: {error}"));
    signals::drain_on_signal(stop.clone()).map_err(deaf)?;
    let hangups = signals::hangups().map_err(deaf)?;
    let listeners = Listeners::bind(&setup).await.map_err(Failure::failed)?;
    let addresses = listeners.addresses();
    let health = Health::starting();
    health.set(Readiness::Starting).await;
    let running = listeners.serve(&health);
    let renewals = setup.renewals();
    tokio::spawn(renewals.clone().run(stop.clone()));

    let syncs = Arc::new(Histogram::default());
    let store = open_store(&setup.config, &syncs).await?;
    let started = Started { setup: &setup, addresses, disk: store.disk() }.to_string();
    let grace = setup.config.agents.drain_grace.get();
    let Opened { broker, routes, secrets } = server::start(setup, Arc::clone(&store), syncs).await.map_err(Failure::failed)?;
    let reloader = Reloader::new(file, Arc::clone(&broker), Arc::clone(&secrets), renewals).map_err(Failure::failed)?;
    // By itself: a program that hangs must not hold up certificates and tokens.
    tokio::spawn(Renewals::from_iter([secrets as Arc<dyn Renew>]).run(stop.clone()));
    let reloading = tokio::spawn(signals::reload_on(hangups, reloader, stop.clone()));
    running.fill(routes);
    health.set(Readiness::Ready).await;
    output::line(started);

    stop.cancelled().await;
    health.set(Readiness::Draining).await;
    running.stop(broker.drain(grace)).await;
    // It holds the broker, and through it the store.
    reloading.await.map_err(Failure::failed)?;
    // Closing the store waits for what it still writes.
    drop(broker);
    tokio::task::spawn_blocking(|| drop(store)).await.map_err(Failure::failed)
}

async fn open_store(config: &Config, syncs: &Arc<Histogram>) -> Result<Arc<dyn EventStore>, Failure> {
    let store = &config.store;
    if store.engine == Engine::Memory {
        return Ok(Arc::new(MemoryStore::open(MemoryConfig::default())));
    }
    let cap = store.cap(disk_size(&store.data_dir)?);
    let options = EmbeddedOptions {
        reserve: store.reserve_of(cap),
        segment_bytes: store.segment_size.bytes(),
        dedup_ids: usize::try_from(store.dedup_ids).unwrap_or(usize::MAX),
        syncs: Some(Arc::clone(syncs) as Arc<dyn ObserveSyncs>),
        ..EmbeddedOptions::with_cap(&store.data_dir, cap)
    };
    let opening = tokio::task::spawn_blocking(|| EmbeddedStore::open(options)).await.map_err(Failure::failed)?;
    Ok(Arc::new(opening.map_err(|error| Failure::Failed(format!("the store cannot be opened: {error}")))?))
}

/// The size of the file system that a folder is, or will be, on.
fn disk_size(dir: &Path) -> Result<u64, Failure> {
    let dir = std::path::absolute(dir).map_err(Failure::failed)?;
    let there = dir.ancestors().find(|dir| dir.exists()).unwrap_or(Path::new("/"));
    let told = statvfs(there).map_err(|error| Failure::Failed(format!("{}: {error}", there.display())))?;
    Ok(told.f_blocks.saturating_mul(told.f_frsize))
}

/// What is printed once, when everything is up.
struct Started<'a> {
    setup: &'a Setup,
    addresses: Addresses,
    disk: DiskState,
}

impl fmt::Display for Started<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Addresses { edge, agents, admin } = self.addresses;
        let store = &self.setup.config.store;
        let place = match store.engine {
            Engine::Embedded => store.data_dir.display().to_string(),
            Engine::Memory => "in memory: everything is forgotten at the end".to_owned(),
        };
        let events = if self.disk.next > self.disk.first {
            format!("offsets {} to {}", self.disk.first, self.disk.next - 1)
        } else {
            "no events yet".to_owned()
        };
        let health = if self.disk.damage == 0 {
            "no damage found".to_owned()
        } else {
            format!("DAMAGE found {} times, see the log", self.disk.damage)
        };
        writeln!(f, "waypost {} is ready", env!("CARGO_PKG_VERSION"))?;
        let secured = &self.setup.certificates;
        let [edge, agents, admin] =
            [(edge, &secured.edge), (agents, &secured.agents), (admin, &secured.admin)].map(|(at, tls)| url(at, tls.is_some()));
        writeln!(f, "  edge    {edge}  (webhooks)")?;
        writeln!(f, "  agents  {agents}  (gRPC, gRPC-Web)")?;
        writeln!(f, "  admin   {admin}  (page in the browser, gRPC, /metrics, /healthz, /readyz)")?;
        write!(f, "  store   {place}: {events}, {} of {} used, {health}", in_mib(self.disk.used), in_mib(self.disk.cap))?;
        match &self.setup.authority {
            Some(authority) => write!(f, "\n  access  {} tokens of {}", authority.count(), authority.path().display())?,
            None => write!(f, "\n  access  open: whoever reaches a listener may do everything there (no auth.tokens_file)")?,
        }
        for source in self.setup.sources.iter() {
            let verified = match source.active_secrets() {
                _ if source.is_unverified() => "UNVERIFIED: anybody can post events here (verify = \"none\")".to_owned(),
                1 => format!("{}, 1 secret", source.scheme),
                secrets => format!("{}, {secrets} secrets", source.scheme),
            };
            write!(f, "\n  source  {}  POST {edge}{}  {verified}", source.name, source.path)?;
        }
        Ok(())
    }
}

fn url(at: SocketAddr, is_secured: bool) -> String {
    format!("{}://{at}", if is_secured { "https" } else { "http" })
}

fn in_mib(bytes: u64) -> Size {
    Size::from_bytes(bytes.div_ceil(1 << 20) << 20)
}
