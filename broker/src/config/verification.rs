//! What verifies a source: its scheme with its secrets, what the scheme wants beside them, and the handshakes that prove who listens.
//!
//! Constraint: a source without a secret does not start, unless it says `verify = "none"`, or waits for its provider to give one.

use std::collections::BTreeMap;

use super::{Secret, SecretFile, SecretRef, Secrets, SourceConfig, Verify};
use crate::ingress::{
    Greetings,
    verify::{Expected, Scheme, Verifier},
};

/// The secrets that are not there yet, and the file that the one of them will be in.
#[derive(Default)]
pub(super) struct Awaited<'a> {
    pub(super) references: Vec<&'a SecretRef>,
    pub(super) file: Option<SecretFile>,
}

impl SourceConfig {
    /// What pairing is to bring.
    pub(super) fn awaited(&self, known: &Secrets, wrong: &mut impl FnMut(&str, String)) -> Awaited<'_> {
        let mut awaited = Awaited::default();
        if !self.pairing {
            return awaited;
        }
        if !self.secrets.iter().any(|reference| matches!(reference, SecretRef::File(_))) {
            let problem = "names no file: pairing writes the secret that the provider gives into one that is not there yet, such as \
                           [\"file:webhook.secret\"]; the environment and programs cannot be written to";
            wrong("secrets", problem.to_owned());
        }
        for reference in self.secrets.iter().filter(|reference| !known.holds(reference)) {
            match SecretFile::awaited(reference, known.base()) {
                Ok(None) => continue,
                Ok(Some(file)) if awaited.file.is_none() => awaited.file = Some(file),
                Ok(Some(file)) => {
                    wrong("secrets", format!("{} is not there either: pairing brings one secret at a time", file.path().display()));
                }
                Err(problem) => wrong("secrets", problem),
            }
            awaited.references.push(reference);
        }
        awaited
    }

    /// `Some(None)` for a source that is not verified, and says so. `awaited` are secrets that need not be there.
    pub(super) fn verifier(
        &self,
        known: &Secrets,
        awaited: &[&SecretRef],
        wrong: &mut impl FnMut(&str, String),
    ) -> Option<Option<Verifier>> {
        if self.verify == Verify::None {
            if !self.secrets.is_empty() {
                wrong("secrets", "would not be used, as verify is \"none\"; take one of them away".to_owned());
            }
            return Some(None);
        }
        let Some(config) = &self.scheme else {
            wrong("scheme", "is missing: name the provider, such as \"github\", or describe how the source signs".to_owned());
            return None;
        };
        let mut scheme = config.scheme.clone();
        match (&mut scheme.timestamp, self.tolerance) {
            (Some(rule), Some(tolerance)) => rule.tolerance = tolerance,
            (None, Some(_)) => wrong("tolerance", format!("has no effect: {} does not sign a time", config.name)),
            _ => {}
        }
        for (key, problem) in scheme.problems() {
            wrong(&format!("scheme.{key}"), problem);
        }
        if self.secrets.is_empty() && scheme.needs_secrets() && !self.pairing {
            let problem = "is missing: nothing is accepted unverified; refer to the secret that the source signs with, such as \
                           [\"env:WEBHOOK_SECRET\"], or say verify = \"none\"";
            wrong("secrets", problem.to_owned());
        }
        if !self.secrets.is_empty() && !scheme.needs_secrets() {
            wrong("secrets", format!("would not be used: {} signs with keys that it publishes", config.name));
        }
        let expected = Expected { access: self.access(&scheme, known, wrong), ..self.expected(&scheme, wrong) };
        let mut secrets: Vec<Secret> = Vec::new();
        for reference in self.secrets.iter().filter(|reference| !awaited.contains(reference)) {
            match known.get(reference) {
                Ok(secret) => secrets.push(secret),
                Err(error) => wrong("secrets", error.to_string()),
            }
        }
        let verifier = Verifier::new(scheme, &secrets, expected);
        verifier.map_err(|(index, problem)| wrong("secrets", format!("number {} {problem}", index + 1))).ok().map(Some)
    }

    /// What the scheme wants the source to say beside its secrets.
    fn expected(&self, scheme: &Scheme, wrong: &mut impl FnMut(&str, String)) -> Expected {
        let base = self.public_base_url.as_deref().map(|base| base.trim_end_matches('/'));
        match base {
            None if scheme.signs_the_url() => {
                let problem = "is missing: the provider signs the address that it calls, which a proxy in front may change; give its scheme \
                               and host, such as \"https://hooks.example.com\"";
                wrong("public_base_url", problem.to_owned());
            }
            Some(base) if !["https://", "http://"].iter().any(|scheme| base.starts_with(scheme) && base.len() > scheme.len()) => {
                wrong("public_base_url", format!("{base:?} is not scheme and host, such as \"https://hooks.example.com\""));
            }
            _ => {}
        }
        for name in scheme.allow.keys().filter(|name| self.allow.get(*name).is_none_or(Vec::is_empty)) {
            let problem = "is missing: the provider signs for all its customers; list what is meant for this source";
            wrong(&format!("allow.{name}"), problem.to_owned());
        }
        for name in self.allow.keys().filter(|name| !scheme.allow.contains_key(*name)) {
            wrong(&format!("allow.{name}"), "would not be looked at: the scheme has no rule of this name".to_owned());
        }
        Expected { base: base.unwrap_or_default().to_owned(), allow: self.allow.clone(), access: BTreeMap::new() }
    }

    /// What is shown to the provider for its keys.
    fn access(&self, scheme: &Scheme, known: &Secrets, wrong: &mut impl FnMut(&str, String)) -> BTreeMap<String, Secret> {
        let wanted = scheme.access();
        for name in wanted.iter().filter(|name| !self.access.contains_key(**name)) {
            let problem = "is missing: the provider gives its public keys to whoever shows this; refer to it, such as \"env:NAME\"";
            wrong(&format!("access.{name}"), problem.to_owned());
        }
        let mut access = BTreeMap::new();
        for (name, reference) in &self.access {
            match known.get(reference) {
                _ if !wanted.contains(&**name) => {
                    wrong(&format!("access.{name}"), "would not be used: the scheme asks for nothing of this name".to_owned());
                }
                Ok(secret) => drop(access.insert(name.clone(), secret)),
                Err(error) => wrong(&format!("access.{name}"), error.to_string()),
            }
        }
        access
    }

    /// Requests that only want to see that somebody is there.
    pub(super) fn greetings(&self, scheme: Option<&Scheme>, known: &Secrets, wrong: &mut impl FnMut(&str, String)) -> Greetings {
        let Some(scheme) = scheme.filter(|_| self.verify == Verify::Signature) else {
            if self.pairing && self.verify == Verify::None {
                wrong("pairing", "has no effect, as verify is \"none\"".to_owned());
            }
            return Greetings::default();
        };
        let token = self.handshake_token.as_ref().map(|reference| known.get(reference));
        let token = token.transpose().map_err(|error| wrong("handshake_token", error.to_string())).ok().flatten();
        if scheme.asks_for_a_token() && self.handshake_token.is_none() {
            let problem =
                "is missing: the provider shows a word of your choice when it first calls; refer to it, such as \"env:WEBHOOK_TOKEN\"";
            wrong("handshake_token", problem.to_owned());
        }
        if self.pairing && !scheme.handshakes.iter().any(|rule| rule.learns.is_some()) {
            wrong("pairing", "has no effect: the provider gives its secret in its console, not in a webhook".to_owned());
        }
        Greetings::new(&scheme.handshakes, token)
    }
}
