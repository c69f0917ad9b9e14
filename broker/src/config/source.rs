//! `[sources.NAME]`: an origin of webhooks.
//!
//! Constraints: a source without a secret does not start, unless it says `verify = "none"` in so many words; what its mappings name must
//! exist; every problem is reported at once, with its key.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use serde::Deserialize;

use super::{AdmissionConfig, EdgeConfig, Findings, PollConfig, SecretRef, Secrets, Size, Span};
use crate::{
    ingress::{
        About, Admission, Counters, Identity, IdentityConfig, IdentityTable, OnReplay, Pairing, Shapes, SilentAfter, Source, Template,
        TypeConfig, TypeTable, Typing,
        decode::Selector,
        verify::{Form, Scheme, SchemeConfig},
    },
    limits,
    schema::Schemas,
};

/// An origin of webhooks, as it is configured.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// Where it posts to. Default: `/hooks/NAME`.
    #[serde(default)]
    pub path: Option<String>,
    /// A provider's name, or a table that describes how the source signs. Required unless `verify = "none"`.
    #[serde(default)]
    pub scheme: Option<SchemeConfig>,
    /// `signature` (the default) or `none`: then whoever reaches the path can send events.
    #[serde(default)]
    pub verify: Verify,
    /// The active secrets: `env:NAME`, `file:PATH` or `{ command = […] }`; several during a rotation. One that matches is enough.
    #[serde(default)]
    pub secrets: Vec<SecretRef>,
    /// Scheme and host as the provider calls them, such as `https://hooks.example.com`: for schemes that sign the address.
    #[serde(default)]
    pub public_base_url: Option<String>,
    /// What a webhook must be for, by the names that the scheme gives, such as `topic` or `audience`.
    #[serde(default)]
    pub allow: BTreeMap<String, Vec<String>>,
    /// What the provider wants to see before it gives its public keys, by the names that the scheme gives, such as `api_key`.
    #[serde(default)]
    pub access: BTreeMap<String, SecretRef>,
    /// The word that a provider shows in its handshake, where it has one that is not the secret.
    #[serde(default)]
    pub handshake_token: Option<SecretRef>,
    /// Whether the provider may give its secret now: the first one is written to the file under `secrets` that is not there yet.
    #[serde(default)]
    pub pairing: bool,
    /// What tells its webhooks apart. Default: the provider's delivery id, or else the body's hash.
    #[serde(default)]
    pub identity: Option<IdentityConfig>,
    /// The provider's name for the kind of event, instead of the scheme's rule: the parts that are there, joined by dots.
    #[serde(default)]
    pub event_type: Option<Vec<Template>>,
    /// Message types by the provider's event types, over those of the scheme; `*` stands for all that have no entry.
    #[serde(default)]
    pub types: BTreeMap<String, TypeConfig>,
    /// What its events are about.
    #[serde(default)]
    pub subject: Option<Template>,
    /// The key within which the order of its events matters.
    #[serde(default)]
    pub ordering_key: Option<Template>,
    /// The story that its events belong to. Default: each its own.
    #[serde(default)]
    pub correlation_id: Option<Template>,
    /// How far a signed time may be from now, instead of the scheme's.
    #[serde(default)]
    pub tolerance: Option<Span>,
    /// Whether forms are accepted, instead of the scheme's rule.
    #[serde(default)]
    pub form: Option<Form>,
    /// The largest body, if smaller than that of the edge.
    #[serde(default)]
    pub max_body: Option<Size>,
    /// Who may post to it, how often, and how many requests at a time.
    #[serde(default)]
    pub limits: AdmissionConfig,
    /// What becomes of a signed body that comes again under another delivery id, where nothing signs the id: `flag` (the default), `refuse` or
    /// `allow`.
    #[serde(default)]
    pub replays: Option<OnReplay>,
    /// What becomes of a verified webhook that does not fit its type. Default: `quarantine`, and `refuse` with `verify = "none"`.
    #[serde(default)]
    pub on_undecodable: Option<OnUndecodable>,
    /// Whether the body is kept beside the typed event, so that it can be typed again. Default: true.
    #[serde(default = "yes")]
    pub keep_raw: bool,
    /// After how long without a verified webhook a system event tells that it is silent: a time, `learned` (the default), or `never`.
    #[serde(default)]
    pub silent_after: SilentAfter,
    /// How the provider's API is asked for what never came.
    #[serde(default)]
    pub poll: Option<PollConfig>,
}

fn yes() -> bool {
    true
}

/// Whether a source is verified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// By its signature.
    #[default]
    Signature,
    /// Not at all.
    None,
}

/// What becomes of a webhook that does not fit its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUndecodable {
    /// 202, and kept.
    Quarantine,
    /// 400.
    Refuse,
}

/// What a source depends on beside its own section.
#[derive(Clone, Copy, Debug)]
pub struct SourceContext<'a> {
    /// The registered message types.
    pub schemas: &'a Schemas,
    /// The edge's limits.
    pub edge: &'a EdgeConfig,
    /// How long ids are remembered.
    pub dedup_window: Span,
    /// What references to secrets stand for.
    pub secrets: &'a Secrets,
}

impl SourceConfig {
    /// Checks the section `sources.NAME` and makes it ready to receive. `None` when something was reported.
    #[must_use]
    pub fn build(&self, name: &str, context: SourceContext<'_>, findings: &mut Findings) -> Option<Source> {
        let mut problems = Vec::new();
        let source = self.try_build(name, context, &mut problems);
        let sound = problems.is_empty();
        findings.within(&format!("sources.{name}"), |findings| {
            problems.into_iter().for_each(|(key, problem)| findings.wrong(&key, problem));
        });
        source.filter(|_| sound)
    }

    fn try_build(&self, name: &str, context: SourceContext<'_>, problems: &mut Vec<(String, String)>) -> Option<Source> {
        let mut wrong = |key: &str, problem: String| problems.push((key.to_owned(), problem));
        check_name(name).unwrap_or_else(|problem| wrong("", problem));
        let path = self.path.clone().unwrap_or_else(|| format!("/hooks/{name}"));
        check_path(&path).unwrap_or_else(|problem| wrong("path", problem));
        let max_body = self.max_body.unwrap_or(context.edge.max_body).min(context.edge.max_body).to_usize();
        if max_body == 0 {
            wrong("max_body", "is 0, so that nothing would be accepted".to_owned());
        }
        if let Some((key, problem)) = self.limits.problem() {
            wrong(key, problem.to_owned());
        }

        let mut selector = Selector::default();
        let rules = self.rules(context.schemas);
        let awaited = self.awaited(context.secrets, &mut wrong);
        let verifier = self.verifier(context.secrets, &awaited.references, &mut wrong);
        let identity = self.identity(&rules, context.dedup_window, &mut selector, &mut wrong);
        let on_replay = self.on_replay(&rules, &mut wrong);
        let greetings = self.greetings(rules.scheme, context.secrets, &mut wrong);
        let typing = Typing::compile(name, rules.event_type, &rules.types, &rules.about, context.schemas, &mut selector);
        let typing = typing.map_err(|found| found.into_iter().for_each(|found| wrong(&found.key, found.problem))).ok();
        let (identity, typing) = (identity?, typing?);
        let poll_rule = rules.scheme.and_then(|scheme| scheme.poll.as_ref());
        let poll = self.poll.as_ref().and_then(|poll| poll.build(poll_rule, (&identity, &typing), context.secrets, &mut wrong));
        let shapes = self.shapes(&rules, &selector, &mut wrong);
        let refuses = self.verify == Verify::None && self.on_undecodable != Some(OnUndecodable::Quarantine);
        Some(Source {
            name: Arc::from(name),
            path,
            scheme: match (self.verify, &self.scheme) {
                (Verify::Signature, Some(scheme)) => scheme.name.clone(),
                _ => "none".to_owned(),
            },
            counters: Arc::new(Counters::default()),
            admission: Admission::new(&self.limits, &context.edge.trusted_proxies),
            verifier: verifier?,
            form: self.form.or(rules.scheme.map(|scheme| scheme.form)).unwrap_or_default(),
            accept: rules.scheme.map(|scheme| scheme.accept.clone()).unwrap_or_default(),
            cloudevents: rules.scheme.is_some_and(|scheme| scheme.cloudevents),
            greetings,
            pairing: self.pairing.then(|| Arc::new(Pairing::new(awaited.file))),
            batch: rules.scheme.and_then(|scheme| scheme.batch.clone()),
            reply: rules.scheme.and_then(|scheme| scheme.reply.clone()),
            identity,
            typing,
            shapes,
            selector,
            max_body: max_body.min(limits::MAX_WEBHOOK_BYTES),
            body_timeout: context.edge.body_timeout.get(),
            refuses_undecodable: refuses || self.on_undecodable == Some(OnUndecodable::Refuse),
            keeps_raw: self.keep_raw,
            silent_after: self.silent_after,
            on_replay,
            poll,
        })
    }

    /// Every reference to a secret.
    pub fn secrets_of(&self) -> impl Iterator<Item = &SecretRef> {
        let token = self.poll.iter().flat_map(|poll| &poll.token);
        self.secrets.iter().chain(&self.handshake_token).chain(self.access.values()).chain(token)
    }

    /// The scheme's rules with the source's own over them.
    fn rules(&self, schemas: &Schemas) -> Rules<'_> {
        let scheme = self.scheme.as_ref().map(|config| &config.scheme);
        let own =
            About { subject: self.subject.clone(), ordering_key: self.ordering_key.clone(), correlation_id: self.correlation_id.clone() };
        let mut types = scheme.map(|scheme| scheme.types.clone()).unwrap_or_default();
        types.values_mut().for_each(|TypeConfig(table)| own.over(table));
        types.extend(self.types.clone());
        if scheme.is_some_and(|scheme| scheme.cloudevents) {
            // An event whose type is the name of a message is that message.
            for (name, _) in schemas.list("", "", usize::MAX) {
                types.entry(name.to_owned()).or_insert_with(|| TypeConfig(TypeTable { message: name.to_owned(), ..TypeTable::default() }));
            }
            for TypeConfig(table) in types.values_mut() {
                table.at.get_or_insert_with(|| "/data".to_owned());
            }
        }
        let event_type = self.event_type.as_ref().or(scheme.map(|scheme| &scheme.event_type));
        let about = own.or(&scheme.map(Scheme::about).unwrap_or_default());
        Rules { scheme, event_type: event_type.map_or(&[], |rule| rule), types, about }
    }

    /// Of the scheme's types, where the source does not find its types in another way.
    fn shapes(&self, rules: &Rules<'_>, selector: &Selector, wrong: &mut impl FnMut(&str, String)) -> Option<Shapes> {
        let scheme = rules.scheme.filter(|_| self.event_type.is_none())?;
        let shapes = Shapes::compile(rules.event_type, &scheme.shapes, selector);
        shapes.map_err(|problem| wrong("scheme.shapes", problem)).ok().flatten()
    }

    /// `None` where it need not be looked for.
    fn on_replay(&self, rules: &Rules<'_>, wrong: &mut impl FnMut(&str, String)) -> Option<OnReplay> {
        let scheme = rules.scheme.filter(|_| self.verify == Verify::Signature);
        let id = match (&self.identity, scheme) {
            (None | Some(IdentityConfig::DeliveryId), Some(scheme)) => scheme.delivery_id.as_ref(),
            (Some(IdentityConfig::Rule(IdentityTable::DeliveryId(template) | IdentityTable::Template(template))), _) => Some(template),
            _ => None,
        };
        let is_open = scheme.zip(id).is_some_and(|(scheme, id)| scheme.leaves_open(id));
        if self.replays.is_some() && !is_open {
            let problem =
                "has no effect: a signed body cannot come again under another id here, since the id is signed, or is made of the body";
            wrong("replays", problem.to_owned());
        }
        Some(self.replays.unwrap_or_default()).filter(|action| is_open && *action != OnReplay::Allow)
    }

    fn identity(&self, rules: &Rules<'_>, window: Span, selector: &mut Selector, wrong: &mut impl FnMut(&str, String)) -> Option<Identity> {
        let delivery_id = rules.scheme.and_then(|scheme| scheme.delivery_id.clone()).map(IdentityTable::DeliveryId);
        let rule = match (&self.identity, delivery_id) {
            (Some(IdentityConfig::None), _) => return Some(Identity::None),
            (Some(IdentityConfig::Rule(rule)), _) => rule.clone(),
            (Some(IdentityConfig::DeliveryId), None) => {
                let problem = "is \"delivery_id\", but the scheme has none; say where it is: { delivery_id = \"{header:X-Delivery}\" }";
                wrong("identity", problem.to_owned());
                return None;
            }
            (None | Some(IdentityConfig::DeliveryId), Some(rule)) => rule,
            (None, None) => IdentityTable::BodyHash(limits::BODY_HASH_WINDOW),
        };
        Identity::compile(&rule, window.micros(), selector).map_err(|problem| wrong("identity", problem)).ok()
    }
}

struct Rules<'a> {
    scheme: Option<&'a Scheme>,
    event_type: &'a [Template],
    types: BTreeMap<String, TypeConfig>,
    about: About,
}

/// Names appear in paths, metrics and as the source of events.
fn check_name(name: &str) -> Result<(), String> {
    let fits = (1..=64).contains(&name.len());
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if !fits || !name.bytes().all(allowed) {
        return Err(format!("{name:?} is not a name of 1 to 64 of a-z, 0-9, -, _ and ."));
    }
    if name == "waypost" || name.starts_with("waypost.") {
        return Err("names that start with waypost. are kept for the broker's own events".to_owned());
    }
    Ok(())
}

fn check_path(path: &str) -> Result<(), String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~/".contains(&byte);
    let segments: BTreeSet<&str> = path.split('/').collect();
    if !path.starts_with('/') || !path.bytes().all(allowed) || segments.contains(".") || segments.contains("..") {
        return Err(format!("{path:?} is not a path such as /hooks/github, of letters, digits, - _ . ~ and /"));
    }
    Ok(())
}
