//! The webhook of the edge's works: a GitHub push of 1 KiB, signed as GitHub signs.
//!
//! Constraint: the broker and the bare handler get the same bytes. Each request has a body and a delivery id of its own, as
//! GitHub's have: one body under many ids would be a replay. What a load at full speed sends is signed before.

use std::sync::LazyLock;

use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use prost::Message;
use sha2::Sha256;
use waypost_proto::github::v1::Push;

use crate::{Error, brokers::payload};

pub(crate) const SECRET: &str = "a secret of the benchmarks, 32 B!";
pub(crate) const SECRET_VARIABLE: &str = "WAYPOST_BENCH_SECRET";
pub(crate) const PATH: &str = "/hooks/bench";

/// The event type that the webhook becomes.
pub(crate) const EVENT_TYPE: &str = "github.v1.Push";

/// The source, for the broker's configuration.
pub(crate) fn source_configuration() -> String {
    format!("[sources.bench]\nscheme = \"github\"\nsecrets = [\"env:{SECRET_VARIABLE}\"]\n")
}

/// A push of [`payload::SIZE`] bytes that was sent at `stamp`, or of this number; 0 if nobody asks.
pub(crate) fn body(stamp: u64) -> Bytes {
    static TEMPLATE: LazyLock<(Vec<u8>, usize)> = LazyLock::new(|| {
        let template = template();
        let at = template.find(NO_STAMP).unwrap_or_default();
        (template.into_bytes(), at)
    });
    let (template, at) = &*TEMPLATE;
    let mut body = template.clone();
    body[*at..at + NO_STAMP.len()].copy_from_slice(format!("{stamp:040}").as_bytes());
    body.into()
}

const NO_STAMP: &str = "????????????????????????????????????????";

fn template() -> String {
    let json = |message: &str| {
        format!(
            r#"{{"ref":"refs/heads/main","before":"6113728f27ae82c7b1a177c8d03f9e96e0adf246","after":"{NO_STAMP}","created":false,"deleted":false,"forced":false,"compare":"https://github.com/acme/router/compare/6113728f27ae...0d1a26e67d8f","repository":{{"id":186853002,"name":"router","full_name":"acme/router","private":true,"html_url":"https://github.com/acme/router","default_branch":"main"}},"pusher":{{"name":"dana","email":"dana@acme.example"}},"sender":{{"login":"dana","id":21031067,"type":"User","html_url":"https://github.com/dana"}},"head_commit":{{"id":"0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c","message":"{message}","timestamp":"2026-05-04T12:00:00Z","url":"https://github.com/acme/router/commit/0d1a26e67d8f","author":{{"name":"Dana","email":"dana@acme.example","username":"dana"}},"added":[],"removed":[],"modified":["routes/rotterdam.toml"]}},"commits":[]}}"#
        )
    };
    let empty = json("").len();
    json(&"m".repeat(payload::SIZE.saturating_sub(empty)))
}

/// When a push was sent, by its `after`; 0 if it does not say.
pub(crate) fn stamp(after: &str) -> u64 {
    after.parse().unwrap_or(0)
}

/// The same of an encoded one.
pub(crate) fn encoded_stamp(push: &[u8]) -> u64 {
    Push::decode(push).map_or(0, |push| stamp(&push.after))
}

/// What GitHub puts into `X-Hub-Signature-256`.
pub(crate) fn signature(body: &[u8]) -> Result<String, Error> {
    Ok(header(&digest(body)?))
}

/// The signature as it is sent.
pub(crate) fn header(digest: &Digest) -> String {
    format!("sha256={}", hex::encode(digest))
}

/// The signature of a body.
pub(crate) fn digest(body: &[u8]) -> Result<Digest, Error> {
    Ok(mac(body)?.finalize().into_bytes().into())
}

/// An HMAC-SHA256.
pub(crate) type Digest = [u8; 32];

/// Whether a signature is right, in constant time.
pub(crate) fn is_signed(body: &[u8], signature: &str) -> bool {
    let Some(claimed) = signature.strip_prefix("sha256=").and_then(|digits| hex::decode(digits).ok()) else { return false };
    mac(body).is_ok_and(|mac| mac.verify_slice(&claimed).is_ok())
}

fn mac(body: &[u8]) -> Result<Hmac<Sha256>, Error> {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes())?;
    mac.update(body);
    Ok(mac)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_body_is_a_push_of_the_right_size() {
        let body = body(1_234_567);
        assert_eq!(body.len(), payload::SIZE);
        let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let push = Push { after: json["after"].as_str().unwrap().to_owned(), ..Push::default() };
        assert_eq!(encoded_stamp(&push.encode_to_vec()), 1_234_567);
    }

    #[test]
    fn a_signature_fits_its_body_only() {
        let signature = signature(b"body").unwrap();
        assert!(is_signed(b"body", &signature));
        assert!(!is_signed(b"bode", &signature));
        assert!(!is_signed(b"body", "sha256=00"));
    }
}
