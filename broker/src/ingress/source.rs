//! A source of webhooks, ready to receive.
//!
//! Constraint: built from its configuration only, which checks everything: what is here works.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::Duration,
};

use super::{
    admission::Admission,
    body::Taken,
    decode::{Selected, Selector},
    greeting::{Filled, Greetings},
    identity::Identity,
    outcome::Counters,
    pairing::Pairing,
    poll::PollPlan,
    replays::OnReplay,
    shapes::Shapes,
    template::Part,
    typing::Typing,
    verify::{BatchRule, Form, Incoming, KeySet, Rejection, Reply, Verifier, View},
    watch::SilentAfter,
};

/// A configured origin of webhooks.
#[derive(Debug)]
pub struct Source {
    /// Its name, and the `source` of its events.
    pub name: Arc<str>,
    /// Where it posts to.
    pub path: String,
    /// The name of its provider, `custom`, or `none`.
    pub scheme: String,
    /// How its webhooks fare.
    pub counters: Arc<Counters>,
    /// Who may knock.
    pub(crate) admission: Admission,
    /// `None` only if the source says so in so many words.
    pub(crate) verifier: Option<Verifier>,
    pub(crate) form: Form,
    /// Content types that are JSON although they do not say so.
    pub(crate) accept: Vec<String>,
    /// Whether its webhooks are CloudEvents.
    pub(crate) cloudevents: bool,
    pub(crate) greetings: Greetings,
    /// How it learns the secret that its provider gives. `None` if it does not.
    pub(crate) pairing: Option<Arc<Pairing>>,
    pub(crate) batch: Option<BatchRule>,
    pub(crate) reply: Option<Reply>,
    pub(crate) identity: Identity,
    pub(crate) typing: Typing,
    /// `None` where a type is signed, or looks like nothing in particular.
    pub(crate) shapes: Option<Shapes>,
    /// Every pointer that the source's rules look at.
    pub(crate) selector: Selector,
    pub(crate) max_body: usize,
    pub(crate) body_timeout: Duration,
    pub(crate) refuses_undecodable: bool,
    pub(crate) keeps_raw: bool,
    pub(crate) silent_after: SilentAfter,
    /// `None` where it is not looked for.
    pub(crate) on_replay: Option<OnReplay>,
    /// How its provider is asked for what was missed, if it is.
    pub(crate) poll: Option<PollPlan>,
}

impl Source {
    /// Whether nothing is verified: anybody who reaches the path can send events.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        self.verifier.is_none()
    }

    /// Whether what verifies it should not be chosen where there is a choice: SHA-1, a bare secret, a signature that leaves the payload
    /// open, or nothing.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        self.verifier.as_ref().is_none_or(|verifier| verifier.scheme().is_weak())
    }

    /// How many secrets are active.
    #[must_use]
    pub fn active_secrets(&self) -> usize {
        self.verifier.as_ref().map_or(0, Verifier::active_secrets)
    }

    /// What signs samples for it; `None` if it is not verified.
    #[must_use]
    pub fn verifier(&self) -> Option<&Verifier> {
        self.verifier.as_ref()
    }

    /// The event types that its webhooks can become.
    #[must_use]
    pub fn event_types(&self) -> Vec<String> {
        self.typing.event_types()
    }

    /// The headers that its identity and its types look at, and what says what the body is.
    pub(crate) fn headers_looked_at(&self) -> Vec<&http::HeaderName> {
        self.identity.headers().into_iter().chain(self.typing.headers()).chain([&http::header::CONTENT_TYPE]).collect()
    }

    /// What nobody may see: every secret that it has.
    pub(crate) fn secrets(&self) -> impl Iterator<Item = &[u8]> {
        let active = self.verifier.iter().flat_map(|verifier| verifier.secrets().iter().chain(verifier.access()));
        let token = self.poll.iter().filter_map(PollPlan::token);
        active.chain(&self.greetings.token).chain(token).map(crate::config::Secret::expose)
    }

    /// Where its signature stands, unless that is a header, and where its provider gives its secret.
    fn secret_parts(&self) -> impl Iterator<Item = &Part> {
        let signature = self.verifier.iter().filter_map(|verifier| verifier.scheme().signature.at.as_ref());
        let offered = self.greetings.rules.iter().filter_map(|rule| rule.learns.as_ref());
        signature.chain(offered).flat_map(super::Template::parts)
    }

    /// Where its signature, or a secret, stands in the payload, as JSON pointers; empty where it does not.
    pub(crate) fn secret_pointers(&self) -> Vec<String> {
        let pointer = |part: &Part| if let Part::Pointer(pointer) = part { Some(pointer.to_string()) } else { None };
        self.secret_parts().filter_map(pointer).collect()
    }

    /// The parameters of its address that are its signature, or a secret.
    pub(crate) fn secret_parameters(&self) -> Vec<String> {
        let name = |part: &Part| if let Part::Query(name) = part { Some(name.clone()) } else { None };
        self.secret_parts().filter_map(name).collect()
    }

    /// The headers in which its provider gives a secret.
    pub(crate) fn secret_headers(&self) -> Vec<&http::HeaderName> {
        self.secret_parts().filter_map(|part| if let Part::Header(name) = part { Some(name) } else { None }).collect()
    }

    /// What its provider names a delivery by, as far as a request that may be anybody's says; empty if it does not.
    pub(crate) fn delivery_id_of(&self, request: Incoming<'_>) -> String {
        let selected = str::from_utf8(request.body).ok().and_then(|text| self.selector.select(text).ok()).unwrap_or_default();
        if matches!(self.identity, Identity::DeliveryId(..)) {
            return self.identity.id(request.headers, &selected, request.body).unwrap_or_default();
        }
        let Some(rule) = self.verifier.as_ref().and_then(|verifier| verifier.scheme().delivery_id.as_ref()) else { return String::new() };
        let mut selector = Selector::default();
        rule.ask(&mut selector);
        let selected = str::from_utf8(request.body).ok().and_then(|text| selector.select(text).ok()).unwrap_or_default();
        let view = View::new(request, "", &selector, &selected);
        view.text(rule).map_or_else(String::new, std::borrow::Cow::into_owned)
    }

    /// What tells its webhooks apart, as the admin API names it.
    #[must_use]
    pub fn identity(&self) -> waypost_proto::v1::SourceIdentity {
        use waypost_proto::v1::SourceIdentity;
        match self.identity {
            Identity::DeliveryId(..) => SourceIdentity::DeliveryId,
            Identity::Template(..) => SourceIdentity::Template,
            Identity::BodyHash(_) => SourceIdentity::BodyHash,
            Identity::None => SourceIdentity::None,
        }
    }

    pub(crate) fn verify(&self, request: Incoming<'_>, fetched: Option<&KeySet>, wall: u64) -> Result<(), Rejection> {
        self.verifier.as_ref().map_or(Ok(()), |verifier| verifier.verify(request, fetched, wall))
    }

    /// What kinds of bodies it takes.
    pub(super) fn taken(&self) -> Taken<'_> {
        Taken { form: self.form, accept: &self.accept, cloudevents: self.cloudevents }
    }

    /// What its provider wants to be answered, if it wants something.
    pub(crate) fn reply(&self, request: Incoming<'_>) -> Option<Filled> {
        let (selector, selected) = (Selector::default(), Selected::default());
        self.reply.as_ref()?.fill(&View::new(request, "", &selector, &selected))
    }

    /// Goes on where the source of its name has come before it.
    fn inherit(&mut self, before: &Self) {
        self.counters = Arc::clone(&before.counters);
        self.admission.inherit(&before.admission);
        if let (Some(pairing), Some(before)) = (&mut self.pairing, &before.pairing) {
            *pairing = Pairing::after(Arc::clone(pairing), before);
        }
    }

    /// Says what an operator should know of it before relying on it.
    pub(crate) fn announce(&self) {
        let source = &*self.name;
        let facts = self.verifier.as_ref().map(|verifier| &verifier.scheme().facts);
        if let Some(facts) = facts.filter(|facts| facts.experimental) {
            let (scheme, note) = (&*self.scheme, &*facts.note);
            tracing::warn!(
                source,
                scheme,
                note,
                "this provider's scheme is experimental: it was not checked against the provider's own words"
            );
        }
        if let Some(file) = self.pairing.as_ref().and_then(|pairing| pairing.open()) {
            let (path, file, time) = (&*self.path, file.path().display(), crate::limits::PAIRING_OPEN);
            tracing::warn!(source, path, %file, "pairing is open for {time} from its begin: the first secret that is posted is kept in the file");
        }
    }
}

/// The configured sources.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    by_name: BTreeMap<Arc<str>, Arc<Source>>,
    by_path: HashMap<String, Arc<str>>,
}

impl Sources {
    /// Puts sources together. Their paths differ.
    ///
    /// # Errors
    /// Names two sources with the same path.
    pub fn new(sources: impl IntoIterator<Item = Source>) -> Result<Self, SamePath> {
        let mut by_path: HashMap<String, Arc<str>> = HashMap::new();
        let mut by_name = BTreeMap::new();
        for source in sources {
            if let Some(first) = by_path.insert(source.path.clone(), Arc::clone(&source.name)) {
                return Err(SamePath { first, second: source.name, path: source.path });
            }
            by_name.insert(Arc::clone(&source.name), Arc::new(source));
        }
        Ok(Self { by_name, by_path })
    }

    /// A source by its name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Source>> {
        self.by_name.get(name)
    }

    /// A source by the path that it posts to.
    #[must_use]
    pub fn at(&self, path: &str) -> Option<&Arc<Source>> {
        self.by_name.get(self.by_path.get(path)?)
    }

    /// Goes on counting where sources of the same names have come. Nobody may have one of these yet.
    pub(super) fn inherit(&mut self, before: &Self) {
        for (name, source) in &mut self.by_name {
            if let (Some(source), Some(before)) = (Arc::get_mut(source), before.get(name)) {
                source.inherit(before);
            }
        }
    }

    /// The same with some of them renewed: of the same names and paths.
    pub(super) fn with(&self, renewed: impl Iterator<Item = Source>) -> Self {
        let mut all = self.clone();
        for mut source in renewed {
            if let Some(before) = self.get(&source.name) {
                source.inherit(before);
            }
            all.by_name.insert(Arc::clone(&source.name), Arc::new(source));
        }
        all
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Source>> {
        self.by_name.values()
    }
}

/// Two sources post to one path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sources {first} and {second} have the same path {path}; each needs one of its own")]
pub struct SamePath {
    /// One of them.
    pub first: Arc<str>,
    /// The other.
    pub second: Arc<str>,
    /// The path.
    pub path: String,
}
