//! Requests that only want to see that somebody is there.

use super::*;
use crate::ingress::Outcome;

fn asked(method: Method, path: &str, headers: &[(&'static str, &str)]) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Body::empty()).unwrap()
}

fn source(scheme: &str, more: &str) -> Harness {
    Harness::new(&format!("[s]\nscheme = \"{scheme}\"\nsecrets = [\"file:secret\"]\n{more}"))
}

fn seen(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), str::from_utf8(&answer.body).unwrap())
}

#[tokio::test]
async fn slack_is_echoed_its_challenge_once_it_is_verified() {
    let edge = source("slack", "");
    let body = r#"{"type":"url_verification","challenge":"3eZb"}"#;
    let answer = edge.post("s", "", None, body).await;
    assert_eq!((seen(&answer), edge.count("s", Outcome::Handshake)), ((200, "3eZb"), 1));
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    let unsigned = request("/hooks/s", HeaderMap::new(), body);
    assert_eq!(edge.send(unsigned).await.status, 401);
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn zoom_is_given_the_hash_of_its_token() {
    let edge = source("zoom", "");
    let body = r#"{"event":"endpoint.url_validation","payload":{"plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#;
    let answer = edge.post("s", "", None, body).await;
    // Python: hmac.new(b"It's a Secret to Everybody", b"qgg8vlvZRS6UYooatFL8Aw", "sha256").hexdigest()
    let hash = "34695fa238d44562f131448d95b5f5df2e52e07c8793d7f2dc630f6159e5cd5e";
    assert_eq!(seen(&answer), (200, &*format!(r#"{{"encryptedToken":"{hash}","plainToken":"qgg8vlvZRS6UYooatFL8Aw"}}"#)));
}

#[tokio::test]
async fn x_has_its_check_signed_and_nothing_that_could_be_a_webhook() {
    let edge = source("x", "");
    let answer = edge.send(asked(Method::GET, "/hooks/s?crc_token=MTk5Nzc&nonce=1", &[])).await;
    assert_eq!(seen(&answer), (200, r#"{"response_token":"sha256=BBLKaC/E3wLK3EDXsLBTS4qtrIcOdFYa2RGK9S8C+1E="}"#));
    for forged in ["%7B%22a%22%3A1%7D", "12345", "true", "", "%5B%5D", "a%20b", &"a".repeat(257)] {
        let answer = edge.send(asked(Method::GET, &format!("/hooks/s?crc_token={forged}"), &[])).await;
        assert_eq!(answer.status, 405, "{forged}: what is signed here would be a webhook's signature");
    }
}

#[tokio::test]
async fn meta_is_echoed_its_challenge_for_the_right_token_only() {
    let edge = source("meta", "handshake_token = \"file:next\"");
    let path = |token: &str| format!("/hooks/s?hub.mode=subscribe&hub.verify_token={token}&hub.challenge=1158201444");
    assert_eq!(seen(&edge.send(asked(Method::GET, &path("next"), &[])).await), (200, "1158201444"));
    for token in ["", "other", "next2"] {
        let answer = edge.send(asked(Method::GET, &path(token), &[])).await;
        assert_eq!((answer.status.as_u16(), &answer.headers["allow"]), (405, &"POST, GET".parse().unwrap()));
    }
}

#[tokio::test]
async fn okta_dropbox_trello_and_azure_are_answered_in_their_ways() {
    let edge = source("okta", "");
    let answer = edge.send(asked(Method::GET, "/hooks/s", &[("x-okta-verification-challenge", "a\"b")])).await;
    assert_eq!(seen(&answer), (200, r#"{"verification":"a\"b"}"#));
    assert_eq!(answer.headers["content-type"], "application/json");

    let edge = source("dropbox", "");
    let answer = edge.send(asked(Method::GET, "/hooks/s?challenge=%3Cb%3E", &[])).await;
    assert_eq!((seen(&answer), &answer.headers["x-content-type-options"]), ((200, "<b>"), &"nosniff".parse().unwrap()));

    let edge = source("trello", "public_base_url = \"https://hooks.example.com\"");
    assert_eq!(seen(&edge.send(asked(Method::HEAD, "/hooks/s", &[])).await), (200, ""));
    assert_eq!(edge.send(asked(Method::GET, "/hooks/s", &[])).await.status, 405);

    let edge = source("azure-event-grid", "");
    let answer = edge.send(asked(Method::OPTIONS, "/hooks/s", &[("webhook-request-origin", "eventgrid.azure.net")])).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["webhook-allowed-origin"]), (200, &"eventgrid.azure.net".parse().unwrap()));
    let path = format!("/hooks/s?key={}", SECRET.replace(' ', "%20"));
    let body = r#"[{"eventType":"Microsoft.EventGrid.SubscriptionValidationEvent","id":"1","data":{"validationCode":"512d38b6"}}]"#;
    assert_eq!(seen(&edge.send(request(&path, HeaderMap::new(), body)).await), (200, r#"{"validationResponse":"512d38b6"}"#));
    assert_eq!(edge.send(request("/hooks/s?key=x", HeaderMap::new(), body)).await.status, 401);
}

#[tokio::test]
async fn microsoft_and_woocommerce_are_answered_before_they_can_sign() {
    let edge = source("microsoft-graph", "");
    let mut asked = request("/hooks/s?validationToken=Validation%3A%20x", HeaderMap::new(), "");
    asked.headers_mut().insert("content-type", "text/plain; charset=utf-8".parse().unwrap());
    assert_eq!(seen(&edge.send(asked).await), (200, "Validation: x"));

    let edge = source("woocommerce", "");
    let mut ping = request("/hooks/s", HeaderMap::new(), "webhook_id=7");
    ping.headers_mut().insert("content-type", "application/x-www-form-urlencoded".parse().unwrap());
    assert_eq!(seen(&edge.send(ping).await), (200, ""));
    assert!(edge.events().await.is_empty());
}

#[tokio::test]
async fn discords_probes_with_bad_signatures_are_refused_and_its_ping_is_answered() {
    use ring::signature::{Ed25519KeyPair, KeyPair};
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, hex::encode(key.public_key())).unwrap();
    for (scheme, ping, expected) in [("discord", r#"{"type":1}"#, (200, r#"{"type":1}"#)), ("discord-events", r#"{"type":0}"#, (204, ""))] {
        let edge = Harness::new(&format!("[s]\nscheme = \"{scheme}\"\nsecrets = [\"file:{}\"]", path.display()));
        let signed = |signed: &str| {
            let time = (NOW / 1_000_000).to_string();
            let mut request = request("/hooks/s", HeaderMap::new(), ping);
            let signature = hex::encode(key.sign(format!("{time}{signed}").as_bytes()));
            request.headers_mut().insert("x-signature-ed25519", signature.parse().unwrap());
            request.headers_mut().insert("x-signature-timestamp", time.parse().unwrap());
            request
        };
        assert_eq!(seen(&edge.send(signed(ping)).await), expected);
        assert_eq!(edge.send(signed("another")).await.status, 401);
    }
}
