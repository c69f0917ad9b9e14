//! Vectors, and what must not pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderName};
use proptest::prelude::*;
use serde::Deserialize;

use super::{Rejection, SampleProblem, Scheme, SchemeConfig, Verifier, provider};
use crate::config::Secret;

#[derive(Deserialize)]
struct Vectors {
    vector: Vec<Vector>,
}

#[derive(Clone, Deserialize)]
struct Vector {
    name: String,
    #[expect(dead_code, reason = "for the reader of the file")]
    origin: String,
    scheme: SchemeConfig,
    secret: String,
    now: u64,
    headers: BTreeMap<String, String>,
    body: String,
}

fn vectors() -> Vec<Vector> {
    toml::from_str::<Vectors>(include_str!("vectors.toml")).unwrap().vector
}

impl Vector {
    fn find(name: &str) -> Self {
        vectors().into_iter().find(|vector| vector.name == name).unwrap()
    }

    fn headers(&self) -> HeaderMap {
        self.headers.iter().map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap())).collect()
    }

    fn signature_header(&self) -> &HeaderName {
        &self.scheme.scheme.signature.header
    }

    fn verifier(&self) -> Verifier {
        verifier(&self.scheme.scheme, &[&self.secret])
    }

    fn wall(&self) -> u64 {
        self.now * 1_000_000
    }

    fn verify(&self) -> Result<(), Rejection> {
        self.verifier().verify(&self.headers(), self.body.as_bytes(), self.wall())
    }
}

fn verifier(scheme: &Scheme, secrets: &[&str]) -> Verifier {
    assert_eq!(scheme.problems(), []);
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Verifier::new(scheme.clone(), &secrets).unwrap()
}

#[test]
fn every_vector_verifies() {
    for vector in vectors() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.name);
    }
}

#[test]
fn every_provider_is_sound_and_has_a_vector() {
    let table: BTreeMap<String, Scheme> = toml::from_str(include_str!("providers.toml")).unwrap();
    for (name, scheme) in table {
        assert_eq!(scheme.problems(), [], "{name}");
        assert!(vectors().iter().any(|vector| vector.scheme.name == name), "{name} has no vector");
        assert!(!scheme.facts.title.is_empty(), "{name} has no title");
    }
    let error = provider("githup").unwrap_err();
    assert!(error.contains("github, hmac, shopify"), "{error}");
}

#[test]
fn a_changed_byte_anywhere_is_refused() {
    for vector in vectors() {
        if vector.scheme.scheme.algorithm == super::Algorithm::Equals {
            continue;
        }
        let mut body = vector.body.clone();
        let middle = body.len() / 2;
        body.replace_range(middle..=middle, if body.as_bytes()[middle] == b'x' { "y" } else { "x" });
        let other = Vector { body, ..vector.clone() };
        assert_eq!(other.verify(), Err(Rejection::SignatureWrong), "{}: body", vector.name);
        let other = Vector { body: String::new(), ..vector.clone() };
        assert_eq!(other.verify(), Err(Rejection::SignatureWrong), "{}: no body", vector.name);
    }
    for vector in vectors() {
        let mut other = vector.clone();
        let value = other.headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case(vector.signature_header().as_str())).unwrap().1;
        // The last character that carries more than padding bits.
        let at = value.trim_end_matches('=').len() - 3;
        let flipped = if value.as_bytes()[at] == b'4' { "5" } else { "4" };
        value.replace_range(at..=at, flipped);
        assert!(other.verify().is_err(), "{}: signature", vector.name);
        let other = Vector { secret: "4444".into(), ..vector.clone() };
        assert_eq!(other.verify(), Err(Rejection::SignatureWrong), "{}: secret", vector.name);
    }
}

#[test]
fn what_is_verified_are_the_raw_bytes() {
    let vector = Vector::find("Shopify");
    let parsed: serde_json::Value = serde_json::from_str(&vector.body).unwrap();
    let again = Vector { body: parsed.to_string(), ..vector };
    assert_eq!(again.verify(), Err(Rejection::SignatureWrong), "the same JSON in other bytes is another body");
}

#[test]
fn any_active_secret_will_do() {
    let vector = Vector::find("GitHub");
    let verify = |secrets: &[&str]| verifier(&vector.scheme.scheme, secrets).verify(&vector.headers(), vector.body.as_bytes(), 0);
    assert_eq!(verify(&["old", &vector.secret]), Ok(()));
    assert_eq!(verify(&[&vector.secret, "new"]), Ok(()));
    assert_eq!(verify(&["old", "new"]), Err(Rejection::SignatureWrong));
    assert_eq!(verify(&[]), Err(Rejection::SignatureWrong));
}

#[test]
fn each_fault_of_a_signature_has_its_reason() {
    let vector = Vector::find("GitHub");
    let right = &vector.headers["X-Hub-Signature-256"];
    let verify = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(vector.signature_header(), value.parse().unwrap());
        }
        vector.verifier().verify(&headers, vector.body.as_bytes(), 0)
    };
    assert_eq!(verify(&[]), Err(Rejection::SignatureMissing));
    assert_eq!(verify(&[right, right]), Err(Rejection::SignatureRepeated));
    assert_eq!(verify(&[""]), Err(Rejection::SignatureEmpty));
    assert_eq!(verify(&["sha256="]), Err(Rejection::SignatureEmpty));
    assert_eq!(verify(&[&right["sha256=".len()..]]), Err(Rejection::SignatureGrammar));
    assert_eq!(verify(&[&right.replace("sha256", "sha1")]), Err(Rejection::SignatureGrammar));
    assert_eq!(verify(&["sha256=no hexadecimal"]), Err(Rejection::SignatureEncoding));
    assert_eq!(verify(&[&right[..right.len() - 2]]), Err(Rejection::SignatureWrong), "a truncated signature");
}

#[test]
fn each_fault_of_a_list_has_its_reason() {
    let vector = Vector::find("Stripe");
    let right = vector.headers["Stripe-Signature"].clone();
    let signature = right.split(',').find(|item| item.starts_with("v1=")).unwrap();
    let verify = |value: &str| {
        let headers = [("Stripe-Signature".to_owned(), value.to_owned())].into();
        Vector { headers, ..vector.clone() }.verify()
    };
    assert_eq!(verify("t=1700000000"), Err(Rejection::SignatureGrammar), "no item that is a signature");
    assert_eq!(verify(&signature.replace("v1", "v0")), Err(Rejection::SignatureGrammar), "another version");
    assert_eq!(verify("t=1700000000,v1="), Err(Rejection::SignatureGrammar));
    assert_eq!(verify("t=1700000000,v1=zz"), Err(Rejection::SignatureEncoding));
    assert_eq!(verify(signature), Err(Rejection::SignedPartMissing), "no time");
    assert_eq!(verify(&format!("t=1700000000,t=1800000000,{signature}")), Err(Rejection::SignedPartMissing), "two times");
    assert_eq!(verify(&format!("t=1800000000,{signature}")), Err(Rejection::SignatureWrong), "another time");
    assert_eq!(verify(&format!(" t=1700000000 , {signature} ")), Ok(()));
}

#[test]
fn a_signed_header_must_be_there_once() {
    let vector = Vector::find("Standard Webhooks");
    let mut headers = vector.headers();
    headers.append("webhook-id", "another".parse().unwrap());
    assert_eq!(vector.verifier().verify(&headers, vector.body.as_bytes(), vector.wall()), Err(Rejection::SignedPartMissing));
    headers.remove("webhook-id");
    assert_eq!(vector.verifier().verify(&headers, vector.body.as_bytes(), vector.wall()), Err(Rejection::SignedPartMissing));
}

#[test]
fn a_signed_time_holds_within_its_tolerance_only() {
    for (name, tolerance) in [("Stripe", 300), ("Slack", 300), ("Standard Webhooks", 300)] {
        let vector = Vector::find(name);
        let at = |now| Vector { now, ..vector.clone() }.verify();
        assert_eq!(at(vector.now + tolerance), Ok(()), "{name}");
        assert_eq!(at(vector.now + tolerance + 1), Err(Rejection::TimestampOld), "{name}");
        assert_eq!(at(vector.now - tolerance), Ok(()), "{name}");
        assert_eq!(at(vector.now - tolerance - 1), Err(Rejection::TimestampAhead), "{name}");
    }
}

#[test]
fn a_signed_time_that_is_none_is_refused() {
    let scheme = provider("slack").unwrap();
    for time in ["", "soon", "-5", "1e9", "99999999999999999999"] {
        let headers: HeaderMap = [("x-slack-request-timestamp".parse().unwrap(), time.parse().unwrap())].into_iter().collect();
        let verifier = verifier(scheme, &["k"]);
        let content = format!("v0:{time}:body");
        let signature = super::mac::encode(scheme, &verifier.first_key().unwrap().sign(&[content.as_bytes()]));
        let mut headers = headers;
        headers.insert("x-slack-signature", format!("v0={signature}").parse().unwrap());
        assert_eq!(verifier.verify(&headers, b"body", 0), Err(Rejection::TimestampMalformed), "{time:?}");
    }
}

#[test]
fn samples_verify() {
    for vector in vectors() {
        let verifier = vector.verifier();
        let wall = vector.wall() + 123_456;
        let headers = verifier.sign(HeaderMap::new(), vector.body.as_bytes(), "d-1", Some("issues.opened"), wall).unwrap();
        assert_eq!(verifier.verify(&headers, vector.body.as_bytes(), wall), Ok(()), "{}", vector.name);
    }
    let github = verifier(provider("github").unwrap(), &["k"]);
    let headers = github.sign(HeaderMap::new(), b"{}", "d-1", Some("issues.opened"), 0).unwrap();
    assert_eq!((&headers["x-github-event"], &headers["x-github-delivery"]), (&"issues".parse().unwrap(), &"d-1".parse().unwrap()));
    let error = github.sign(HeaderMap::new(), b"{}", "d-1", None, 0).unwrap_err();
    assert!(error.to_string().contains("the event type (header x-github-event) must be given"), "{error}");
    let unsigned = verifier(provider("github").unwrap(), &[]).sign(HeaderMap::new(), b"{}", "d", Some("push"), 0);
    assert_eq!(unsigned.unwrap_err(), SampleProblem::NoSecret);
}

#[test]
fn a_scheme_that_protects_from_nothing_is_refused() {
    let problem = |text: &str| {
        let scheme: Scheme = toml::from_str(text).unwrap();
        let problems: Vec<String> = scheme.problems().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        problems.join("\n")
    };
    let header = "signature = { header = \"X-Sig\" }\n";
    for (text, expected) in [
        ("signed = \"{header:X-Time}\"", "signed: does not hold {body}"),
        ("timestamp = { at = \"{header:X-Time}\" }", "timestamp.at: {header:x-time} is not in signed"),
        ("signed = \"{signature:t}.{body}\"", "signed: {signature:t} needs signature.list"),
        ("signed = \"{/id}{body}\"", "signed: {/id} cannot be used before the body is verified"),
        ("timestamp = { at = \"x{/t}\" }", "timestamp.at: is not a single part"),
    ] {
        let found = problem(&format!("{header}{text}"));
        assert!(found.contains(expected), "{found}");
    }
}

#[test]
fn words_of_a_scheme_that_do_not_exist_are_refused() {
    for (text, expected) in [
        ("signature = { header = \"a b\" }", "is not the name of a header"),
        ("signature = { header = \"X\" }\nalgorithm = \"md5\"", "unknown variant `md5`"),
        ("signature = { header = \"X\", prefiks = \"\" }", "unknown field `prefiks`"),
        ("signature = { header = \"X\" }\nsigned = \"{body\"", "a { without its }"),
    ] {
        let error = toml::from_str::<Scheme>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_secret_is_told_apart_but_never_shown() {
    let scheme: Scheme = toml::from_str("signature = { header = \"X\" }\nkey = \"hex\"").unwrap();
    let secrets = [Secret::new("00ff"), Secret::new("hunter2")];
    let (index, problem) = Verifier::new(scheme.clone(), &secrets).unwrap_err();
    assert_eq!((index, &*problem), (1, "is not hexadecimal, as this scheme's keys are"));
    let shown = format!("{:?}", Verifier::new(scheme, &secrets[..1]).unwrap());
    assert!(!shown.contains("00ff") && shown.contains("keys: 1"), "{shown}");
}

proptest! {
    #[test]
    fn no_request_makes_verification_panic(
        index in 0..vectors().len(),
        values in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 4),
        body in proptest::collection::vec(any::<u8>(), 0..200),
        now in any::<u64>(),
    ) {
        let vector = vectors().remove(index);
        let mut headers = vector.headers();
        for (name, value) in vector.headers().keys().zip(values) {
            if let Ok(value) = http::HeaderValue::from_bytes(&value) {
                headers.insert(name, value);
            }
        }
        let _ = vector.verifier().verify(&headers, &body, now);
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        other in proptest::collection::vec(any::<u8>(), 0..100),
        wall in 0..u64::from(u32::MAX) * 1_000_000,
    ) {
        for name in ["github", "shopify", "stripe", "slack", "standard-webhooks", "hmac"] {
            let verifier = verifier(provider(name).unwrap(), &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
            let headers = verifier.sign(HeaderMap::new(), &body, "d-1", Some("t"), wall).unwrap();
            prop_assert_eq!(verifier.verify(&headers, &body, wall), Ok(()));
            if body != other {
                prop_assert_eq!(verifier.verify(&headers, &other, wall), Err(Rejection::SignatureWrong));
            }
        }
    }
}
