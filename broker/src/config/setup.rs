//! A configuration with everything that it names: message types compiled, secrets read, sources ready to receive.
//!
//! Constraint: whatever can be wrong before the first socket is bound is found here, so that `waypost check` finds it too.

use std::{path::Path, sync::Arc};

use super::{Config, Findings, Secrets, SourceContext, TlsConfig};
use crate::{
    access::{Authority, Quota},
    ingress::{Source, Sources},
    limits,
    renewal::{Renew, Renewals},
    schema::Schemas,
    server::{
        Connections, Tls,
        tls::{HTTP_1_1, HTTP_2},
    },
    trace::Collector,
};

/// What a broker starts with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The configuration.
    pub config: Config,
    /// The registered message types.
    pub schemas: Schemas,
    /// The configured sources.
    pub sources: Sources,
    /// The secrets that they were made with.
    pub secrets: Secrets,
    /// The certificates of the listeners.
    pub certificates: Certificates,
    /// The connections of the listeners.
    pub connections: AllConnections,
    /// Who knows the tokens, if there are any.
    pub authority: Option<Arc<Authority>>,
    /// Where traces are sent, if they are.
    pub collector: Option<Collector>,
}

/// The certificates of the listeners that have one.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    /// Of the edge.
    pub edge: Option<Arc<Tls>>,
    /// Of the agents' listener.
    pub agents: Option<Arc<Tls>>,
    /// Of the administrators' listener.
    pub admin: Option<Arc<Tls>>,
}

/// The connections of the listeners, and how many there may be.
#[derive(Clone, Debug)]
pub struct AllConnections {
    /// Of the edge.
    pub edge: Arc<Connections>,
    /// Of the agents' listener.
    pub agents: Arc<Connections>,
    /// Of the administrators' listener.
    pub admin: Arc<Connections>,
}

impl AllConnections {
    fn of(config: &Config) -> Self {
        let (edge, agents) = (&config.edge, &config.agents);
        Self {
            edge: Connections::new("edge", edge.max_connections, edge.max_connections_per_address),
            agents: Connections::new("agents", agents.max_connections, agents.max_connections_per_address),
            admin: Connections::new("admin", limits::MAX_ADMIN_CONNECTIONS, limits::MAX_ADMIN_CONNECTIONS_PER_ADDRESS),
        }
    }

    /// Of every listener.
    #[must_use]
    pub fn all(&self) -> [&Connections; 3] {
        [&self.edge, &self.agents, &self.admin]
    }
}

impl Certificates {
    /// Of every listener, by the section of the configuration.
    #[must_use]
    pub fn all(&self) -> [(&'static str, Option<&Tls>); 3] {
        [("edge", self.edge.as_deref()), ("agents", self.agents.as_deref()), ("admin", self.admin.as_deref())]
    }

    fn load(config: &Config, base: &Path, findings: &mut Findings) -> Self {
        let mut load = |name, config: Option<&TlsConfig>, protocols| {
            let loaded = config.map(|config| Tls::load(name, config.within(base), protocols));
            loaded.transpose().map_err(|error| findings.wrong(name, error)).ok().flatten().map(Arc::new)
        };
        Self {
            edge: load("edge.tls", config.edge.tls.as_ref(), &[HTTP_2, HTTP_1_1]),
            agents: load("agents.tls", config.agents.tls.as_ref(), &[HTTP_2, HTTP_1_1]),
            admin: load("admin.tls", config.admin.tls.as_ref(), &[HTTP_2, HTTP_1_1]),
        }
    }
}

impl Setup {
    /// Checks the configuration and makes what it names. `base` is where relative paths start; `schemas` are the message types if they
    /// are there already. `None` if something was reported.
    #[must_use]
    pub(super) fn build(mut config: Config, base: &Path, schemas: Option<&Schemas>, findings: &mut Findings) -> Option<Self> {
        config.store.data_dir = base.join(&config.store.data_dir);
        config.log.audit_file = config.log.audit_file.map(|file| base.join(file));
        config.check(findings);
        let certificates = Certificates::load(&config, base, findings);
        let authority = authority(&config, base, findings);
        let mut collector = None;
        findings.within("traces", |findings| collector = config.traces.build(base, &config.sources, findings));
        let folders: Vec<_> = config.schemas.folders.iter().map(|folder| base.join(folder)).collect();
        let schemas = match schemas {
            Some(schemas) => schemas.clone(),
            None => Schemas::load(&folders).map_err(|error| findings.wrong("schemas.folders", error)).ok()?,
        };
        let secrets = Secrets::within(base);
        let context = SourceContext { schemas: &schemas, edge: &config.edge, dedup_window: config.store.dedup_window, secrets: &secrets };
        let ready: Vec<Option<Source>> = config.sources.iter().map(|(name, source)| source.build(name, context, findings)).collect();
        let sources = Sources::new(ready.into_iter().flatten()).map_err(|error| findings.wrong("sources", error)).ok()?;
        let connections = AllConnections::of(&config);
        Some(Self { config, schemas, sources, secrets, certificates, connections, authority, collector })
    }

    /// What is to be read again while the broker runs.
    #[must_use]
    pub fn renewals(&self) -> Renewals {
        let Certificates { edge, agents, admin } = &self.certificates;
        let certificates = [edge, agents, admin].into_iter().flatten().map(|tls| Arc::clone(tls) as Arc<dyn Renew>);
        certificates.chain(self.authority.clone().map(|authority| authority as Arc<dyn Renew>)).collect()
    }
}

fn authority(config: &Config, base: &Path, findings: &mut Findings) -> Option<Arc<Authority>> {
    let path = base.join(config.auth.tokens_file.as_ref()?);
    let quota = Quota { events_per_second: config.limits.max_events_per_second, streams: config.limits.max_streams_per_token };
    let loaded = Authority::load(path, quota);
    loaded.map_err(|error| findings.wrong("auth.tokens_file", error)).ok().map(Arc::new)
}
