//! Vectors, and what must not pass.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod diagnose;
mod page;
mod provider_page;
mod vector;

use std::collections::BTreeMap;

use http::{HeaderMap, Method, Uri};
use proptest::prelude::*;

pub(crate) use self::vector::{SHOWN, Vector, vectors};
use super::{Algorithm, Covers, Expected, Incoming, Rejection, Sample, SampleProblem, Scheme, Verifier, provider};
use crate::config::Secret;

fn verify(verifier: &Verifier, headers: &HeaderMap, body: &[u8], wall: u64) -> Result<(), Rejection> {
    let request = Incoming { method: &Method::POST, target: &Uri::from_static("/hooks/x"), headers, body };
    verifier.verify(request, None, wall)
}

fn sample<'a>(body: &'a [u8], event_type: Option<&'a str>, wall: u64) -> Sample<'a> {
    static TARGET: std::sync::LazyLock<Uri> = std::sync::LazyLock::new(|| Uri::from_static("/hooks/x"));
    Sample { target: &TARGET, body, delivery_id: "d-1", event_type, wall }
}

fn verifier(scheme: &Scheme, secrets: &[&str]) -> Verifier {
    assert_eq!(scheme.problems(), []);
    let secrets: Vec<Secret> = secrets.iter().map(|secret| Secret::new(*secret)).collect();
    Verifier::new(scheme.clone(), &secrets, Expected::default()).unwrap()
}

#[test]
fn every_vector_verifies() {
    for vector in vectors() {
        assert_eq!(vector.verify(), Ok(()), "{}", vector.name);
    }
}

#[test]
fn every_provider_is_sound_and_has_a_vector() {
    let table: BTreeMap<String, Scheme> = toml::from_str(include_str!("../providers.toml")).unwrap();
    for (name, scheme) in table {
        assert_eq!(scheme.problems(), [], "{name}");
        assert!(vectors().iter().any(|vector| vector.scheme.name == name), "{name} has no vector");
        let facts = &scheme.facts;
        assert!(!facts.title.is_empty(), "{name} has no title");
        assert_eq!(
            facts.verified.is_some(),
            facts.checked.starts_with("https://"),
            "{name}: what it was checked against, and where that is"
        );
        let is_own = ["hmac", "bearer", "basic"].contains(&&*name);
        assert!(is_own || facts.verified.is_some() || facts.experimental, "{name} was checked against nothing, and does not say so");
    }
    let error = provider("githup").unwrap_err();
    assert!(error.contains("forgejo, gitea, github, gitlab"), "{error}");
}

/// What keeps `docs/providers.md` true.
#[test]
fn the_page_of_providers_says_what_the_table_says() {
    says_what_the_table_says("providers.md", page::render);
}

/// What keeps `docs/typing.md` true.
#[test]
fn the_page_of_types_says_what_the_table_says() {
    says_what_the_table_says("typing.md", page::render_types);
}

fn says_what_the_table_says(name: &str, render: fn(&str, &BTreeMap<String, Scheme>) -> String) {
    let table: BTreeMap<String, Scheme> = toml::from_str(include_str!("../providers.toml")).unwrap();
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    let written = std::fs::read_to_string(&path).unwrap();
    let page = render(&written, &table);
    if std::env::var_os("WAYPOST_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap();
    assert!(written == page, "docs/{name} is not what providers.toml says; the page says how to write it anew");
}

/// What keeps the pages of single providers true.
#[test]
fn the_page_of_each_provider_says_what_the_table_says() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/providers");
    let all = std::fs::read_to_string(folder.with_extension("md")).unwrap();
    for name in provider_page::PAGES {
        let path = folder.join(format!("{name}.md"));
        let written = std::fs::read_to_string(&path).unwrap();
        let page = provider_page::render(name, provider(name).unwrap(), &written);
        if std::env::var_os("WAYPOST_WRITE_DOCS").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == page, "docs/providers/{name}.md is not what providers.toml says; its first lines say how to write it anew");
        assert!(
            written.contains("## Try it\n") && written.contains("hecked against <https://"),
            "{name}: how to try it, and what it was checked against"
        );
        assert!(all.contains(&format!("(providers/{name}.md)")), "docs/providers.md does not lead to {name}");
    }
}

#[test]
fn at_least_ten_schemes_are_held_against_an_implementation_that_is_not_ours() {
    let of = |origin: &str| -> BTreeMap<String, ()> {
        vectors().into_iter().filter(|vector| vector.origin == origin).map(|vector| (vector.scheme.name, ())).collect()
    };
    assert!(of("docs").len() >= 6, "signatures that providers published: {:?}", of("docs"));
    assert!(of("Python").len() >= 50, "signatures of Python and OpenSSL: {:?}", of("Python"));
}

#[test]
fn what_is_verified_are_the_raw_bytes() {
    let vector = Vector::find("Shopify");
    let parsed: serde_json::Value = serde_json::from_str(&vector.body).unwrap();
    let again = Vector { body: parsed.to_string(), ..vector };
    assert_eq!(again.verify(), Err(Rejection::SignatureWrong), "the same JSON in other bytes is another body");
}

/// What users of other receivers run into: a framework parses the body, and what is verified is what it writes again.
#[test]
fn no_scheme_that_signs_the_body_accepts_it_written_anew() {
    let mut tried = 0;
    for vector in vectors() {
        let scheme = vector.scheme();
        let signs_the_body = scheme.covers == Covers::Body && (scheme.algorithm.signs() || scheme.body_hash.is_some());
        let Ok(parsed) = serde_json::from_str::<serde_json::Value>(&vector.body) else { continue };
        let again = parsed.to_string();
        if signs_the_body && again != vector.body {
            let verified = Vector { body: again, ..vector.clone() }.verify();
            assert!(matches!(verified, Err(Rejection::SignatureWrong | Rejection::BodyHashWrong)), "{}: {verified:?}", vector.name);
            tried += 1;
        }
    }
    assert!(tried > 30, "{tried}");
}

#[test]
fn any_active_secret_will_do() {
    let vector = Vector::find("GitHub");
    let verify = |secrets: &[&str]| verify(&verifier(vector.scheme(), secrets), &vector.headers(), vector.body.as_bytes(), 0);
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
            headers.append("X-Hub-Signature-256", value.parse().unwrap());
        }
        vector.verify_as(&vector.verifier(), &headers, vector.body.as_bytes(), 0)
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
    assert_eq!(vector.verify_as(&vector.verifier(), &headers, vector.body.as_bytes(), vector.wall()), Err(Rejection::SignedPartMissing));
    headers.remove("webhook-id");
    assert_eq!(vector.verify_as(&vector.verifier(), &headers, vector.body.as_bytes(), vector.wall()), Err(Rejection::SignedPartMissing));
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
        let content = [std::borrow::Cow::Borrowed(content.as_bytes())];
        let signature = super::mac::encode_for(scheme, &verifier.first_key().unwrap().sign(&content).unwrap());
        let mut headers = headers;
        headers.insert("x-slack-signature", format!("v0={signature}").parse().unwrap());
        assert_eq!(verify(&verifier, &headers, b"body", 0), Err(Rejection::TimestampMalformed), "{time:?}");
    }
}

#[test]
fn samples_verify_or_say_why_only_the_provider_can_sign() {
    let mut signed = 0;
    for vector in vectors() {
        let (verifier, wall) = (vector.verifier(), vector.wall() + 123_456);
        let target: Uri = vector.target.parse().unwrap();
        let sample = Sample { target: &target, ..sample(vector.body.as_bytes(), Some("issues.opened"), wall) };
        let given = vector.headers.get("Content-Type").map(|value| (http::header::CONTENT_TYPE, value.parse().unwrap()));
        match verifier.sign(given.into_iter().collect(), &sample) {
            Ok(headers) => assert_eq!(vector.verify_as(&verifier, &headers, sample.body, wall), Ok(()), "{}", vector.name),
            Err(SampleProblem::PrivateKey) => assert!(vector.scheme().method().is_some(), "{}", vector.name),
            Err(SampleProblem::NotInAHeader) => assert!(vector.scheme().signature.at.is_some(), "{}", vector.name),
            Err(other) => panic!("{}: {other}", vector.name),
        }
        signed += usize::from(vector.scheme().method().is_none());
    }
    assert!(signed > 50, "{signed}");
    let github = verifier(provider("github").unwrap(), &["k"]);
    let headers = github.sign(HeaderMap::new(), &sample(b"{}", Some("issues.opened"), 0)).unwrap();
    assert_eq!((&headers["x-github-event"], &headers["x-github-delivery"]), (&"issues".parse().unwrap(), &"d-1".parse().unwrap()));
    let error = github.sign(HeaderMap::new(), &sample(b"{}", None, 0)).unwrap_err();
    assert!(error.to_string().contains("the event type (header x-github-event) must be given"), "{error}");
    let unsigned = verifier(provider("github").unwrap(), &[]).sign(HeaderMap::new(), &sample(b"{}", Some("push"), 0));
    assert_eq!(unsigned.unwrap_err(), SampleProblem::NoSecret);
}

#[test]
fn a_scheme_that_protects_from_nothing_is_refused() {
    let problem = |text: &str| {
        let scheme: Scheme = toml::from_str(text).unwrap();
        let problems: Vec<String> = scheme.problems().into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect();
        problems.join("\n")
    };
    let found = problem("signature = { at = \"{/sig}\" }");
    assert!(found.contains("signature.at: {/sig} is in the body, which cannot sign itself"), "{found}");
    assert!(problem("signature = {}").contains("signature: says not where it is"));
    let header = "signature = { header = \"X-Sig\" }\n";
    for (text, expected) in [
        ("signed = \"{header:X-Time}\"", "signed: does not hold {body}"),
        ("timestamp = { at = \"{header:X-Time}\" }", "timestamp.at: {header:x-time} is not in signed"),
        ("signed = \"{signature:t}.{body}\"", "signed: {signature:t} needs signature.list"),
        ("signed = \"{/id}{body}\"", "signed: {/id} cannot be used before the body is verified"),
        ("timestamp = { at = \"x{/t}\" }", "timestamp.at: is not a single part"),
        ("algorithm = \"sha256\"", "signed: does not hold {secret}"),
        ("algorithm = \"jwt\"", "jwt: and algorithm = \"jwt\" go together"),
        ("body_hash = \"{query:hash}\"", "body_hash: {query:hash} is not in signed"),
        ("covers = \"fields\"\nsigned = \"{/a|/b}\"", "cannot be signed"),
        ("keys = { url = \"https://a.example/keys\", format = \"jwks\" }", "keys: are public keys, which this algorithm does not have"),
        (
            "algorithm = \"rsa-sha256\"\nkeys = { url = \"{header:X-Url}\", format = \"pem\" }",
            "keys.pinned: is missing: whoever sends a webhook could name the key that verifies it",
        ),
        ("algorithm = \"ed25519\"\nkeys = { url = \"http://a.example/\", format = \"pem\" }", "keys.url: does not begin with https://"),
        ("batch = { signed = true }", "batch.signed: signs items"),
        ("handshakes = [{ reply = { text = \"{body}\" } }]", "handshakes: needs when"),
        ("handshakes = [{ when = \"{/a}\", reply = { text = \"{secret}\" } }]", "handshakes: {secret} cannot be used in"),
        (
            "algorithm = \"equals\"\nhandshakes = [{ when = \"{/a}\", reply = { text = \"{mac:/a}\" } }]",
            "handshakes: {mac:/a} needs an HMAC: with another algorithm it would give the secret away",
        ),
        (
            "signed = \"{header:X-Time}{body}\"\nhandshakes = [{ method = \"GET\", reply = { text = \"{mac:query:a}\" } }]",
            "handshakes: {mac:query:a} is signed for whoever asks",
        ),
        ("handshakes = [{ method = \"GET\", reply = { text = \"{/a}\" } }]", "handshakes: looks into the body, which a GET has not"),
        (
            "handshakes = [{ open = true, when = \"{/a}\", fetch = { url = \"{/a}\", pinned = [] } }]",
            "handshakes: fetches an address for whoever asks",
        ),
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
        ("signature = { header = \"X\" }\nhandshakes = [{ method = \"PUT\" }]", "is not a method of a handshake"),
        ("signature = { header = \"X\" }\nreply = { status = 500 }", "500 is not a status of success"),
    ] {
        let error = toml::from_str::<Scheme>(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn a_secret_is_told_apart_but_never_shown() {
    let scheme: Scheme = toml::from_str("signature = { header = \"X\" }\nkey = \"hex\"").unwrap();
    let secrets = [Secret::new("00ff"), Secret::new("hunter2")];
    let (index, problem) = Verifier::new(scheme.clone(), &secrets, Expected::default()).unwrap_err();
    assert_eq!((index, &*problem), (1, "is not hexadecimal, as this scheme's keys are"));
    let shown = format!("{:?}", Verifier::new(scheme, &secrets[..1], Expected::default()).unwrap());
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
        let target: Uri = vector.target.parse().unwrap();
        let request = Incoming { method: &Method::POST, target: &target, headers: &headers, body: &body };
        let _ = vector.verifier().keys_of(request);
        let _ = vector.verifier().verify(request, vector.keys().as_ref(), now);
    }

    #[test]
    fn what_was_signed_verifies_and_nothing_else(
        body in proptest::collection::vec(any::<u8>(), 0..100),
        other in proptest::collection::vec(any::<u8>(), 0..100),
        wall in 0..u64::from(u32::MAX) * 1_000_000,
    ) {
        for name in ["github", "shopify", "stripe", "slack", "standard-webhooks", "hmac"] {
            let verifier = verifier(provider(name).unwrap(), &["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]);
            let headers = verifier.sign(HeaderMap::new(), &sample(&body, Some("t"), wall)).unwrap();
            prop_assert_eq!(verify(&verifier, &headers, &body, wall), Ok(()));
            if body != other {
                prop_assert_eq!(verify(&verifier, &headers, &other, wall), Err(Rejection::SignatureWrong));
            }
        }
    }

    #[test]
    fn no_text_makes_reading_a_scheme_panic(text in "[a-z{}\\[\\]:/|=\"', .\n-]{0,60}", key in "signed|signature|keys|handshakes|jwt|batch|reply") {
        let scheme = format!("signature = {{ header = \"X\" }}\n{key} = {text}\n");
        if let Ok(scheme) = toml::from_str::<Scheme>(&scheme) {
            let _ = scheme.problems();
        }
        let scheme = format!("signature = {{ header = \"X\" }}\nsigned = {text:?}\n");
        if let Ok(scheme) = toml::from_str::<Scheme>(&scheme) {
            let _ = scheme.problems();
        }
    }
}
