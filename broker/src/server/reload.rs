//! Reading the configuration again while the broker runs.
//!
//! Constraints:
//! - A configuration with a problem changes nothing, and every problem is told.
//! - What changes, changes at once and as a whole: sources with their secrets, and limits. Requests under way end as they began.
//! - What cannot change without a restart is told by its key, and left as it was.

use std::{
    collections::BTreeMap,
    fs, io,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    broker::{Broker, Settings},
    config::{self, LoadError},
    renewal::Renewals,
    server::RenewedSecrets,
};

/// Keys that take effect when they are read again; with a dot at the end, all that begin with it.
const APPLIED: [&str; 8] = [
    "sources.",
    "limits.max_hops",
    "limits.max_subscriptions",
    "limits.max_sessions_per_subscription",
    "edge.max_body",
    "edge.body_timeout",
    "edge.trusted_proxies",
    "store.dedup_window",
];

/// What a running broker is changed with.
pub struct Reloader {
    path: Option<PathBuf>,
    broker: Arc<Broker>,
    secrets: Arc<RenewedSecrets>,
    renewals: Renewals,
    /// The values that hold, by their keys.
    keys: Mutex<BTreeMap<String, toml::Value>>,
}

/// What reading again changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that changed.
    pub applied: Vec<String>,
    /// Keys that changed and take effect with the next start only.
    pub restart: Vec<String>,
}

impl std::fmt::Debug for Reloader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reloader").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Reloader {
    /// For a broker that was started with this file.
    ///
    /// # Errors
    /// When the file cannot be read any more.
    pub fn new(path: Option<PathBuf>, broker: Arc<Broker>, secrets: Arc<RenewedSecrets>, renewals: Renewals) -> io::Result<Self> {
        let reloader = Self { path, broker, secrets, renewals, keys: Mutex::default() };
        *reloader.keys.lock().unwrap_or_else(PoisonError::into_inner) = reloader.keys_of(&reloader.text()?);
        Ok(reloader)
    }

    fn text(&self) -> io::Result<String> {
        self.path.as_ref().map_or_else(|| Ok(String::new()), fs::read_to_string)
    }

    fn keys_of(&self, text: &str) -> BTreeMap<String, toml::Value> {
        let path = self.path.clone().unwrap_or_default();
        config::effective(text, &path).into_iter().map(|(key, held)| (key, held.value)).collect()
    }

    /// Reads the file, and everything that it refers to, and changes what can be changed. Blocks for as long as reading takes.
    ///
    /// # Errors
    /// Every problem; then nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, LoadError> {
        let path = self.path.clone().unwrap_or_default();
        let text = self.text().map_err(|source| LoadError::Read { path: path.clone(), source })?;
        // Types are compiled at start: sources are held against those.
        let mut setup = config::parse_with(&text, &path, Some(&self.broker.schemas))?;
        let mut held = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys_of(&text);
        let changed = |key: &&String| keys.get(*key) != held.get(*key);
        let all: BTreeMap<&String, ()> = keys.keys().chain(held.keys()).filter(changed).map(|key| (key, ())).collect();
        let is_applied =
            |key: &String| APPLIED.iter().any(|applied| key == applied || (applied.ends_with('.') && key.starts_with(applied)));
        let (applied, restart): (Vec<String>, Vec<String>) = all.into_keys().cloned().partition(is_applied);

        let settings = Settings::of(&setup.config);
        // What comes from files of its own is looked at by itself as well, and tells of itself.
        self.renewals.renew();
        // Nobody may publish as a source between its end and its beginning.
        self.broker.publisher.reserve(&settings.publish.reserved_sources);
        let sources = std::mem::take(&mut setup.sources);
        self.secrets.replace(&setup, sources);
        self.broker.publisher.set_rules(settings.publish);
        self.broker.registry.set_limits(settings.registry);
        // Of what takes effect later, the present values hold on.
        let kept: Vec<(String, Option<toml::Value>)> = restart.iter().map(|key| (key.clone(), held.get(key).cloned())).collect();
        *held = keys;
        for (key, value) in kept {
            match value {
                Some(value) => held.insert(key, value),
                None => held.remove(&key),
            };
        }
        Ok(Reloaded { applied, restart })
    }
}
