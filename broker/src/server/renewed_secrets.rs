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

    /// What is to be looked at now, and what it was. A variable of the environment stays what it was.
    fn due(&mut self, now: u64) -> Vec<(SecretRef, Option<Secret>)> {
        let mut all: Vec<_> = self.secrets.known().into_iter().map(|(reference, secret)| (reference, Some(secret))).collect();
        let pairing = self.sources.values().filter(|source| source.pairing).flat_map(|source| &source.secrets);
        all.extend(pairing.filter(|reference| !self.secrets.holds(reference)).map(|awaited| (awaited.clone(), None)));
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
                Ok(secret) if Some(&secret) == before.as_ref() => continue,
                Ok(secret) => secret,
                // It may come while pairing is open, or by hand.
                Err(_) if before.is_none() => continue,
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::fs;

    use super::*;
    use crate::config::parse;

    const SOURCES: &str = "
[sources.hex]
scheme = { signature = { header = 'X-Sig' }, key = 'hex' }
secrets = ['file:shared']
[sources.text]
scheme = 'hmac'
secrets = ['file:shared', 'file:own']
[sources.other]
scheme = 'hmac'
secrets = ['file:own']
";

    /// Sources in a folder, and what keeps their secrets.
    fn renewed() -> (tempfile::TempDir, LiveSources, RenewedSecrets) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("shared"), "00ff").unwrap();
        fs::write(folder.path().join("own"), "one").unwrap();
        let mut setup = parse(SOURCES, &folder.path().join("waypost.toml")).unwrap();
        let live = LiveSources::new(std::mem::take(&mut setup.sources));
        let secrets = RenewedSecrets::new(&setup, Arc::new(setup.schemas.clone()), live.clone());
        (folder, live, secrets)
    }

    /// Which of them are other ones now.
    fn changed(before: &Sources, live: &LiveSources) -> Vec<String> {
        let now = live.current();
        let is_new = |source: &&Arc<Source>| !Arc::ptr_eq(source, before.get(&source.name).unwrap());
        now.iter().filter(is_new).map(|source| source.name.to_string()).collect()
    }

    #[test]
    fn a_new_secret_is_in_force_for_all_that_refer_to_it_and_for_nobody_else() {
        let (folder, live, secrets) = renewed();
        let before = live.current();
        assert_eq!((secrets.renew(), changed(&before, &live)), (Ok(None), vec![]), "nothing is new");
        fs::write(folder.path().join("own"), "two").unwrap();
        let told = secrets.renew().unwrap().unwrap();
        assert!(told.contains("of other, text have changed"), "{told}");
        assert_eq!(changed(&before, &live), ["other", "text"]);
        assert!(Arc::ptr_eq(&before.get("text").unwrap().counters, &live.current().get("text").unwrap().counters), "it goes on counting");
        assert_eq!(secrets.renew(), Ok(None), "once");
    }

    #[test]
    fn a_secret_that_one_of_its_sources_cannot_use_changes_nothing() {
        let (folder, live, secrets) = renewed();
        let before = live.current();
        fs::write(folder.path().join("shared"), "no hexadecimal").unwrap();
        fs::write(folder.path().join("own"), "two").unwrap();
        let told = secrets.renew().unwrap_err();
        assert!(told.contains("file:shared has changed, and cannot be used: sources.hex.secrets: number 1 is not hexadecimal"), "{told}");
        assert!(!told.contains("no hexadecimal"), "{told}");
        assert_eq!(changed(&before, &live), ["other", "text"], "what else is new is in force");
        assert_eq!(secrets.renew().unwrap_err(), told, "the same, so that it is told once");
        fs::write(folder.path().join("shared"), "11ee").unwrap();
        assert!(secrets.renew().unwrap().is_some());
        assert_eq!(changed(&before, &live), ["hex", "other", "text"]);
    }

    #[test]
    fn what_was_read_with_a_new_configuration_is_what_is_held_from_then_on() {
        let (folder, live, secrets) = renewed();
        let mut setup = parse(&SOURCES.replace("'file:own'", "'file:next'"), &folder.path().join("waypost.toml"));
        assert!(setup.is_err(), "there is no such file yet");
        fs::write(folder.path().join("next"), "three").unwrap();
        setup = parse(&SOURCES.replace("'file:own'", "'file:next'"), &folder.path().join("waypost.toml"));
        let mut setup = setup.unwrap();
        let sources = std::mem::take(&mut setup.sources);
        secrets.replace(&setup, sources);
        fs::remove_file(folder.path().join("own")).unwrap();
        assert_eq!(secrets.renew(), Ok(None), "nobody refers to it any more");
        let before = live.current();
        fs::write(folder.path().join("next"), "four").unwrap();
        assert!(secrets.renew().unwrap().is_some());
        assert_eq!(changed(&before, &live), ["other", "text"]);
    }
}
