//! The memory of ids: what came first, as long as its window lasts.
//!
//! Constraint: it outlives the events. Trimming the log does not touch it.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::Xxh3Default;

use crate::{
    contract::{Micros, Offset},
    event::EventHead,
};

/// What one remembered id is counted as.
const ID_BYTES: u64 = 64;

/// The hash of a source and an id. Two pairs that share it are taken for the same; with 128 bits there are none.
pub(super) type IdKey = u128;

pub(super) fn id_key(source: &str, id: &str) -> IdKey {
    let mut hash = Xxh3Default::new();
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    hash.update(&(source.len() as u64).to_le_bytes());
    hash.update(source.as_bytes());
    hash.update(id.as_bytes());
    hash.digest128()
}

pub(super) fn id_key_of(head: &EventHead) -> IdKey {
    id_key(head.source(), head.id())
}

/// The event that came first.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) offset: Offset,
    pub(super) accepted_at: Micros,
    pub(super) fingerprint: u128,
    pub(super) window: Micros,
}

impl First {
    fn end(&self) -> Micros {
        self.accepted_at.saturating_add(self.window)
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Ids {
    by_key: BTreeMap<IdKey, First>,
    by_offset: BTreeMap<Offset, IdKey>,
    by_end: BTreeSet<(Micros, Offset)>,
    /// The newest acceptance time of an id that was forgotten before its window ended.
    since: Micros,
}

impl Ids {
    /// The first event of this id, if an event accepted at `now` with this window is its duplicate.
    pub(super) fn find(&self, key: IdKey, now: Micros, window: Micros) -> Option<&First> {
        let first = self.by_key.get(&key)?;
        (window > 0 && now <= first.end() && now.saturating_sub(first.accepted_at) <= window).then_some(first)
    }

    /// Remembers an event that was stored, and forgets those whose window ended before it, and the oldest beyond `most`.
    pub(super) fn remember(&mut self, key: IdKey, first: First, most: usize) {
        while let Some(&(end, offset)) = self.by_end.first()
            && end < first.accepted_at
        {
            self.forget(offset);
        }
        if first.window == 0 {
            return;
        }
        if let Some(earlier) = self.by_key.get(&key) {
            self.forget(earlier.offset);
        }
        self.by_key.insert(key, first);
        self.by_offset.insert(first.offset, key);
        self.by_end.insert((first.end(), first.offset));
        while self.by_key.len() > most
            && let Some((&oldest, _)) = self.by_offset.first_key_value()
        {
            if let Some(forgotten) = self.forget(oldest) {
                self.since = self.since.max(forgotten.accepted_at);
            }
        }
    }

    fn forget(&mut self, offset: Offset) -> Option<First> {
        let first = self.by_key.remove(&self.by_offset.remove(&offset)?)?;
        self.by_end.remove(&(first.end(), offset));
        Some(first)
    }

    pub(super) fn since(&self) -> Micros {
        self.since
    }

    /// What remembering one more id with this window would add, at most.
    pub(super) fn bytes_for(window: Micros) -> u64 {
        if window > 0 { ID_BYTES } else { 0 }
    }

    pub(super) fn bytes(&self) -> u64 {
        self.by_key.len() as u64 * ID_BYTES
    }
}
