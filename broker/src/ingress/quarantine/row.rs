//! A quarantined webhook as it is stored.
//!
//! Constraints:
//! - A row is a version byte and an encoded `waypost.v1.GetQuarantinedWebhookResponse`: what the admin API shows is what is stored, and its
//!   compatibility is checked with the contract's. Its key is the time of arrival, inverted, so that a scan gives the newest first, and a random number.
//! - No secret and no signature is kept; what the source's own rules look at is kept whole, so that the webhook can be retried.

use std::collections::BTreeMap;

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use prost::Message;
use waypost_proto::v1::{GetQuarantinedWebhookResponse, QuarantinedWebhook};
use waypost_store::{Micros, Row};
use xxhash_rust::xxh3::Xxh3;

use super::{Undecodable, Unfit};
use crate::{
    entropy::Entropy,
    envelope::timestamp,
    ingress::source::Source,
    limits::{MAX_KEPT_HEADER_BYTES, MAX_KEPT_HEADERS},
};

/// The format of a row.
const VERSION: u8 = 1;

/// Bytes of a key: time and random number.
const KEY_BYTES: usize = 16;

/// The key of a webhook that arrived at a time.
pub(in crate::ingress) fn new_key(arrived: Micros, entropy: &Entropy) -> Bytes {
    let mut key = BytesMut::with_capacity(KEY_BYTES);
    key.put_u64(!arrived);
    key.put_u64(entropy.number());
    key.freeze()
}

pub(in crate::ingress) fn new_row(id: &str, now: Micros, unfit: Unfit<'_>, why: Undecodable) -> GetQuarantinedWebhookResponse {
    let Unfit { source, headers, raw, is_part } = unfit;
    let webhook = QuarantinedWebhook {
        id: id.to_owned(),
        source: source.name.to_string(),
        received_at: Some(timestamp(now)),
        body_size: raw.len() as u64,
        ..QuarantinedWebhook::default()
    };
    GetQuarantinedWebhookResponse {
        webhook: Some(why.told_of(webhook)),
        body: raw.clone(),
        headers: kept_headers(headers, source),
        is_part,
        body_masked: false,
    }
}

impl Undecodable {
    /// The same webhook, with this as what is wrong with it.
    pub(in crate::ingress) fn told_of(self, webhook: QuarantinedWebhook) -> QuarantinedWebhook {
        let Self { reason, event_type, path, message, identity } = self;
        QuarantinedWebhook { event_type, reason: reason.into(), path, message, identity, ..webhook }
    }
}

pub(in crate::ingress) fn encode(row: &GetQuarantinedWebhookResponse) -> Bytes {
    let mut value = BytesMut::with_capacity(1 + row.encoded_len());
    value.put_u8(VERSION);
    row.encode_raw(&mut value);
    value.freeze()
}

/// The headers by name, without what proves who the sender is. Those that the source's rules look at come first, and are never masked
/// but where they are the signature itself.
fn kept_headers(headers: &HeaderMap, source: &Source) -> BTreeMap<String, String> {
    const SECRET: [&str; 7] = ["authorization", "cookie", "signature", "hmac", "token", "secret", "key"];
    let signature = source.verifier.as_ref().map_or(&[][..], |verifier| &verifier.scheme().signature.header);
    let looked_at = source.headers_looked_at();
    let kept = |name: &HeaderName| {
        let is_attribute = source.cloudevents && name.as_str().starts_with("ce-");
        let is_secret = !is_attribute && !looked_at.contains(&name) && SECRET.iter().any(|word| name.as_str().contains(word));
        if signature.contains(name) || is_secret {
            return MASKED.to_owned();
        }
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        let text = values.join("\n");
        text[..text.floor_char_boundary(MAX_KEPT_HEADER_BYTES)].to_owned()
    };
    let (first, rest): (Vec<_>, Vec<_>) = headers.keys().partition(|name| looked_at.contains(name));
    first.into_iter().chain(rest).take(MAX_KEPT_HEADERS).map(|name| (name.as_str().to_owned(), kept(name))).collect()
}

/// What stands for a secret.
pub(in crate::ingress) const MASKED: &str = "(masked)";

/// With what is not kept, since it follows from what is.
pub(in crate::ingress) fn as_shown(webhook: QuarantinedWebhook) -> QuarantinedWebhook {
    QuarantinedWebhook { fingerprint: fingerprint(&webhook), ..webhook }
}

/// What is the same for webhooks that fail in the same way.
fn fingerprint(webhook: &QuarantinedWebhook) -> String {
    let path: Vec<&str> =
        webhook.path.split('/').map(|step| if step.bytes().all(|byte| byte.is_ascii_digit()) { "" } else { step }).collect();
    let mut hash = Xxh3::new();
    for part in [&*webhook.source, &webhook.event_type, webhook.reason().as_str_name(), &path.join("/")] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part.as_bytes());
    }
    format!("{:016x}", hash.digest())
}

pub(in crate::ingress) fn key(id: &str) -> Option<Vec<u8>> {
    hex::decode(id).ok().filter(|key| key.len() == KEY_BYTES)
}

pub(super) fn decode(row: &Row) -> Option<GetQuarantinedWebhookResponse> {
    let (&VERSION, encoded) = row.value.split_first()? else {
        tracing::error!(id = hex::encode(&row.key), "a quarantined webhook is of a format that this version does not know");
        return None;
    };
    let mut found = GetQuarantinedWebhookResponse::decode(encoded)
        .inspect_err(|error| tracing::error!(id = hex::encode(&row.key), %error, "a quarantined webhook does not decode"))
        .ok()?;
    found.webhook = found.webhook.map(as_shown);
    Some(found)
}
