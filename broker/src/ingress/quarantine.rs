//! Verified webhooks that could not become their event type: kept until the mapping is mended.
//!
//! Constraints:
//! - Durable before the sender is answered, like an event; a system event tells of it in the same step.
//! - A row is a version byte and an encoded `waypost.v1.GetQuarantinedWebhookResponse`: what the admin API shows is what is stored, and its
//!   compatibility is checked with the contract's. Its key is the time of arrival, inverted, so that a scan gives the newest first, and a random number.
//! - No secret and no signature is kept; what the source's own rules look at is kept whole, so that the webhook can be retried.
//!
//! The same webhook again (same source, identity and body) is answered with the id of the first, as far as memory reaches: the newest few
//! thousand since the start. A retry that comes after a restart is kept once more, which costs a row and loses nothing.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName};
use prost::Message;
use serde_json::json;
use waypost_proto::v1::{GetQuarantinedWebhookResponse, QuarantinedWebhook};
use waypost_store::{Commit, CommitError, EventStore, Micros, ReadError, Row, RowChange, Table};
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

/// A webhook to be kept, or one of the events of a webhook.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unfit<'a> {
    pub(super) source: &'a Source,
    pub(super) headers: &'a HeaderMap,
    pub(super) raw: &'a Bytes,
    /// Whether it is one of several events of its webhook.
    pub(super) is_part: bool,
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
    pub(super) async fn keep(&self, store: &dyn EventStore, now: Micros, unfit: Unfit<'_>, why: Undecodable) -> Result<Kept, CommitError> {
        let same = same(unfit.source, unfit.raw, &why);
        let known = same.and_then(|same| self.known().ids.get(&same).cloned());
        // What is remembered may have gone with its time.
        if let Some(id) = known
            && matches!(get(store, &id).await, Ok(Some(_)))
        {
            return Ok(Kept { id, again: true });
        }
        let key = new_key(now, &self.entropy);
        let id = hex::encode(&key);
        let told = notice(&id, unfit.source, &why).seal(None, now, &self.entropy).ok();
        let row = Row { value: encode(&new_row(&id, now, unfit, why)), key };
        let rows = vec![RowChange::Put(Table::Quarantine, row)];
        store.commit(now, Commit { rows, events: told.into_iter().collect(), ..Commit::default() }).await?;
        if let Some(same) = same {
            self.known().remember(same, id.clone());
        }
        Ok(Kept { id, again: false })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is told of a webhook, in the step that keeps it.
pub(super) fn notice(id: &str, source: &Source, why: &Undecodable) -> Notice {
    let facts = json!({
        "quarantined": id,
        "source": &*source.name,
        "event_id": why.identity,
        "event_type": why.event_type,
        "reason": why.reason.as_str_name(),
        "path": why.path,
    });
    Notice { topic: Topic::QuarantineAdded, subject: Arc::clone(&source.name), facts }
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

/// The key of a webhook that arrived at a time.
pub(super) fn new_key(arrived: Micros, entropy: &Entropy) -> Bytes {
    let mut key = BytesMut::with_capacity(KEY_BYTES);
    key.put_u64(!arrived);
    key.put_u64(entropy.number());
    key.freeze()
}

pub(super) fn new_row(id: &str, now: Micros, unfit: Unfit<'_>, why: Undecodable) -> GetQuarantinedWebhookResponse {
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
    pub(super) fn told_of(self, webhook: QuarantinedWebhook) -> QuarantinedWebhook {
        let Self { reason, event_type, path, message, identity } = self;
        QuarantinedWebhook { event_type, reason: reason.into(), path, message, identity, ..webhook }
    }
}

pub(super) fn encode(row: &GetQuarantinedWebhookResponse) -> Bytes {
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
pub(super) const MASKED: &str = "(masked)";

/// With what is not kept, since it follows from what is.
pub(super) fn as_shown(webhook: QuarantinedWebhook) -> QuarantinedWebhook {
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

/// Which webhooks of the quarantine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// Of this source; empty for any.
    pub source: &'a str,
    /// For this reason; unspecified for any.
    pub reason: Reason,
    /// Of this fingerprint; empty for any.
    pub fingerprint: &'a str,
}

impl Which<'_> {
    fn holds(&self, webhook: &QuarantinedWebhook) -> bool {
        (self.source.is_empty() || webhook.source == self.source)
            && (self.reason == Reason::Unspecified || webhook.reason() == self.reason)
            && (self.fingerprint.is_empty() || webhook.fingerprint == self.fingerprint)
    }
}

/// A page of at most `size` quarantined webhooks, newest first. Reads on until the page is full or all was read.
///
/// # Errors
/// [`QuarantineError`] when the token is wrong or the store does not answer.
pub async fn list(store: &dyn EventStore, size: usize, page_token: &str, which: Which<'_>) -> Result<Page, QuarantineError> {
    let mut from = from_token(page_token)?;
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
            page.webhooks.extend(found.filter(|webhook| which.holds(webhook)));
        }
        if last {
            return Ok(page);
        }
    }
}

/// At most `count` ids of those that there are of a fingerprint, the oldest first, and the token for those after them; empty if there are
/// no more. All of the quarantine is read for it.
///
/// # Errors
/// [`QuarantineError`] when the token is wrong or the store does not answer.
pub async fn oldest(
    store: &dyn EventStore,
    fingerprint: &str,
    count: usize,
    page_token: &str,
) -> Result<(Vec<String>, String), QuarantineError> {
    let after = from_token(page_token)?;
    let which = Which { fingerprint, ..Which::default() };
    let mut oldest = BTreeSet::new();
    let (mut from, mut are_more) = (Vec::new(), false);
    loop {
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let last = rows.len() < QUARANTINE_SCAN_ROWS;
        for row in rows {
            from = [&*row.key, &[0]].concat();
            let is_due =
                (after.is_empty() || row.key < after) && decode(&row).and_then(|row| row.webhook).is_some_and(|it| which.holds(&it));
            if is_due {
                // The older, the greater the key.
                oldest.insert(row.key);
                are_more |= oldest.len() > count && oldest.pop_first().is_some();
            }
        }
        if last {
            let ids: Vec<String> = oldest.iter().rev().map(hex::encode).collect();
            let next = ids.last().filter(|_| are_more).cloned().unwrap_or_default();
            return Ok((ids, next));
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

/// Where a list goes on.
fn from_token(page_token: &str) -> Result<Vec<u8>, QuarantineError> {
    if page_token.is_empty() {
        return Ok(Vec::new());
    }
    key(page_token).ok_or_else(|| QuarantineError::PageToken(page_token.to_owned()))
}

pub(super) fn key(id: &str) -> Option<Vec<u8>> {
    hex::decode(id).ok().filter(|key| key.len() == KEY_BYTES)
}

fn decode(row: &Row) -> Option<GetQuarantinedWebhookResponse> {
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
