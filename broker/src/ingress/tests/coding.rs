//! Compressed webhooks.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};

use super::*;
use crate::ingress::{Outcome, quarantine};

const SOURCE: &str = "[tasks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = \"body_hash\"\nkeep_raw = true";

fn gzip(plain: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(level));
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Signed over what is given, which its headers say is gzip.
fn packed(edge: &Harness, signed: &[u8], body: &[u8]) -> Request<Body> {
    let verifier = edge.sources.get("tasks").unwrap().verifier().unwrap();
    let mut headers = verifier.sign(HeaderMap::new(), &sample(signed, None)).unwrap();
    headers.insert("content-encoding", "gzip".parse().unwrap());
    request("/hooks/tasks", headers, body.to_vec())
}

#[tokio::test]
async fn a_compressed_webhook_is_verified_as_it_was_received_and_is_the_event_that_it_was_before() {
    let edge = Harness::new(SOURCE);
    let plain = br#"{"n":820982911946154508}"#;
    let body = gzip(plain, 9);
    assert_eq!(edge.send(packed(&edge, plain, &body)).await.status, 401, "signed over what it unpacks to is signed over something else");
    assert_eq!(edge.send(packed(&edge, &body, &body)).await.summary(), (202, "accepted".to_owned()));
    let payload: waypost_proto::v1::JsonPayload = data(&edge.event().await);
    assert_eq!(payload.json, &plain[..]);
    // Packed in another way, or not at all, it is the same webhook.
    let again = gzip(plain, 0);
    assert_eq!(edge.send(packed(&edge, &again, &again)).await.summary(), (202, "duplicate".to_owned()));
    assert_eq!(edge.post("tasks", "", None, str::from_utf8(plain).unwrap()).await.summary(), (202, "duplicate".to_owned()));
}

#[tokio::test]
async fn what_would_unpack_to_more_than_may_be_received_is_kept_packed_and_only_if_it_is_verified() {
    let edge = Harness::new(SOURCE);
    let bomb = gzip(&vec![b' '; 64 << 20], 9);
    assert_eq!(edge.send(packed(&edge, b"x", &bomb)).await.status, 401);
    let answer = edge.send(packed(&edge, &bomb, &bomb)).await;
    assert_eq!(answer.summary(), (202, "quarantined".to_owned()), "{answer:?}");
    assert!(answer.text("message").contains("unpacks to more than 1048576 bytes"), "{answer:?}");
    let kept = quarantine::get(&*edge.store, &answer.text("event_id")).await.unwrap().unwrap();
    assert_eq!((kept.body, &*kept.headers["content-encoding"]), (Bytes::from(bomb), "gzip"));
    let broken = &gzip(b"{}", 9)[..12];
    assert_eq!(edge.send(packed(&edge, broken, broken)).await.summary(), (202, "quarantined".to_owned()));
    assert_eq!(edge.count("tasks", Outcome::QuarantinedMalformedBody), 2);
}
