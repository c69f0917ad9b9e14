//! Each fault, done to a webhook of each provider, is named.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::{super::Encoding, *};
use crate::ingress::{
    rewrite,
    verify::{Around, Fault, diagnose},
};

/// A webhook of a provider, to which something is done.
struct Done {
    vector: Vector,
    headers: HeaderMap,
    body: Vec<u8>,
    late: u64,
}

impl Done {
    fn to(vector: &Vector) -> Self {
        Self { headers: vector.headers(), body: vector.body.clone().into_bytes(), vector: vector.clone(), late: 0 }
    }

    fn found_by(&self, verifier: &Verifier, others: &[(&str, &Verifier)]) -> Option<Fault> {
        let target: Uri = self.vector.target.parse().unwrap();
        let request = Incoming { method: &Method::POST, target: &target, headers: &self.headers, body: &self.body };
        let keys = self.vector.keys();
        let around = Around { fetched: keys.as_ref(), others };
        diagnose(verifier, request, self.vector.wall() + self.late * 1_000_000, around).err().map(|(_, fault)| fault)
    }

    fn found(&self) -> Option<Fault> {
        self.found_by(&self.vector.verifier(), &[])
    }

    /// The header of the signature, where it is in one: the only one from now on, where a provider signs with each of its keys.
    fn signature(&mut self) -> Option<(HeaderName, String)> {
        let all = self.vector.scheme().signature.header.clone();
        let without_others = |name: &HeaderName| {
            let mut headers = self.headers.clone();
            all.iter().filter(|other| *other != name).for_each(|other| drop(headers.remove(other)));
            Self { headers, body: self.body.clone(), vector: self.vector.clone(), late: self.late }
        };
        let verifies = |done: &Self, name: &HeaderName| done.headers.contains_key(name) && done.found().is_none();
        let (name, done) = all.iter().map(|name| (name, without_others(name))).find(|(name, done)| verifies(done, name))?;
        *self = done;
        Some((name.clone(), self.headers[name].to_str().unwrap().to_owned()))
    }

    fn set(&mut self, name: &HeaderName, value: &str) {
        self.headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
}

/// How many providers a fault was done to.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, Vec<String>>);

impl Tally {
    fn count(&mut self, fault: &'static str, vector: &Vector) {
        self.0.entry(fault).or_default().push(vector.scheme.name.clone());
    }

    #[track_caller]
    fn at_least(&self, fault: &str, most: usize) {
        let mut schemes = self.0.get(fault).cloned().unwrap_or_default();
        schemes.sort();
        schemes.dedup();
        assert!(schemes.len() >= most, "{fault}: only {} providers: {schemes:?}", schemes.len());
    }
}

/// Providers whose secret is a text that both sides know.
fn shares_a_secret(vector: &Vector) -> bool {
    vector.scheme().method().is_none() && vector.scheme().keys.is_none() && !vector.secret.is_empty()
}

fn with_secret(vector: &Vector, secret: &str) -> Option<Verifier> {
    let expected = Expected { base: vector.base.clone(), allow: vector.allow.clone(), access: BTreeMap::default() };
    Verifier::new(vector.scheme().clone(), &[Secret::new(secret)], expected).ok()
}

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    for vector in vectors() {
        assert_eq!(Done::to(&vector).found(), None, "{}", vector.name);
    }
}

#[test]
fn a_wrong_secret_is_named_and_whose_it_is() {
    let mut tally = Tally::default();
    for vector in vectors().into_iter().filter(shares_a_secret) {
        // Such a secret is made of the characters that the scheme's secrets have.
        let other = vector.secret.chars().rev().collect::<String>();
        let Some(wrong) = with_secret(&vector, &other).filter(|_| other != vector.secret) else { continue };
        let done = Done::to(&vector);
        let Some(fault) = done.found_by(&wrong, &[]) else { panic!("{} verifies with another secret", vector.name) };
        assert!(fault == Fault::Unknown && fault.to_string().starts_with("wrong secret"), "{}: {fault}", vector.name);
        let right = vector.verifier();
        assert_eq!(done.found_by(&wrong, &[("mine", &wrong), ("yours", &right)]), Some(Fault::SecretOf("yours".into())), "{}", vector.name);
        tally.count("secret", &vector);
    }
    tally.at_least("secret", 45);
}

#[test]
fn a_clock_that_is_off_is_named_with_the_seconds() {
    let mut tally = Tally::default();
    for vector in vectors().into_iter().filter(|vector| vector.scheme().timestamp.is_some() && vector.scheme().jwt.is_none()) {
        let done = Done { late: 90_000, ..Done::to(&vector) };
        // A day is not too late for everybody.
        let Some(expected) = done.found() else { continue };
        let Fault::ClockSkew(seconds) = expected else { panic!("{}: {expected:?}", vector.name) };
        assert!((89_000..=91_000).contains(&seconds), "{}: {seconds}", vector.name);
        assert!(Fault::ClockSkew(seconds).to_string().starts_with("clock skew"));
        tally.count("clock", &vector);
    }
    tally.at_least("clock", 20);
}

#[test]
fn a_body_that_was_changed_is_named_with_what_was_done_to_it() {
    let mut tally = Tally::default();
    for vector in vectors().into_iter().filter(|vector| vector.scheme().covers == Covers::Body) {
        for (fault, end) in [("a line break", &b"\n"[..]), ("a line break", b"\r\n"), ("a line break or spaces", b"  ")] {
            let mut done = Done::to(&vector);
            done.body.extend_from_slice(end);
            let Some(found) = done.found() else { continue };
            assert!(
                matches!(&found, Fault::Body(how) if how.starts_with(fault) && how.contains("put at its end")),
                "{} {end:?}: {found}",
                vector.name
            );
            tally.count("newline", &vector);
        }
        // Written again by a library that puts a space after each colon.
        let spaced = vector.body.replace("\":", "\": ");
        if serde_json::from_str::<serde::de::IgnoredAny>(&spaced).is_err() || spaced == vector.body {
            continue;
        }
        let mut done = Done::to(&vector);
        done.body = spaced.into_bytes();
        let in_order = rewrite::bodies(&done.body).iter().any(|(_, body)| *body == vector.body.as_bytes());
        if let Some(found) = done.found().filter(|_| in_order) {
            assert!(matches!(&found, Fault::Body(how) if how.starts_with("re-serialised")), "{}: {found}", vector.name);
            tally.count("re-serialised", &vector);
        }
    }
    tally.at_least("newline", 45);
    tally.at_least("re-serialised", 45);
}

#[test]
fn line_breaks_and_forms_that_became_something_else_are_named() {
    let github = verifier(provider("github").unwrap(), &["k"]);
    let signed = |body: &[u8]| github.sign(HeaderMap::new(), &sample(body, Some("push"), 0)).unwrap();
    let found = |signed: HeaderMap, body: &[u8]| {
        let request = Incoming { method: &Method::POST, target: &Uri::from_static("/hooks/x"), headers: &signed, body };
        diagnose(&github, request, 0, Around::default()).unwrap_err().1.to_string()
    };
    assert!(found(signed(b"{\"a\":1}\n"), b"{\"a\":1}").contains("was taken off"));
    assert!(found(signed(b"{\n\"a\":1}"), b"{\r\n\"a\":1}").contains("became CRLF"));
    assert!(found(signed(b"{\r\n\"a\":1}"), b"{\n\"a\":1}").contains("became LF"));
    assert!(found(signed(b"{}"), b"\xef\xbb\xbf{}").contains("byte order mark"));
    assert!(found(signed(b""), b"{}").contains("empty body"));
    let form = b"payload=%7B%22a%22%3A%22b+c%22%7D";
    assert!(found(signed(form), b"{\"a\":\"b c\"}").contains("form vs JSON: it was sent as a form"));
    assert!(found(signed(b"{\"a\":\"b c\"}"), form).contains("form vs JSON: it was sent as JSON"));
    assert!(found(signed("{\"a\":\"é\"}".as_bytes()), b"{\"a\": \"\\u00e9\"}").contains("re-serialised"));
}

#[test]
fn a_signature_that_is_written_otherwise_is_named() {
    let mut tally = Tally::default();
    for vector in vectors().into_iter().filter(|vector| vector.scheme().algorithm.signs()) {
        let scheme = vector.scheme().clone();
        let mut done = Done::to(&vector);
        let Some((name, value)) = done.signature() else { continue };
        let (expected, convert): (_, fn(&str) -> Option<String>) = match scheme.signature.encoding {
            Encoding::Hex => (Fault::Base64ForHex, rewrite::hex_to_base64),
            Encoding::Base64 => (Fault::HexForBase64, rewrite::base64_to_hex),
        };
        let bare = value.strip_prefix(&*scheme.signature.prefix).unwrap_or(&value);
        let rewritten = match &scheme.signature.list {
            None => convert(bare).map(|signature| format!("{}{signature}", scheme.signature.prefix)),
            Some(list) => Some(
                value
                    .split(list.separator)
                    .map(|item| match item.split_once(list.assign) {
                        Some((key, signature)) if key == list.key => {
                            format!("{key}{}{}", list.assign, convert(signature).unwrap_or_else(|| signature.to_owned()))
                        }
                        _ => item.to_owned(),
                    })
                    .collect::<Vec<_>>()
                    .join(&list.separator.to_string()),
            ),
        };
        // What is written in neither way has no other one.
        let Some(rewritten) = rewritten else { continue };
        done.set(&name, &rewritten);
        assert_eq!(done.found(), Some(expected), "{}", vector.name);
        tally.count("encoding", &vector);

        if !scheme.signature.prefix.is_empty() && scheme.signature.list.is_none() {
            done.set(&name, bare);
            assert_eq!(done.found(), Some(Fault::PrefixMissing(scheme.signature.prefix.clone())), "{}", vector.name);
            tally.count("prefix", &vector);
        }
        if scheme.signature.prefix.is_empty() && scheme.signature.list.is_none() {
            done.set(&name, &format!("sha256={value}"));
            assert_eq!(done.found(), Some(Fault::PrefixUnexpected("sha256=".into())), "{}", vector.name);
            tally.count("unexpected prefix", &vector);
        }
        done.headers.remove(&name);
        done.headers.insert("x-moved", HeaderValue::from_str(&value).unwrap());
        let moved = Fault::HeaderName { found: "x-moved".into(), due: scheme.signature.header[0].to_string() };
        assert_eq!(done.found(), Some(moved), "{}", vector.name);
        tally.count("header", &vector);

        let mut twice = Done::to(&vector);
        twice.headers.append(&name, HeaderValue::from_str(&value).unwrap());
        assert_eq!(twice.found(), Some(Fault::HeaderRepeated), "{}", vector.name);
    }
    for (fault, most) in [("encoding", 45), ("prefix", 10), ("unexpected prefix", 25), ("header", 45)] {
        tally.at_least(fault, most);
    }
}

#[test]
fn an_address_that_is_not_the_one_that_was_called_is_named() {
    let mut tally = Tally::default();
    for vector in vectors().into_iter().filter(|vector| vector.scheme().signs_the_url()) {
        let (scheme, host) = vector.base.split_once("://").unwrap();
        let other = if scheme == "https" { "http" } else { "https" };
        let wrong = vector.verifier().called(&format!("{other}://{host}"));
        let done = Done::to(&vector);
        let Some(Fault::Url(url)) = done.found_by(&wrong, &[]) else { panic!("{}: {:?}", vector.name, done.found_by(&wrong, &[])) };
        assert_eq!(url, format!("{}{}", vector.base, vector.target), "{}", vector.name);
        // Behind a proxy that says which host was asked for.
        let elsewhere = vector.verifier().called("https://internal.example:8443");
        let mut done = Done::to(&vector);
        done.set(&HeaderName::from_static("x-forwarded-host"), host);
        assert_eq!(done.found_by(&elsewhere, &[]), Some(Fault::Url(url)), "{}", vector.name);
        tally.count("url", &vector);
    }
    tally.at_least("url", 5);
}

#[test]
fn a_secret_that_is_meant_otherwise_is_named() {
    let hex = verifier(&toml::from_str("signature = { header = \"X\" }\nkey = \"hex\"").unwrap(), &["00ff00ff"]);
    let plain = verifier(&toml::from_str("signature = { header = \"X\" }").unwrap(), &["00ff00ff"]);
    let signed = hex.sign(HeaderMap::new(), &sample(b"{}", None, 0)).unwrap();
    let found = |verifier: &Verifier, headers: &HeaderMap| {
        let request = Incoming { method: &Method::POST, target: &Uri::from_static("/hooks/x"), headers, body: b"{}" };
        diagnose(verifier, request, 0, Around::default()).unwrap_err().1
    };
    assert_eq!(found(&plain, &signed), Fault::KeyEncoding("decoded from hex"));
    let padded = verifier(&toml::from_str("signature = { header = \"X\" }").unwrap(), &["00ff00ff\n"]);
    let signed = padded.sign(HeaderMap::new(), &sample(b"{}", None, 0)).unwrap();
    assert_eq!(found(&plain, &signed), Fault::SecretPadded);
    let sha1 = verifier(&toml::from_str("signature = { header = \"X\" }\nalgorithm = \"hmac-sha1\"").unwrap(), &["00ff00ff"]);
    let signed = sha1.sign(HeaderMap::new(), &sample(b"{}", None, 0)).unwrap();
    assert_eq!(found(&plain, &signed), Fault::Algorithm("HMAC-SHA1"));
}

proptest! {
    #[test]
    fn no_request_makes_a_diagnosis_panic(
        index in 0..vectors().len(),
        value in proptest::collection::vec(any::<u8>(), 0..80),
        body in proptest::collection::vec(any::<u8>(), 0..100),
        late in 0..u64::from(u32::MAX),
    ) {
        let vector = vectors().remove(index);
        let mut done = Done { late, body, ..Done::to(&vector) };
        let names: Vec<_> = done.headers.keys().cloned().collect();
        if let (Some(name), Ok(value)) = (names.first(), HeaderValue::from_bytes(&value)) {
            done.headers.insert(name, value);
        }
        let _ = done.found();
    }
}
