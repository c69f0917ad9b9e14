//! Every scheme of the table against everything that must not pass, derived from the scheme itself.
//!
//! Constraint: what is expected follows from the row alone; a row that a fault does not apply to says so by its data.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::*;
use crate::ingress::{
    Outcome,
    template::Part,
    verify::{
        Algorithm, Covers, Encoding, KeyEncoding, KeySet, Rejection, Scheme,
        tests::{SHOWN, Vector, vectors},
    },
};

/// A webhook that may have a fault.
#[derive(Clone)]
pub(super) struct Attempt {
    pub(super) vector: Vector,
    pub(super) headers: HeaderMap,
    /// The keys that the provider publishes, as if they had been fetched.
    pub(super) keys: Option<KeySet>,
    /// What fetches them otherwise.
    pub(super) ring: Option<KeyRing>,
    /// Seconds from when it was sent to when it comes.
    pub(super) late: i64,
}

impl Attempt {
    pub(super) fn new(vector: &Vector) -> Self {
        Self { vector: vector.clone(), headers: vector.headers(), keys: vector.keys(), ring: None, late: 0 }
    }

    fn scheme(&self) -> &Scheme {
        &self.vector.scheme.scheme
    }

    /// What is answered, and what was counted.
    pub(super) async fn send(&self) -> (Answer, Outcome) {
        let Self { vector, headers, keys, ring, late } = self;
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("secret"), &vector.secret).unwrap();
        std::fs::write(folder.path().join("shown"), SHOWN).unwrap();
        let secrets = if vector.secret.is_empty() { vec![] } else { vec!["file:secret".parse().unwrap()] };
        let handshake_token = self.scheme().asks_for_a_token().then(|| "file:secret".parse().unwrap());
        let config = SourceConfig {
            path: vector.target.split('?').next().map(str::to_owned),
            scheme: Some(vector.scheme.clone()),
            secrets,
            handshake_token,
            public_base_url: (!vector.base.is_empty()).then(|| vector.base.clone()).or(Some("https://unused.example".into())),
            allow: vector.allow.clone(),
            access: self.scheme().access().into_iter().map(|name| (name.to_owned(), "file:shown".parse().unwrap())).collect(),
            ..toml::from_str("").unwrap()
        };
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::built_in().unwrap());
        let edge = parse("", Path::new("")).unwrap().config.edge;
        let known = Secrets::within(folder.path());
        let context = SourceContext { schemas: &SCHEMAS, edge: &edge, dedup_window: Span::from_millis(1_000), secrets: &known };
        let mut findings = Findings::default();
        let source = config.build("x", context, &mut findings);
        let sources = Sources::new([source.unwrap_or_else(|| panic!("{}: {findings:?}", vector.name))]).unwrap();
        let ring = ring.clone().unwrap_or_default();
        if let (Some(published), Some(keys)) = (&vector.fetched, keys) {
            ring.hold(&published.name(), keys.clone());
        }
        let at = u64::try_from(i64::try_from(vector.now).unwrap() + late).unwrap();
        let (store, clock) = (Arc::new(MemoryStore::open(MemoryConfig::default())), Clock::starting_at(at * 1_000_000));
        let entropy = Arc::new(Entropy::seeded(1));
        let replays = Arc::new(Replays::new(&entropy));
        let sources_now = LiveSources::new(sources.clone());
        let (tracer, journal) = (Tracer::off(), Journal::off());
        let edge =
            Edge { store, clock, entropy, sources: sources_now, keys: ring, replays, tracer, journal, renewals: Renewals::default() };
        let response = router(edge).oneshot(request(&vector.target, headers.clone(), vector.body.clone())).await.unwrap();
        let (head, body) = response.into_parts();
        let answer = Answer { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() };
        let counters = &sources.get("x").unwrap().counters;
        let counted: Vec<Outcome> = Outcome::ALL.iter().copied().filter(|outcome| counters.get(*outcome) > 0).collect();
        let [outcome] = counted[..] else { panic!("{}: {counted:?}", vector.name) };
        (answer, outcome)
    }

    async fn is_refused(&self, fault: &str, as_one_of: &[Rejection]) {
        let (answer, outcome) = self.send().await;
        let expected: Vec<Outcome> = as_one_of.iter().map(|rejection| Outcome::from(*rejection)).collect();
        assert!(expected.contains(&outcome), "{}, {fault}: {outcome:?}, not {expected:?}", self.vector.name);
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{}, {fault}", self.vector.name);
        assert_eq!(answer.text("message"), "the signature is missing or wrong", "{}, {fault}", self.vector.name);
    }

    /// The headers, of those that may hold the signature, that do.
    fn signature_headers(&self) -> Vec<HeaderName> {
        self.scheme().signature.header.iter().filter(|name| self.headers.contains_key(*name)).cloned().collect()
    }

    /// The signature as it was sent, without prefix and list.
    fn signature(&self) -> String {
        let rule = &self.scheme().signature;
        let text = match rule.at.as_ref().map(|at| &at.0[0]) {
            Some(Part::Pointer(pointer)) => {
                self.payload().pointer(&self.absolute(&pointer.to_string())).unwrap().as_str().unwrap().to_owned()
            }
            Some(_) => self.vector.target.rsplit('=').next().unwrap().to_owned(),
            None => self.headers[self.signature_headers().last().unwrap()].to_str().unwrap().to_owned(),
        };
        let text = match &rule.list {
            Some(list) => text.rsplit_once(&format!("{}{}", list.key, list.assign)).unwrap().1.to_owned(),
            None => text,
        };
        text.strip_prefix(&*rule.prefix).unwrap().to_owned()
    }

    /// Whether other signatures came with it.
    fn has_others(&self) -> bool {
        let rule = &self.scheme().signature;
        let in_list = rule.list.as_ref().is_some_and(|list| {
            let text = self.headers[&rule.header[0]].to_str().unwrap();
            text.matches(&format!("{}{}", list.key, list.assign)).count() > 1
        });
        in_list || self.signature_headers().len() > 1
    }

    fn with_signature(&self, signature: &str) -> Self {
        let mut other = self.clone();
        let old = self.signature();
        match self.signature_headers().last() {
            Some(name) => {
                let value = self.headers[name].to_str().unwrap();
                let at = value.rfind(&old).unwrap();
                other.headers.insert(name, format!("{}{signature}", &value[..at]).parse().unwrap());
            }
            None if self.vector.target.contains(&old) => other.vector.target = self.vector.target.replace(&old, signature),
            None => other.vector.body = self.vector.body.replace(&old, signature),
        }
        other
    }

    fn payload(&self) -> Value {
        serde_json::from_str(&self.vector.body).unwrap()
    }

    /// A pointer of the scheme, in the whole payload: that of a signed item is in the first.
    fn absolute(&self, pointer: &str) -> String {
        match self.scheme().batch.as_ref().filter(|batch| batch.signed) {
            Some(batch) => format!("{}/0{pointer}", batch.at),
            None => pointer.to_owned(),
        }
    }

    /// The headers that are signed.
    fn signed_headers(&self) -> Vec<HeaderName> {
        let name = |part: &Part| if let Part::Header(name) = part { Some(name.clone()) } else { None };
        self.scheme().signed.0.iter().filter_map(name).collect()
    }

    /// Whether the signature protects anything of the body.
    fn protects_the_body(&self) -> bool {
        let scheme = self.scheme();
        scheme.covers != Covers::Nothing && (scheme.algorithm.signs() || scheme.body_hash.is_some())
    }

    fn is_form(&self) -> bool {
        self.headers.get("content-type").is_some_and(|value| value.to_str().unwrap().contains("form"))
    }

    /// What a changed body is refused as.
    fn changed_body(&self) -> Rejection {
        if self.scheme().body_hash.is_some() && !self.is_form() { Rejection::BodyHashWrong } else { Rejection::SignatureWrong }
    }
}

/// One character changed, of those that carry more than padding bits.
fn flipped(text: &str, at: usize) -> String {
    let mut text = text.to_owned();
    let other = if text.as_bytes()[at] == b'4' { "5" } else { "4" };
    text.replace_range(at..=at, other);
    text
}

fn flipped_at_the_end(text: &str) -> String {
    flipped(text, text.trim_end_matches('=').len() - 3)
}

#[tokio::test]
async fn every_scheme_accepts_its_vector() {
    for vector in vectors() {
        let (answer, outcome) = Attempt::new(&vector).send().await;
        // One needs the network; that it asks for it is enough here.
        let asks = outcome == Outcome::KeysUnavailable && vector.body.contains("SubscriptionConfirmation");
        assert!(asks || (answer.status.is_success() && !outcome.is_unverified()), "{}: {outcome:?} {answer:?}", vector.name);
    }
}

#[tokio::test]
async fn no_scheme_accepts_a_changed_body() {
    for vector in vectors() {
        let attempt = Attempt::new(&vector);
        if !attempt.protects_the_body() {
            continue;
        }
        let mut other = attempt.clone();
        if attempt.scheme().covers == Covers::Fields {
            for part in attempt.scheme().signed.parts() {
                let Part::Pointer(pointer) = part else { continue };
                let mut payload = attempt.payload();
                let Some(value) = payload.pointer_mut(&attempt.absolute(&pointer.to_string())) else { continue };
                *value = Value::String("another".to_owned());
                other.vector.body = payload.to_string();
                other.is_refused(&pointer.to_string(), &[Rejection::SignatureWrong]).await;
            }
        } else {
            other.vector.body = flipped(&vector.body, vector.body.len() / 2);
            other.is_refused("a changed body", &[attempt.changed_body()]).await;
            other.vector.body = format!("{} ", vector.body);
            other.is_refused("a longer body", &[attempt.changed_body()]).await;
        }
    }
}

#[tokio::test]
async fn no_scheme_accepts_an_empty_body() {
    for vector in vectors() {
        let attempt = Attempt::new(&vector);
        let in_body = |part: &Part| matches!(part, Part::Pointer(_));
        let scheme = attempt.scheme();
        let expected = if scheme.keys.as_ref().is_some_and(|rule| rule.url.parts().any(in_body)) {
            Rejection::KeyUnknown
        } else if scheme.signature.at.as_ref().is_some_and(|at| at.parts().any(in_body)) {
            Rejection::SignatureMissing
        } else if attempt.protects_the_body() {
            attempt.changed_body()
        } else {
            continue;
        };
        let mut other = attempt.clone();
        other.vector.body = String::new();
        other.is_refused("an empty body", &[expected]).await;
    }
}

#[tokio::test]
async fn no_scheme_accepts_a_changed_signature() {
    for vector in vectors() {
        let attempt = Attempt::new(&vector);
        let other = attempt.with_signature(&flipped_at_the_end(&attempt.signature()));
        other.is_refused("a changed signature", &[Rejection::SignatureWrong]).await;
    }
}

#[tokio::test]
async fn no_scheme_accepts_another_secret() {
    for vector in vectors().into_iter().filter(|vector| !vector.secret.is_empty()) {
        let mut other = Attempt::new(&vector);
        let secret = &vector.secret;
        other.vector.secret = match other.scheme().key {
            KeyEncoding::Utf8 => format!("{secret}x"),
            KeyEncoding::Jwk => flipped(secret, secret.find("\"x\": \"").unwrap() + 10),
            _ => flipped(secret, secret.len() * 3 / 4),
        };
        other.is_refused("another secret", &[Rejection::SignatureWrong]).await;
    }
}

#[tokio::test]
async fn no_scheme_accepts_another_published_key() {
    let another = rcgen::KeyPair::generate().unwrap();
    for vector in vectors().into_iter().filter(|vector| vector.fetched.is_some()) {
        let mut other = Attempt::new(&vector);
        other.keys = Some(KeySet::of_pem(another.public_key_pem().as_bytes()).unwrap());
        other.is_refused("another key", &[Rejection::SignatureWrong]).await;
    }
}

#[tokio::test]
async fn no_scheme_with_a_time_accepts_an_old_or_a_future_one() {
    let mut timed = BTreeMap::new();
    for vector in vectors() {
        let mut other = Attempt::new(&vector);
        let scheme = other.scheme();
        // Some vectors come a few seconds before or after the time that is signed in them.
        let tolerance = match (&scheme.timestamp, &scheme.jwt) {
            (Some(rule), _) => i64::try_from(rule.tolerance.micros() / 1_000_000).unwrap() + 10,
            (None, Some(_)) => 3_670,
            (None, None) => continue,
        };
        other.late = tolerance;
        other.is_refused("late", &[Rejection::TimestampOld]).await;
        other.late = -tolerance;
        other.is_refused("early", &[Rejection::TimestampAhead]).await;
        timed.insert(vector.scheme.name, tolerance);
    }
    assert!(timed.len() > 20, "{timed:?}");
}

#[tokio::test]
async fn every_header_that_matters_must_be_there_and_once() {
    for vector in vectors() {
        let attempt = Attempt::new(&vector);
        let signature = attempt.signature_headers();
        if !signature.is_empty() {
            let mut other = attempt.clone();
            signature.iter().for_each(|name| drop(other.headers.remove(name)));
            other.is_refused("no signature", &[Rejection::SignatureMissing]).await;
            let mut other = attempt.clone();
            let name = signature.last().unwrap();
            other.headers.append(name, attempt.headers[name].clone());
            other.is_refused("two signatures", &[Rejection::SignatureRepeated]).await;
            let mut other = attempt.clone();
            signature.iter().for_each(|name| drop(other.headers.insert(name, HeaderValue::from_static(" "))));
            other.is_refused("an empty signature", &[Rejection::SignatureEmpty]).await;
        }
        for name in attempt.signed_headers() {
            let mut other = attempt.clone();
            let value = other.headers.remove(&name).unwrap();
            other.is_refused("a signed header is missing", &[Rejection::SignedPartMissing]).await;
            other.headers.append(&name, value.clone());
            other.headers.append(&name, value);
            other.is_refused("a signed header is there twice", &[Rejection::SignedPartMissing]).await;
        }
        let mut other = attempt.clone();
        if let Some(Part::Header(name)) = attempt.scheme().keys.as_ref().map(|rule| &rule.url.0[0]) {
            for value in ["", "https://evil.example/v1/notifications/certs/CERT-1", "http://api.paypal.com/v1/notifications/certs/CERT-1"] {
                other.headers.insert(name, HeaderValue::from_static(value));
                other.is_refused("an address that is not the provider's", &[Rejection::KeyUnknown]).await;
            }
        }
        for name in vector.allow.keys() {
            other.vector.allow.insert(name.clone(), vec!["another".to_owned()]);
            other.is_refused("signed for somebody else", &[Rejection::NotAllowed]).await;
            other.vector.allow = vector.allow.clone();
        }
    }
}

#[tokio::test]
async fn no_scheme_accepts_another_encoding() {
    for vector in vectors() {
        let attempt = Attempt::new(&vector);
        let (scheme, others) = (attempt.scheme(), attempt.has_others());
        let malformed = if others { Rejection::SignatureWrong } else { Rejection::SignatureEncoding };
        match (scheme.algorithm, scheme.signature.encoding) {
            (Algorithm::Equals, _) => {}
            (Algorithm::Jwt, _) => {
                attempt.with_signature("no.token").is_refused("no token", &[Rejection::SignatureGrammar]).await;
                attempt.with_signature("no.~~.token").is_refused("no token", &[Rejection::SignatureEncoding]).await;
            }
            (algorithm, encoding) => {
                attempt.with_signature("~~~~").is_refused("no encoding", &[malformed]).await;
                let signature = attempt.signature();
                if algorithm == Algorithm::Basic {
                    continue;
                }
                if encoding == Encoding::Hex {
                    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, hex::decode(signature).unwrap());
                    attempt.with_signature(&base64).is_refused("base64", &[malformed]).await;
                } else {
                    let bytes = base64::Engine::decode(&base64::engine::general_purpose::STANDARD_NO_PAD, signature.trim_end_matches('='));
                    let bytes = bytes.unwrap();
                    attempt
                        .with_signature(&hex::encode(bytes))
                        .is_refused("hex", &[Rejection::SignatureWrong, Rejection::SignatureEncoding])
                        .await;
                }
            }
        }
    }
}
