//! The edge as a sender sees it: requests against the router, on the store in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

/// A payload that an outside system sends.
macro_rules! payload {
    ($($name:literal)+) => {
        include_str!(concat!("../../../../tests/payloads/", $($name,)+ ".json"))
    };
}

mod admission;
mod answers;
mod any_input;
mod batch;
mod cloudevents;
mod coding;
mod configured;
mod handshakes;
mod hostile;
mod identity;
mod keys;
mod keys_by_id;
mod mend;
mod pairing;
mod poll;
mod providers;
mod quarantine;
mod replays;
mod shapes;
mod shipped;
mod stand_in;
mod typing;

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use axum::{Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use prost::Message;
use serde_json::Value;
use tower::ServiceExt;
use waypost_proto::wire;
use waypost_store::{EventStore, MemoryConfig, MemoryStore, ReadLimits, Selection, StoredEvent};

use super::{Edge, KeyRing, LiveSources, Replays, Source, Sources, router, verify::Sample};
use crate::{
    clock::Clock,
    config::{EdgeConfig, Findings, Secrets, SourceConfig, SourceContext, Span, parse},
    entropy::Entropy,
    envelope,
    journal::Journal,
    renewal::Renewals,
    schema::Schemas,
    system::SYSTEM_SOURCE,
    trace::Tracer,
};

/// 2026-04-05T10:30:00Z.
const NOW: u64 = 1_775_385_000_000_000;

const SECRET: &str = "It's a Secret to Everybody";

const LIMITS: ReadLimits = ReadLimits { events: 1_000, bytes: 64 << 20 };

/// An edge with its store.
struct Harness {
    router: Router,
    store: Arc<dyn EventStore>,
    sources: Sources,
    live: LiveSources,
    replays: Arc<Replays>,
    clock: Clock,
    _secrets: tempfile::TempDir,
}

/// What a sender gets.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self, key: &str) -> String {
        self.json()[key].as_str().unwrap().to_owned()
    }

    /// Status code and `status`, for short assertions.
    fn summary(&self) -> (u16, String) {
        (self.status.as_u16(), self.text("status"))
    }
}

impl Harness {
    /// The sources of a configuration, `[NAME]` each; `file:secret` is [`SECRET`], `file:next` is `next`.
    fn new(sources: &str) -> Self {
        Self::on(Arc::new(MemoryStore::open(MemoryConfig::default())), sources)
    }

    /// The same behind proxies.
    fn behind(proxies: &str, sources: &str) -> Self {
        let mut edge = Self::new("");
        let proxies: Vec<_> = proxies.split_whitespace().map(|proxy| proxy.parse().unwrap()).collect();
        let config = EdgeConfig { trusted_proxies: proxies, ..parse("", Path::new("")).unwrap().config.edge };
        let (built, findings, secrets) = build_on(&config, sources, built_in());
        assert_eq!(findings, [], "{sources}");
        edge.sources = Sources::new(built).unwrap();
        edge.live.replace(edge.sources.clone());
        Self { _secrets: secrets, ..edge }
    }

    fn on(store: Arc<dyn EventStore>, sources: &str) -> Self {
        let (built, findings, secrets) = build(sources);
        assert_eq!(findings, [], "{sources}");
        let sources = Sources::new(built).unwrap();
        let clock = Clock::starting_at(NOW);
        let entropy = Arc::new(Entropy::seeded(1));
        let (live, keys) = (LiveSources::new(sources.clone()), KeyRing::default());
        let replays = Arc::new(Replays::new(&entropy));
        let edge = Edge {
            store: Arc::clone(&store),
            clock,
            entropy,
            sources: live.clone(),
            keys,
            replays: Arc::clone(&replays),
            tracer: Tracer::off(),
            journal: Journal::off(),
            renewals: Renewals::default(),
        };
        Self { router: router(edge), store, sources, live, replays, clock, _secrets: secrets }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    /// Posts what `Verifier::sign` makes of a body.
    async fn post(&self, source: &str, id: &str, event_type: Option<&str>, body: &str) -> Answer {
        self.send(self.signed(source, id, event_type, body)).await
    }

    fn signed(&self, source: &str, id: &str, event_type: Option<&str>, body: &str) -> Request<Body> {
        let source = self.sources.get(source).unwrap();
        let headers = match source.verifier() {
            Some(verifier) => {
                let (target, wall) = (source.path.parse().unwrap(), self.clock.wall());
                let sample = Sample { target: &target, body: body.as_bytes(), delivery_id: id, event_type, wall };
                verifier.sign(HeaderMap::new(), &sample).unwrap()
            }
            None => HeaderMap::new(),
        };
        request(&source.path, headers, body.to_owned())
    }

    /// What the sources brought.
    async fn stored(&self) -> Vec<StoredEvent> {
        self.all().await.into_iter().filter(|event| event.head.source() != SYSTEM_SOURCE).collect()
    }

    /// What the broker told.
    async fn told(&self) -> Vec<wire::Event> {
        let own = self.all().await.into_iter().filter(|event| event.head.source() == SYSTEM_SOURCE);
        own.map(|stored| envelope::event(&stored.body).decode_event().unwrap()).collect()
    }

    async fn all(&self) -> Vec<StoredEvent> {
        self.store.read(1, &Selection::All, LIMITS).await.unwrap().events
    }

    async fn events(&self) -> Vec<wire::Event> {
        self.stored().await.iter().map(|stored| envelope::event(&stored.body).decode_event().unwrap()).collect()
    }

    /// The one event there is.
    async fn event(&self) -> wire::Event {
        let [event] = self.events().await.try_into().unwrap();
        event
    }

    fn count(&self, source: &str, outcome: super::Outcome) -> u64 {
        self.sources.get(source).unwrap().counters.get(outcome)
    }
}

/// Builds sources; answers what was reported, too.
fn build(sources: &str) -> (Vec<Source>, Vec<(String, String)>, tempfile::TempDir) {
    build_with(sources, built_in())
}

fn built_in() -> &'static Schemas {
    static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::built_in().unwrap());
    &SCHEMAS
}

fn build_with(sources: &str, schemas: &Schemas) -> (Vec<Source>, Vec<(String, String)>, tempfile::TempDir) {
    build_on(&parse("", Path::new("")).unwrap().config.edge, sources, schemas)
}

fn build_on(edge: &EdgeConfig, sources: &str, schemas: &Schemas) -> (Vec<Source>, Vec<(String, String)>, tempfile::TempDir) {
    let secrets = tempfile::tempdir().unwrap();
    std::fs::write(secrets.path().join("secret"), format!("{SECRET}\n")).unwrap();
    std::fs::write(secrets.path().join("next"), "next").unwrap();
    std::fs::write(secrets.path().join("standard"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let known = Secrets::within(secrets.path());
    let context = SourceContext { schemas, edge, dedup_window: Span::from_millis(72 * 3_600_000), secrets: &known };
    let configs: std::collections::BTreeMap<String, SourceConfig> = toml::from_str(sources).unwrap();
    let mut findings = Findings::default();
    let built = configs.iter().filter_map(|(name, config)| config.build(name, context, &mut findings)).collect();
    (built, findings.into_inner(), secrets)
}

fn request(path: &str, headers: HeaderMap, body: impl Into<Body>) -> Request<Body> {
    let mut request = Request::builder().method(Method::POST).uri(path).body(body.into()).unwrap();
    *request.headers_mut() = headers;
    request
}

/// What a provider would sign, whatever the path.
fn sample<'a>(body: &'a [u8], event_type: Option<&'a str>) -> Sample<'a> {
    static TARGET: LazyLock<http::Uri> = LazyLock::new(|| http::Uri::from_static("/hooks/x"));
    Sample { target: &TARGET, body, delivery_id: "1", event_type, wall: NOW }
}

fn data<T: Message + Default + prost::Name>(event: &wire::Event) -> T {
    let data = event.data.as_ref().unwrap();
    assert_eq!(data.type_url, format!("type.googleapis.com/{}", T::full_name()));
    T::decode(data.value.clone()).unwrap()
}

#[tokio::test]
async fn p1_a_signed_post_is_a_durable_event_when_it_is_answered() {
    let edge = Harness::new("[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\npath = \"/github-webhook\"");
    let answer = edge.post("github", "72d3162e", Some("issues"), payload!("github_issues")).await;
    assert_eq!(answer.summary(), (202, "accepted".to_owned()), "{answer:?}");
    assert_eq!(answer.text("event_id"), "72d3162e");

    let event = edge.event().await;
    assert_eq!((&*event.id, &*event.source, &*event.r#type), ("72d3162e", "github", "github.v1.IssueChanged"));
    assert_eq!(event.attributes["providertype"], "issues.opened");
    assert_eq!(data::<waypost_proto::github::v1::IssueChanged>(&event).issue.unwrap().title, "Delay not propagated");
    assert_eq!(envelope::raw(&edge.stored().await[0].body), payload!("github_issues"));
}
