//! Verified webhooks that could not become their event type: kept until the mapping is mended.
//!
//! Constraints:
//! - Durable before the sender is answered, like an event; a system event tells of it in the same step.
//! - A row is a version byte and an encoded `waypost.v1.GetQuarantinedWebhookResponse`: what the admin API shows is what is stored, and its
//!   compatibility is checked with the contract's. Its key is the time of arrival, inverted, so that a scan gives the newest first, and a random number.
//! - No secret and no signature is kept.
//!
//! The same webhook again (same source, identity and body) is answered with the id of the first, as far as memory reaches: the newest few
//! thousand since the start. A retry that comes after a restart is kept once more, which costs a row and loses nothing.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use prost::Message;
use serde_json::json;
use waypost_proto::v1::{GetQuarantinedWebhookResponse, QuarantinedWebhook};
use waypost_store::{Commit, CommitError, EventStore, Micros, NewEvent, ReadError, Row, RowChange, Table};
use xxhash_rust::xxh3::Xxh3;

use super::source::Source;
use crate::{
    entropy::Entropy,
    envelope::timestamp,
    limits::{MAX_KEPT_HEADER_BYTES, MAX_KEPT_HEADERS, MAX_REMEMBERED_QUARANTINE, QUARANTINE_SCAN_ROWS},
    system::{Notice, Topic},
};

pub use waypost_proto::v1::QuarantineReason as Reason;

/// The format of a row.
const VERSION: u8 = 1;

/// Bytes of a key: time and random number.
const KEY_BYTES: usize = 16;

/// Why a webhook cannot become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undecodable {
    /// For programs.
    pub reason: Reason,
    /// The event type that it was to become; empty when none was found.
    pub event_type: String,
    /// Where in the payload, as a JSON pointer; empty for the whole.
    pub path: String,
    /// For people.
    pub message: String,
    /// Its identity; empty when none was found.
    pub identity: String,
}

/// A webhook in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What names it.
    pub id: String,
    /// Whether it was there already.
    pub again: bool,
}

/// The quarantine.
#[derive(Debug)]
pub struct Quarantine {
    entropy: Arc<Entropy>,
    known: Mutex<Known>,
}

/// Which webhooks are in the quarantine, as far as is remembered: hashes of what makes two the same, the oldest first.
#[derive(Debug, Default)]
struct Known {
    ids: HashMap<u128, String>,
    order: VecDeque<u128>,
}

/// One page of the quarantine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub webhooks: Vec<QuarantinedWebhook>,
    /// For the next page; empty when this is the last.
    pub next_page_token: String,
}

/// Why the quarantine could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    /// The page token is not one of this list's.
    #[error("page_token: {0:?} is not one that this list gave; start over without")]
    PageToken(String),
    /// The store does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why old webhooks could not be let go.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The store does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store refuses.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Quarantine {
    /// A quarantine that remembers nothing yet.
    #[must_use]
    pub fn new(entropy: Arc<Entropy>) -> Self {
        Self { entropy, known: Mutex::default() }
    }

    /// Keeps a webhook. Dropping the future leaves open whether it is kept.
    ///
    /// # Errors
    /// As a commit: it may have been kept if the outcome is unknown.
    pub async fn keep(
        &self,
        store: &dyn EventStore,
        now: Micros,
        source: &Source,
        headers: &HeaderMap,
        raw: &Bytes,
        why: Undecodable,
    ) -> Result<Kept, CommitError> {
        let same = same(source, raw, &why);
        let known = same.and_then(|same| self.known().ids.get(&same).cloned());
        // What is remembered may have gone with its time.
        if let Some(id) = known
            && matches!(get(store, &id).await, Ok(Some(_)))
        {
            return Ok(Kept { id, again: true });
        }
        let mut key = BytesMut::with_capacity(KEY_BYTES);
        key.put_u64(!now);
        key.put_u64(self.entropy.number());
        let id = hex::encode(&key);
        let told = self.notice(&id, now, source, &why);
        let row = Row { key: key.freeze(), value: encode(&id, now, source, headers, raw, why) };
        let rows = vec![RowChange::Put(Table::Quarantine, row)];
        store.commit(now, Commit { rows, events: told.into_iter().collect(), ..Commit::default() }).await?;
        if let Some(same) = same {
            self.known().remember(same, id.clone());
        }
        Ok(Kept { id, again: false })
    }

    /// What is told of a webhook, in the step that keeps it.
    fn notice(&self, id: &str, now: Micros, source: &Source, why: &Undecodable) -> Option<NewEvent> {
        let facts = json!({
            "quarantined": id,
            "source": &*source.name,
            "event_id": why.identity,
            "event_type": why.event_type,
            "reason": why.reason.as_str_name(),
            "path": why.path,
        });
        Notice { topic: Topic::QuarantineAdded, subject: Arc::clone(&source.name), facts }.seal(None, now, &self.entropy).ok()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn remember(&mut self, same: u128, id: String) {
        if self.order.len() >= MAX_REMEMBERED_QUARANTINE
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        if self.ids.insert(same, id).is_none() {
            self.order.push_back(same);
        }
    }
}

/// What makes two webhooks the same; `None` where every webhook is a new one.
fn same(source: &Source, raw: &[u8], why: &Undecodable) -> Option<u128> {
    if source.identity.window() == 0 {
        return None;
    }
    let mut hash = Xxh3::new();
    for part in [source.name.as_bytes(), why.identity.as_bytes(), raw] {
        hash.update(&(part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    Some(hash.digest128())
}

fn encode(id: &str, now: Micros, source: &Source, headers: &HeaderMap, raw: &Bytes, why: Undecodable) -> Bytes {
    let webhook = QuarantinedWebhook {
        id: id.to_owned(),
        source: source.name.to_string(),
        event_type: why.event_type,
        reason: why.reason.into(),
        path: why.path,
        message: why.message,
        received_at: Some(timestamp(now)),
        body_size: raw.len() as u64,
    };
    let signature = source.verifier.as_ref().map_or(&[][..], |verifier| &verifier.scheme().signature.header);
    let row = GetQuarantinedWebhookResponse { webhook: Some(webhook), body: raw.clone(), headers: kept_headers(headers, signature) };
    let mut value = BytesMut::with_capacity(1 + row.encoded_len());
    value.put_u8(VERSION);
    row.encode_raw(&mut value);
    value.freeze()
}

/// The headers by name, without what proves who the sender is.
fn kept_headers(headers: &HeaderMap, signature: &[HeaderName]) -> BTreeMap<String, String> {
    const SECRET: [&str; 7] = ["authorization", "cookie", "signature", "hmac", "token", "secret", "key"];
    let kept = |name: &HeaderName| {
        if signature.contains(name) || SECRET.iter().any(|word| name.as_str().contains(word)) {
            return "(masked)".to_owned();
        }
        let values: Vec<_> = headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes())).collect();
        values.join(", ").chars().take(MAX_KEPT_HEADER_BYTES / 4).collect()
    };
    headers.keys().take(MAX_KEPT_HEADERS).map(|name| (name.as_str().to_owned(), kept(name))).collect()
}

/// A page of at most `size` quarantined webhooks, newest first: of one source, or of any if it is empty; for one reason, or for any if it
/// is unspecified. Reads on until the page is full or all was read.
///
/// # Errors
/// [`QuarantineError`] when the token is wrong or the store does not answer.
pub async fn list(store: &dyn EventStore, size: usize, page_token: &str, source: &str, reason: Reason) -> Result<Page, QuarantineError> {
    let mut from = if page_token.is_empty() {
        Vec::new()
    } else {
        key(page_token).ok_or_else(|| QuarantineError::PageToken(page_token.to_owned()))?
    };
    let mut page = Page::default();
    loop {
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let last = rows.len() < QUARANTINE_SCAN_ROWS;
        for row in rows {
            if page.webhooks.len() >= size {
                page.next_page_token = hex::encode(&row.key);
                return Ok(page);
            }
            from = [&*row.key, &[0]].concat();
            let found = decode(&row).and_then(|row| row.webhook);
            let wanted = |webhook: &QuarantinedWebhook| {
                (source.is_empty() || webhook.source == source) && (reason == Reason::Unspecified || webhook.reason() == reason)
            };
            page.webhooks.extend(found.filter(wanted));
        }
        if last {
            return Ok(page);
        }
    }
}

/// One quarantined webhook with its body; `None` if there is none of this id.
///
/// # Errors
/// When the store does not answer.
pub async fn get(store: &dyn EventStore, id: &str) -> Result<Option<GetQuarantinedWebhookResponse>, ReadError> {
    let Some(key) = key(id) else { return Ok(None) };
    let rows = store.scan(Table::Quarantine, &key, 1).await?;
    Ok(rows.first().filter(|row| *row.key == *key).and_then(decode))
}

/// Lets go of every webhook that came before a time. Answers how many there were.
///
/// # Errors
/// When the store does not answer or refuses; some may be gone by then.
pub async fn expire(store: &dyn EventStore, now: Micros, before: Micros) -> Result<usize, ExpireError> {
    let from = (!before).to_be_bytes();
    let mut gone = 0;
    loop {
        // The older, the greater the key.
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let is_last = rows.len() < QUARANTINE_SCAN_ROWS;
        gone += rows.len();
        let rows: Vec<_> = rows.into_iter().map(|row| RowChange::Delete(Table::Quarantine, row.key)).collect();
        if !rows.is_empty() {
            store.commit(now, Commit { rows, ..Commit::default() }).await?;
        }
        if is_last {
            return Ok(gone);
        }
    }
}

fn key(id: &str) -> Option<Vec<u8>> {
    hex::decode(id).ok().filter(|key| key.len() == KEY_BYTES)
}

fn decode(row: &Row) -> Option<GetQuarantinedWebhookResponse> {
    let (&VERSION, encoded) = row.value.split_first()? else {
        tracing::error!(id = hex::encode(&row.key), "a quarantined webhook is of a format that this version does not know");
        return None;
    };
    GetQuarantinedWebhookResponse::decode(encoded)
        .inspect_err(|error| tracing::error!(id = hex::encode(&row.key), %error, "a quarantined webhook does not decode"))
        .ok()
}
