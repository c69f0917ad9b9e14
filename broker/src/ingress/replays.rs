//! Bodies that come again under another delivery id, where nothing signs the id (GitHub, Shopify): whoever has seen one webhook could send it
//! again as a new one.
//!
//! Constraints:
//! - Asked after verification only, so that nobody fills the memory but the provider, or who replays it.
//! - Asking and remembering are one step: of two that come at once, one is the replay.
//! - What is remembered is bounded, by the window of ids and by number; after a restart it is read from the newest part of the log ([`Replays::recall`]).

use std::{
    collections::{HashMap, VecDeque},
    hash::Hasher,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use http::HeaderMap;
use prost::Message;
use serde::Deserialize;
use siphasher::sip128::{Hasher128, SipHasher13};
use waypost_proto::v1::JsonPayload;
use waypost_store::{EventStore, Micros, Offset, ReadError, ReadLimits, Selection, StoredEvent};

use super::{Source, Sources, decode::Selected};
use crate::{
    entropy::Entropy,
    envelope,
    limits::{MAX_REMEMBERED_BODIES, READ_BYTES, READ_EVENTS, RECALLED_BYTES},
};

/// The attribute of an event that names the delivery whose body it has.
pub(super) const REPLAY_OF: &str = "replayof";

/// What becomes of a signed body that comes again under another delivery id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnReplay {
    /// It becomes an event that says so (`replayof`), and is counted.
    #[default]
    Flag,
    /// 409.
    Refuse,
    /// An event like any other: it is not looked for.
    Allow,
}

/// The bodies that came under ids that nothing signs, of all sources.
pub struct Replays {
    /// Nobody can make two bodies the same to it, since nobody knows it.
    key: [u8; 16],
    seen: Mutex<Seen>,
}

impl std::fmt::Debug for Replays {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Replays")
    }
}

#[derive(Default)]
struct Seen {
    /// The first delivery of each body, and when it was stored or came.
    first: HashMap<u128, (Box<str>, Micros)>,
    /// The oldest first.
    order: VecDeque<u128>,
}

impl Replays {
    /// With nothing remembered.
    #[must_use]
    pub fn new(entropy: &Entropy) -> Self {
        let key = (u128::from(entropy.number()) << 64) | u128::from(entropy.number());
        Self { key: key.to_ne_bytes(), seen: Mutex::default() }
    }

    /// The delivery of a source that had this body within the window, if it was another one. Otherwise this one is remembered as the first.
    pub(super) fn first(&self, source: &Source, headers: &HeaderMap, body: &[u8], now: Micros) -> Option<String> {
        source.on_replay?;
        // One without an id goes to quarantine for that.
        let id = source.identity.id(headers, &Selected::default(), body).ok()?;
        self.remember(source, &id, body, now)
    }

    fn remember(&self, source: &Source, id: &str, body: &[u8], now: Micros) -> Option<String> {
        let mut hasher = SipHasher13::new_with_key(&self.key);
        hasher.write_usize(source.name.len());
        hasher.write(source.name.as_bytes());
        hasher.write(body);
        let hash = hasher.finish128().as_u128();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((first, at)) = seen.first.get_mut(&hash) {
            if now.saturating_sub(*at) <= source.identity.window() {
                return (**first != *id).then(|| first.to_string());
            }
            (*first, *at) = (id.into(), now);
            return None;
        }
        if seen.order.len() >= MAX_REMEMBERED_BODIES
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.first.remove(&oldest);
        }
        seen.first.insert(hash, (id.into(), now));
        seen.order.push_back(hash);
        None
    }

    /// Reads the bodies that sources had before the start, from the newest part of the log.
    ///
    /// # Errors
    /// When the store does not answer: what was read until then is remembered.
    pub(crate) async fn recall(&self, sources: &Sources, store: &dyn EventStore, now: Micros) -> Result<(), ReadError> {
        let windows = sources.iter().filter(|source| source.on_replay.is_some()).map(|source| source.identity.window());
        let Some(window) = windows.max() else { return Ok(()) };
        let mut at = newest(store).max(store.offset_at(now.saturating_sub(window)).await?);
        let end = *store.tail().borrow();
        while at < end {
            let batch = store.read(at, &Selection::All, ReadLimits { events: READ_EVENTS, bytes: READ_BYTES }).await?;
            for event in &batch.events {
                let source = sources.get(event.head.source()).filter(|source| source.on_replay.is_some());
                if let Some((source, body)) = source.zip(body(event)) {
                    self.remember(source, event.head.id(), &body, event.accepted_at);
                }
            }
            at = batch.next;
        }
        Ok(())
    }
}

/// Where the newest part of the log begins: the segment being written, and as many before it as are worth reading at a start.
fn newest(store: &dyn EventStore) -> Offset {
    let disk = store.disk();
    let Some((last, before)) = disk.segments.split_last() else { return disk.first };
    let mut bytes = 0;
    let recent = before.iter().rev().take_while(|segment| {
        bytes += segment.bytes;
        bytes <= RECALLED_BYTES
    });
    recent.last().unwrap_or(last).first
}

/// The body that an event came with: kept beside it, or the same as its data.
pub(super) fn body(event: &StoredEvent) -> Option<Bytes> {
    let raw = envelope::raw(&event.body);
    if !raw.is_empty() {
        return Some(raw);
    }
    let data = envelope::event(&event.body).decode_event().ok()?.data?;
    JsonPayload::decode(data.value).ok().map(|payload| payload.json)
}
