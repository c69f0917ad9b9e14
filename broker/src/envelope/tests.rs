//! What is filled in, what is refused, what makes two events the same, and what is read of a stored body.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;

const IDENTITY: Identity = Identity { fingerprint: None, window: 0 };

fn minimal() -> wire::Event {
    wire::Event { source: "agents/a".into(), r#type: "t".into(), ..wire::Event::default() }
}

#[test]
fn what_is_left_out_is_filled_in() {
    let sealed = seal(minimal(), b"raw", IDENTITY, 1_500_000, &Entropy::seeded(1), &mut BytesMut::new()).unwrap();
    let event = event(&sealed.body).decode_event().unwrap();
    assert_eq!(event.time, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(event.lineage.unwrap().correlation_id, event.id);
    assert_eq!((sealed.head.id(), sealed.head.correlation_id()), (&*event.id, &*event.id));
    assert_eq!(raw(&sealed.body), "raw");
}

#[test]
fn p7_the_fingerprint_ignores_what_the_broker_fills_in() {
    let entropy = Entropy::seeded(1);
    let first = seal(minimal(), b"", IDENTITY, 1, &entropy, &mut BytesMut::new()).unwrap();
    let again = seal(minimal(), b"", IDENTITY, 2, &entropy, &mut BytesMut::new()).unwrap();
    let other = seal(wire::Event { subject: "s".into(), ..minimal() }, b"", IDENTITY, 2, &entropy, &mut BytesMut::new()).unwrap();
    assert_eq!(first.fingerprint, again.fingerprint);
    assert_ne!(first.fingerprint, other.fingerprint);
    assert_ne!(first.head.id(), again.head.id());
}

#[test]
fn p7_every_field_that_is_sent_counts() {
    let attribute = |name: &str, value: &str| wire::Event { attributes: [(name.to_owned(), value.to_owned())].into(), ..minimal() };
    let lineage = |lineage: Lineage| wire::Event { lineage: Some(lineage), ..minimal() };
    let data = |url: &str, value: &'static [u8]| wire::Any { type_url: url.into(), value: Bytes::from_static(value) };
    let time = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    let events = [
        minimal(),
        wire::Event { id: "x".into(), ..minimal() },
        wire::Event { source: "agents".into(), r#type: "/at".into(), ..minimal() },
        wire::Event { subject: "x".into(), ..minimal() },
        wire::Event { ordering_key: "x".into(), ..minimal() },
        wire::Event { time: time(0, 0), ..minimal() },
        wire::Event { time: time(1, 0), ..minimal() },
        wire::Event { time: time(0, 1), ..minimal() },
        wire::Event { data: Some(wire::Any::default()), ..minimal() },
        wire::Event { data: Some(data("u", b"")), ..minimal() },
        wire::Event { data: Some(data("", b"u")), ..minimal() },
        lineage(Lineage::default()),
        lineage(Lineage { correlation_id: "x".into(), ..Lineage::default() }),
        lineage(Lineage { causation_id: "x".into(), ..Lineage::default() }),
        lineage(Lineage { hops: 1, ..Lineage::default() }),
        attribute("ab", "c"),
        attribute("a", "bc"),
    ];
    let all: std::collections::BTreeSet<_> = events.iter().map(|event| fingerprint(event, &mut BytesMut::new())).collect();
    assert_eq!(all.len(), events.len());
}

#[test]
fn p7_the_same_event_sent_again_in_another_trace_is_the_same() {
    let traced = |traceparent: &str, state: &str| {
        let attributes = [(TRACEPARENT, traceparent), (TRACESTATE, state), ("a", "b")];
        let attributes = attributes.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        fingerprint(&wire::Event { attributes, ..minimal() }, &mut BytesMut::new())
    };
    let plain = wire::Event { attributes: [("a".to_owned(), "b".to_owned())].into(), ..minimal() };
    assert_eq!(traced("one", "x"), traced("another", ""));
    assert_eq!(traced("one", "x"), fingerprint(&plain, &mut BytesMut::new()));
}

#[test]
fn an_attribute_is_found_without_decoding_the_event() {
    let attributes = [("traceparent", "here"), ("empty", ""), ("z", "é")];
    let event = wire::Event {
        data: Some(wire::Any { type_url: "t/x".into(), value: Bytes::from_static(b"\x4a\x02ab") }),
        time: Some(timestamp(1)),
        lineage: Some(Lineage { hops: 3, ..Lineage::default() }),
        attributes: attributes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..minimal()
    };
    let body = seal(event, b"raw", IDENTITY, 1, &Entropy::seeded(1), &mut BytesMut::new()).unwrap().body;
    for (name, value) in attributes {
        assert_eq!(attribute(&body, name), Some(value));
    }
    assert_eq!(attribute(&body, "absent"), None);
    for cut in 0..body.len() {
        let _ = attribute(&body[..cut], "traceparent");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_looking_for_an_attribute_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        let _ = attribute(&[&length[..], &bytes].concat(), "traceparent");
    }
}

#[test]
fn the_wrong_field_is_named() {
    let cases: [(&str, wire::Event); 6] = [
        ("source", wire::Event { source: String::new(), ..minimal() }),
        ("type", wire::Event { r#type: String::new(), ..minimal() }),
        ("type", wire::Event { r#type: "a.*".into(), ..minimal() }),
        ("subject", wire::Event { subject: "x".repeat(1025), ..minimal() }),
        ("id", wire::Event { id: "a\nb".into(), ..minimal() }),
        ("attributes", wire::Event { attributes: [("Trace".to_owned(), String::new())].into(), ..minimal() }),
    ];
    for (field, event) in cases {
        assert_eq!(seal(event, b"", IDENTITY, 1, &Entropy::seeded(1), &mut BytesMut::new()).unwrap_err().field, field);
    }
}

#[test]
fn a_body_that_is_none_does_not_panic() {
    for bytes in [&b""[..], b"abc", b"\xff\xff\xff\xffabc"] {
        assert!(event(&Bytes::copy_from_slice(bytes)).0.is_empty());
    }
}
