//! Whatever comes in: nothing panics, and nothing grows beyond its limit.
//!
//! Constraints: few cases by default, and as many as `PROPTEST_CASES` says; what a run finds is kept by proptest beside the crate, and what is
//! known to be nasty stands in [`CORPUS`], which every run tries first.

use proptest::prelude::*;

use super::*;
use crate::{
    config::Secret,
    ingress::{
        Outcome, body, cloudevents, coding,
        verify::{Expected, Form, Scheme, Verifier},
    },
};

/// Bodies that parsers are known to stumble over.
const CORPUS: [&[u8]; 24] = [
    b"",
    b"\0",
    b"\xff\xfe{\0}\0",
    b"\xef\xbb\xbf{}",
    b"{\"a\":\"\\ud800\"}",
    b"{\"a\":1e999999999}",
    b"{\"a\":-0,\"a\":0}",
    b"{\"data_base64\":\"====\"}",
    b"{\"data_base64\":7,\"data\":null}",
    b"{\"specversion\":\"1.0\",\"id\":null,\"source\":[],\"type\":{}}",
    b"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"-9999-99-99T99:99:99Z\"}",
    b"{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"time\":\"+009999-12-31T23:59:59.999999999-23:59\"}",
    b"payload=%",
    b"payload=%f",
    b"payload=%ff&payload=1",
    b"=&=&&&=+%00",
    b"\x1f\x8b",
    b"\x1f\x8b\x08\x1f\0\0\0\0\0\xff\xff\xff",
    b"\x1f\x8b\x08\x00\0\0\0\0\0\0\x03\0\0\0\0\0\0\0\0",
    b"\x78\x9c\x03\0\0\0\0\x01",
    b"\x78\x9c\xed\xff",
    b"\x63\0",
    b"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    b"{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":{\"\":1",
];

const MAX: usize = 64 * 1024;

/// Everything that reads a body.
fn read(bytes: &[u8]) {
    let raw = Bytes::copy_from_slice(bytes);
    for form in [Form::Payload, Form::Fields] {
        let _ = body::json(body::Kind::Form(form), &HeaderMap::new(), &raw);
    }
    for coding in [coding::Coding::Gzip, coding::Coding::Deflate] {
        if let Ok(plain) = coding.unpack(&mut HeaderMap::new(), &raw, MAX) {
            assert!(plain.len() <= MAX);
        }
    }
    if let Ok(json) = cloudevents::with_plain_data(&raw) {
        // Its own data, once and as JSON.
        assert!(json.len() <= 2 * bytes.len() + 64, "{} bytes of {}", json.len(), bytes.len());
        let _ = cloudevents::data_of(&json);
        let _ = cloudevents::complete(&mut wire::Event::default(), str::from_utf8(&json).unwrap_or_default());
    }
    let headers: HeaderMap = [(http::header::CONTENT_TYPE, "text/plain".parse().unwrap())].into_iter().collect();
    for headers in [&HeaderMap::new(), &headers] {
        let read = cloudevents::of_binary(headers, &raw).map(|json| serde_json::from_slice::<&serde_json::value::RawValue>(&json).is_ok());
        assert!(read.unwrap_or(true), "an event is JSON whatever its data is");
    }
}

#[test]
fn what_is_known_to_be_nasty_is_read_or_refused() {
    CORPUS.into_iter().for_each(read);
    let deep = [b"[".repeat(100_000), b"{\"a\":".repeat(100_000)];
    deep.iter().for_each(|deep| read(deep));
}

/// A body that begins like one of the corpus and goes on as it likes.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let begins = proptest::sample::select(CORPUS.to_vec());
    let noise = || proptest::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        noise(),
        (begins, noise()).prop_map(|(begins, noise)| [begins, &noise].concat()),
        "[\\[\\]{}\",:0-9a-z\\\\%&=+]{0,200}".prop_map(String::into_bytes),
    ]
}

proptest! {
    #[test]
    fn no_body_makes_reading_it_panic_or_grow(body in bodies()) {
        read(&body);
    }

    #[test]
    fn what_is_packed_unpacks_to_itself_or_to_nothing(plain in proptest::collection::vec(any::<u8>(), 0..2_000), max in 0_usize..2_000) {
        use std::io::Write;
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let packed = Bytes::from(gzip.finish().unwrap());
        let unpacked = coding::Coding::Gzip.unpack(&mut HeaderMap::new(), &packed, max);
        prop_assert_eq!(unpacked.ok().map(|plain| plain.to_vec()), (plain.len() <= max).then_some(plain));
    }

    #[test]
    fn no_attribute_of_a_binary_event_makes_another(id in "[ -~]{1,40}", data in "[ -~]{0,40}") {
        let Ok(value) = id.parse::<http::HeaderValue>() else { return Ok(()) };
        let headers: HeaderMap = [("ce-specversion".parse().unwrap(), "1.0".parse().unwrap()), ("ce-id".parse().unwrap(), value)]
            .into_iter()
            .chain([(http::header::CONTENT_TYPE, "application/json".parse().unwrap())])
            .collect();
        if let Ok(json) = cloudevents::of_binary(&headers, &Bytes::from(data)) {
            let members: serde_json::Map<String, Value> = serde_json::from_slice(&json).unwrap();
            let known = ["specversion", "id", "datacontenttype", "data"];
            prop_assert!(members.keys().all(|name| known.contains(&&**name)), "{:?}", members);
        }
    }

    #[test]
    fn no_secret_makes_its_key_panic_or_appears_in_what_is_wrong_with_it(
        secret in proptest::collection::vec(any::<u8>(), 0..120),
        key in "utf8|hex|base64|pem|jwk",
        algorithm in "hmac-sha1|hmac-sha256|hmac-sha512|ed25519|ecdsa-p256|rsa-sha1|rsa-sha256|equals|basic",
    ) {
        let text = format!("signature = {{ header = \"X\" }}\nkey = \"{key}\"\nalgorithm = \"{algorithm}\"");
        let scheme: Scheme = toml::from_str(&text).unwrap();
        if scheme.problems().is_empty()
            && let Err((_, problem)) = Verifier::new(scheme, &[Secret::new(secret.clone())], Expected::default())
            && let Ok(secret) = str::from_utf8(&secret)
            && secret.len() > 8
        {
            prop_assert!(!problem.contains(secret), "{}", problem);
        }
    }

    #[test]
    fn no_head_makes_its_content_type_or_coding_panic(kind in proptest::collection::vec(any::<u8>(), 0..60), coding in "[ -~]{0,20}") {
        let mut headers = HeaderMap::new();
        for (name, value) in [("content-type", &kind[..]), ("content-encoding", coding.as_bytes()), ("ce-specversion", b"1.0")] {
            if let Ok(value) = http::HeaderValue::from_bytes(value) {
                headers.insert(name, value);
            }
        }
        for cloudevents in [false, true] {
            let found = body::kind(&headers, body::Taken { form: Form::Fields, accept: &[], cloudevents });
            prop_assert!(matches!(found, Ok(_) | Err(Outcome::RefusedContentType)));
        }
        prop_assert!(matches!(coding::coding(&headers), Ok(_) | Err(Outcome::RefusedCoding)));
    }

    #[test]
    fn no_text_makes_reading_a_configuration_panic(text in "[a-z{}\\[\\]:/|=\"', .0-9%\n_-]{0,120}", key in "peers|secrets|path|scheme|limits|identity|types") {
        for text in [text.clone(), format!("[sources.a]\nverify = \"none\"\n{key} = {text}\n"), format!("[edge]\ntrusted_proxies = [{text:?}]\nmax_body = {text:?}\n")] {
            if let Err(problems) = parse(&text, Path::new("way.toml")) {
                prop_assert!(!problems.to_string().is_empty());
            }
        }
    }
}
