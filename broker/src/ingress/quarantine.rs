//! Verified webhooks that could not become their event type: kept until the mapping is mended.
//!
//! Constraints:
//! - Durable before the sender is answered, like an event; a system event tells of it in the same step.
//! - What is kept of a webhook, and what is not, is `row`'s to say.
//!
//! The same webhook again (same source, identity and body) is answered with the id of the first, as far as memory reaches: the newest few
//! thousand since the start. A retry that comes after a restart is kept once more, which costs a row and loses nothing.

mod row;
mod search;

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use http::HeaderMap;
use serde_json::json;
use waypost_store::{Commit, CommitError, EventStore, Micros, Row, RowChange, Table};
use xxhash_rust::xxh3::Xxh3;

use super::source::Source;
use crate::{
    entropy::Entropy,
    limits::MAX_REMEMBERED_QUARANTINE,
    system::{Notice, Topic},
};

pub(super) use row::{MASKED, as_shown, encode, key, new_key, new_row};
pub use search::{ExpireError, Page, QuarantineError, Which, expire, get, list, oldest};
pub use waypost_proto::v1::QuarantineReason as Reason;

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
