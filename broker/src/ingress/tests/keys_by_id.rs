//! Keys that a provider gives by their ids to whoever shows an API key, fetched from a server over TLS.

use super::{
    providers::Attempt,
    stand_in::{StandIn, answer},
    *,
};
use crate::{
    ingress::{
        Outcome,
        keys::NoKeys,
        verify::{
            Incoming, KeysAt, Rejection,
            tests::{SHOWN, Vector},
        },
    },
    limits::{KEYS_ASKED_PER_SECOND, MAX_KEY_ADDRESSES},
};

const SECOND: u64 = 1_000_000;
const CIRCLE: &str = "api.circle.com";
const PLAID: &str = "production.plaid.com";

/// A webhook whose key has to be fetched from a provider that always says the same.
async fn unfetched(name: &str, host: &str, status: u16, body: &str) -> (StandIn, Attempt) {
    let body = body.to_owned();
    let provider = StandIn::new(&[host], move |_| answer(status, "", &body)).await;
    let ring = KeyRing::new(provider.fetcher());
    (provider, Attempt { keys: None, ring: Some(ring), ..Attempt::new(&Vector::find(name)) })
}

fn published(name: &str) -> String {
    Vector::find(name).fetched.unwrap().body
}

/// What a webhook of Circle asks for that names a key.
fn keys_of(id: &str) -> Result<Option<KeysAt>, Rejection> {
    let vector = Vector::find("circle");
    let (mut headers, target) = (vector.headers(), http::Uri::from_static("/hooks/x"));
    headers.insert("x-circle-key-id", id.parse().unwrap());
    vector.verifier().keys_of(Incoming { method: &Method::POST, target: &target, headers: &headers, body: vector.body.as_bytes() })
}

#[tokio::test]
async fn a_key_is_asked_for_by_its_id_with_what_the_source_may_show_and_is_kept() {
    let (circle, attempt) = unfetched("circle", CIRCLE, 200, &published("circle")).await;
    for _ in 0..2 {
        assert_eq!(attempt.send().await.0.status, 202, "it is verified");
    }
    let [asked] = circle.asked().try_into().unwrap();
    assert!(asked.starts_with("GET /v2/notifications/publicKey/1 HTTP/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("authorization: Bearer {SHOWN}\r\n")), "{asked}");

    let (plaid, attempt) = unfetched("plaid", PLAID, 200, &published("plaid")).await;
    for _ in 0..2 {
        assert_eq!(attempt.send().await.0.status, 202, "it is verified");
    }
    let [asked] = plaid.asked().try_into().unwrap();
    assert!(asked.starts_with("POST /webhook_verification_key/get HTTP/1.1\r\n") && asked.ends_with("{\"key_id\":\"k1\"}"), "{asked}");
    assert!(asked.contains(&format!("plaid-client-id: {SHOWN}\r\n")) && asked.contains(&format!("plaid-secret: {SHOWN}\r\n")), "{asked}");
}

#[tokio::test]
async fn a_key_that_there_is_not_or_that_has_ended_is_a_forgery_and_a_refusal_is_our_trouble() {
    let ended = published("plaid").replace("\"expired_at\": null", "\"expired_at\": 1560466150");
    assert_ne!(ended, published("plaid"));
    for (name, host, status, body, expected) in [
        ("circle", CIRCLE, 404, "{}", Outcome::UnverifiedKeyUnknown),
        ("circle", CIRCLE, 401, "{}", Outcome::KeysUnavailable),
        ("circle", CIRCLE, 403, "{}", Outcome::KeysUnavailable),
        ("circle", CIRCLE, 200, "{\"data\":{}}", Outcome::KeysUnavailable),
        ("circle", CIRCLE, 200, "{\"data\":{\"publicKey\":\"~\"}}", Outcome::KeysUnavailable),
        ("plaid", PLAID, 400, "{\"error_code\":\"INVALID_WEBHOOK_VERIFICATION_KEY_ID\"}", Outcome::UnverifiedKeyUnknown),
        ("plaid", PLAID, 200, &ended, Outcome::UnverifiedKeyUnknown),
        ("plaid", PLAID, 500, "", Outcome::KeysUnavailable),
    ] {
        let (_, attempt) = unfetched(name, host, status, body).await;
        assert_eq!(attempt.send().await.1, expected, "{name} {status} {body}");
    }
}

#[tokio::test]
async fn a_webhook_cannot_have_anything_else_asked() {
    for wrong in ["", "../keys", "a/b", "a#b", "me@evil.example", "a\\b"] {
        assert!(matches!(keys_of(wrong), Err(Rejection::KeyUnknown)), "{wrong}");
    }
    let (circle, mut attempt) = unfetched("circle", CIRCLE, 200, &published("circle")).await;
    attempt.headers.remove("x-circle-key-id");
    assert_eq!((attempt.send().await.1, circle.asked().len()), (Outcome::UnverifiedKeyUnknown, 0));
    let asked = keys_of("1").unwrap().unwrap();
    assert!(!format!("{asked:?}").contains(SHOWN), "{asked:?}");
}

#[tokio::test]
async fn ids_that_somebody_makes_up_use_up_neither_the_memory_nor_what_the_provider_allows() {
    let body = published("circle");
    let provider =
        StandIn::new(&[CIRCLE], move |head| if head.contains("/made-up-") { answer(404, "", "") } else { answer(200, "", &body) });
    let provider = provider.await;
    let ring = KeyRing::new(provider.fetcher());
    let get = async |id: String, now| ring.get(&keys_of(&id).unwrap().unwrap(), now).await;
    // A provider may have a key of its own for each webhook.
    for number in 0..100 {
        assert!(get(format!("key-{number}"), number * SECOND).await.is_ok(), "{number}");
    }
    assert_eq!((ring.addresses(), provider.asked().len()), (MAX_KEY_ADDRESSES, 100));
    let mut refused = Vec::new();
    for number in 0..50 {
        refused.push(get(format!("made-up-{number}"), 200 * SECOND).await.unwrap_err());
    }
    let asked = refused.iter().filter(|why| **why == NoKeys::Unknown).count();
    assert_eq!((asked, provider.asked().len()), (usize::try_from(KEYS_ASKED_PER_SECOND).unwrap(), asked));
    assert!(get("key-99".to_owned(), 200 * SECOND).await.is_ok(), "what is known is known");
}
