//! Secrets of sources, read again while the broker runs.
//!
//! Constraints:
//! - A secret that cannot be read, or that its source cannot verify with, changes nothing: the last good one stays, and it is told.
//! - What is new is in force for all sources that refer to it at once, or for none. Requests under way end as they began.
//! - Nothing else of the configuration is looked at: half of an edit must not come into force because a secret did.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    clock::Clock,
    config::{EdgeConfig, Findings, Secret, SecretRef, Secrets, Setup, SourceConfig, SourceContext, Span},
    ingress::{LiveSources, Source, Sources},
    renewal::Renew,
    schema::Schemas,
};

/// Keeps the secrets of the sources as they are.
pub struct RenewedSecrets {
    clock: Clock,
    schemas: Arc<Schemas>,
    live: LiveSources,
    held: Mutex<Held>,
}

/// What the sources were made of.
struct Held {
    sources: BTreeMap<String, SourceConfig>,
    edge: EdgeConfig,
    dedup_window: Span,
    secrets: Secrets,
    /// When each program was run.
    ran: BTreeMap<SecretRef, u64>,
}

impl std::fmt::Debug for RenewedSecrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenewedSecrets")
    }
}

impl Held {
    fn of(setup: &Setup, now: u64) -> Self {
        let secrets = setup.secrets.clone();
        let ran = secrets.known().into_keys().map(|reference| (reference, now)).collect();
        let config = &setup.config;
        Self { sources: config.sources.clone(), edge: config.edge.clone(), dedup_window: config.store.dedup_window, secrets, ran }
    }

    /// What is to be looked at now. A variable of the environment stays what it was.
    fn due(&mut self, now: u64) -> Vec<(SecretRef, Secret)> {
        let mut all: Vec<_> = self.secrets.known().into_iter().collect();
        all.retain(|(reference, _)| match reference {
            SecretRef::Env(_) => false,
            SecretRef::File(_) => true,
            SecretRef::Command(command) => {
                let ran = self.ran.entry(reference.clone()).or_insert(now);
                let is_due = now.saturating_sub(*ran) >= command.every.micros();
                if is_due {
                    *ran = now;
                }
                is_due
            }
        });
        all
    }

    /// The sources that refer to a secret, with another one behind it.
    fn rebuilt(&self, reference: &SecretRef, secrets: &Secrets, schemas: &Schemas) -> Result<Vec<Source>, String> {
        let mut findings = Findings::default();
        let context = SourceContext { schemas, edge: &self.edge, dedup_window: self.dedup_window, secrets };
        let concerned = self.sources.iter().filter(|(_, source)| source.secrets_of().any(|named| named == reference));
        let built: Vec<Source> = concerned.filter_map(|(name, source)| source.build(name, context, &mut findings)).collect();
        let found: Vec<String> = findings.into_inner().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        if found.is_empty() { Ok(built) } else { Err(found.join("; ")) }
    }
}

impl RenewedSecrets {
    /// For sources that were just built.
    #[must_use]
    pub fn new(setup: &Setup, schemas: Arc<Schemas>, live: LiveSources) -> Self {
        let clock = Clock::from_wall();
        let held = Mutex::new(Held::of(setup, clock.now()));
        Self { clock, schemas, live, held }
    }

    /// Goes on with sources of a configuration that was read again, and everything that it refers to with it.
    pub fn replace(&self, setup: &Setup, sources: Sources) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        *held = Held::of(setup, self.clock.now());
        self.live.replace(sources);
    }
}

impl Renew for RenewedSecrets {
    fn name(&self) -> &str {
        "sources"
    }

    fn renew(&self) -> Result<Option<String>, String> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut renewed, mut wrong) = (BTreeMap::new(), Vec::new());
        for (reference, before) in held.due(self.clock.now()) {
            let read = match reference.resolve(held.secrets.base()) {
                Ok(secret) if secret == before => continue,
                Ok(secret) => secret,
                Err(error) => {
                    wrong.push(error.to_string());
                    continue;
                }
            };
            let secrets = held.secrets.with(&reference, read);
            match held.rebuilt(&reference, &secrets, &self.schemas) {
                Ok(built) => {
                    held.secrets = secrets;
                    renewed.extend(built.into_iter().map(|source| (Arc::clone(&source.name), source)));
                }
                Err(problem) => wrong.push(format!("{reference} has changed, and cannot be used: {problem}")),
            }
        }
        let names: Vec<String> = renewed.keys().map(ToString::to_string).collect();
        let news = (!names.is_empty()).then(|| format!("the secrets of {} have changed, and are in force", names.join(", ")));
        self.live.renew(renewed.into_values());
        if wrong.is_empty() {
            return Ok(news);
        }
        if let Some(news) = news {
            tracing::info!("{}: {news}", self.name());
        }
        Err(wrong.join("; "))
    }
}
