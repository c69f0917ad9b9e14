//! Hashes of ids, and the ids of the segment that is being written.
//!
//! Constraint: hashes are seeded with a secret of the store, so that nobody outside can choose ids that collide.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::{item::EventItem, wire::narrow};
use crate::contract::{Micros, Offset};

/// What is remembered of an event's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IdEntry {
    pub(super) hash: u128,
    pub(super) fingerprint: u128,
    pub(super) offset: Offset,
    pub(super) accepted_at: Micros,
    /// When its dedup window ends; `accepted_at` if it has none, and is no first.
    pub(super) until: Micros,
}

impl IdEntry {
    /// Of an event that was read back.
    pub(super) fn of(seed: Seed, offset: Offset, item: &EventItem, scratch: &mut Vec<u8>) -> Self {
        Self {
            hash: seed.id(item.head.source(), item.head.id(), scratch),
            fingerprint: item.fingerprint,
            offset,
            accepted_at: item.accepted_at,
            until: item.accepted_at.saturating_add(item.window),
        }
    }

    /// Whether later events of this id can be its duplicates.
    pub(super) fn is_remembered(&self) -> bool {
        self.until > self.accepted_at
    }
}

/// The part of a hash that tables are keyed by.
pub(super) fn key_of(hash: u128) -> u64 {
    (hash >> 64) as u64
}

/// The rest of it.
#[allow(clippy::cast_possible_truncation, reason = "the high half is the key")]
pub(super) fn low_of(hash: u128) -> u64 {
    hash as u64
}

/// Hashes with the secret of one store.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seed(pub(super) u64);

impl Seed {
    pub(super) fn id(self, source: &str, id: &str, scratch: &mut Vec<u8>) -> u128 {
        scratch.clear();
        scratch.extend_from_slice(&(source.len() as u64).to_le_bytes());
        scratch.extend_from_slice(source.as_bytes());
        scratch.extend_from_slice(id.as_bytes());
        xxh3_128_with_seed(scratch, self.0)
    }

    pub(super) fn correlation(self, id: &str) -> u64 {
        xxh3_64_with_seed(id.as_bytes(), self.0)
    }
}

/// Hashes are keys already.
#[derive(Default)]
pub(super) struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// The ids of one segment, in the order of its events.
#[derive(Default)]
pub(super) struct SegmentIds {
    entries: Vec<IdEntry>,
    newest: HashMap<u64, u32, BuildHasherDefault<Identity>>,
}

impl SegmentIds {
    pub(super) fn entries(&self) -> &[IdEntry] {
        &self.entries
    }

    /// The newest event of this id that is remembered.
    pub(super) fn find(&self, hash: u128) -> Option<IdEntry> {
        let place = *self.newest.get(&key_of(hash))?;
        self.entries.get(usize::try_from(place).ok()?).filter(|entry| entry.hash == hash).copied()
    }

    /// The keys of all that are remembered, u64 each, in no order.
    pub(super) fn keys(&self) -> Vec<u8> {
        self.entries.iter().filter(|entry| entry.is_remembered()).flat_map(|entry| key_of(entry.hash).to_le_bytes()).collect()
    }

    /// How many are remembered.
    pub(super) fn remembered(&self) -> usize {
        self.entries.iter().filter(|entry| entry.is_remembered()).count()
    }

    /// Takes in many.
    pub(super) fn extend(&mut self, entries: Vec<IdEntry>) {
        self.entries.reserve(entries.len());
        self.newest.reserve(entries.len());
        entries.into_iter().for_each(|entry| self.push(entry));
    }

    pub(super) fn push(&mut self, entry: IdEntry) {
        if entry.is_remembered() {
            self.newest.insert(key_of(entry.hash), narrow(self.entries.len()));
        }
        self.entries.push(entry);
    }

    /// Forgets all but the first `count`.
    pub(super) fn truncate(&mut self, count: usize) {
        if count >= self.entries.len() {
            return;
        }
        for entry in self.entries.drain(count..) {
            self.newest.remove(&key_of(entry.hash));
        }
        // What was hidden behind a forgotten one comes back by a search: it takes a refused write to get here.
        for (place, entry) in self.entries.iter().enumerate().rev().filter(|(_, entry)| entry.is_remembered()) {
            self.newest.entry(key_of(entry.hash)).or_insert_with(|| narrow(place));
        }
    }
}
