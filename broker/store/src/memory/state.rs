//! What is durable, and one write to it: applied whole, or refused and nothing changed.
//!
//! Constraint: a write decides everything before it changes anything.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::{
    config::MemoryConfig,
    defect::Defect,
    ids::{First, IdKey, Ids, id_key_of},
    log::Log,
    rows::Rows,
};
use crate::{
    contract::{Appended, Claim, Claimed, Commit, DiskState, Duplicate, Micros, Offset, Row, Table},
    error::{AppendError, CommitError},
    event::NewEvent,
    limits::MAX_EVENT_BYTES,
};

/// What a record is counted as beyond its bytes.
const RECORD_BYTES: usize = 32;

/// What an owner is counted as beyond its name.
const OWNER_BYTES: usize = 64;

#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) log: Log,
    ids: Ids,
    owners: BTreeMap<Arc<str>, Owner>,
    owner_bytes: u64,
    rows: Rows,
    /// The time that the newest event was stamped with.
    accepted: Micros,
    damage: u64,
}

#[derive(Clone, Debug, Default)]
struct Owner {
    epoch: u64,
    records: Vec<Bytes>,
}

impl Owner {
    fn bytes(&self) -> u64 {
        records_bytes(&self.records)
    }
}

/// What to do with an event whose id is taken by other content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnConflict {
    Answer,
    Refuse,
}

/// What becomes of the events of one write.
struct Placed {
    answers: Vec<Appended>,
    /// The hash of the id of each event that is new; `None` for a duplicate.
    new: Vec<Option<IdKey>>,
    bytes: u64,
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            log: Log::new(),
            ids: Ids::default(),
            owners: BTreeMap::new(),
            owner_bytes: 0,
            rows: Rows::default(),
            accepted: 0,
            damage: 0,
        }
    }

    /// What a store finds when it opens.
    pub(super) fn reopened(&mut self, config: &MemoryConfig) {
        self.damage = self.log.damaged();
        if config.has(Defect::DedupNotRestored) {
            self.ids = Ids::default();
        }
        if config.has(Defect::EpochsNotRestored) {
            for owner in self.owners.values_mut() {
                owner.epoch = 0;
            }
        }
    }

    pub(super) fn claim(&mut self, name: &str) -> Claimed {
        let (name, mut owner) = self.owners.remove_entry(name).unwrap_or_else(|| {
            self.owner_bytes += (name.len() + OWNER_BYTES) as u64;
            (Arc::from(name), Owner::default())
        });
        owner.epoch += 1;
        let claimed = Claimed { claim: Claim { owner: name.clone(), epoch: owner.epoch }, records: owner.records.clone() };
        self.owners.insert(name, owner);
        claimed
    }

    pub(super) fn write(
        &mut self,
        config: &MemoryConfig,
        now: Micros,
        commit: Commit,
        on_conflict: OnConflict,
    ) -> Result<Vec<Appended>, CommitError> {
        if let Some(claim) = &commit.claim
            && !config.has(Defect::FencingIgnored)
            && self.owners.get(&claim.owner).is_none_or(|owner| owner.epoch != claim.epoch)
        {
            return Err(CommitError::Fenced { owner: claim.owner.to_string(), epoch: claim.epoch });
        }
        let now = if config.has(Defect::TimeGoesBack) { now } else { now.max(self.accepted) };
        let placed = self.place(config, now, &commit.events, on_conflict)?;
        self.check_room(config, &commit, placed.bytes)?;
        self.put(config, now, commit, &placed);
        Ok(placed.answers)
    }

    fn place(&self, config: &MemoryConfig, now: Micros, events: &[NewEvent], on_conflict: OnConflict) -> Result<Placed, CommitError> {
        let mut placed = Placed { answers: Vec::with_capacity(events.len()), new: Vec::with_capacity(events.len()), bytes: 0 };
        let mut here: BTreeMap<IdKey, First> = BTreeMap::new();
        let begin = self.next_offset(config);
        let mut offset = begin;
        for (index, event) in events.iter().enumerate() {
            let key = id_key_of(&event.head);
            let window = if config.has(Defect::DedupIgnored) { 0 } else { event.dedup_window };
            let first = match here.get(&key) {
                Some(first) => (window > 0).then_some(first),
                None => self.ids.find(key, now, window),
            };
            if let Some(first) = first {
                let duplicate = if first.fingerprint == event.fingerprint { Duplicate::SameContent } else { Duplicate::OtherContent };
                if duplicate == Duplicate::OtherContent && on_conflict == OnConflict::Refuse {
                    let first = if first.offset < begin { first.offset } else { 0 };
                    return Err(CommitError::Conflict { index, first });
                }
                placed.answers.push(Appended { offset: first.offset, accepted_at: first.accepted_at, duplicate: Some(duplicate) });
                placed.new.push(None);
                continue;
            }
            if window > 0 {
                here.insert(key, First { offset, accepted_at: now, fingerprint: event.fingerprint, window });
            }
            placed.answers.push(Appended { offset, accepted_at: now, duplicate: None });
            placed.new.push(Some(key));
            placed.bytes += Log::size_of(event) + Ids::bytes_for(event.dedup_window);
            offset += 1;
        }
        Ok(placed)
    }

    /// The offset of the next event. A sparse log leaves some out between writes.
    fn next_offset(&self, config: &MemoryConfig) -> Offset {
        let tail = self.log.tail();
        if config.sparse { tail + tail % 3 } else { tail }
    }

    fn check_room(&self, config: &MemoryConfig, commit: &Commit, event_bytes: u64) -> Result<(), AppendError> {
        let superseded = match &commit.claim {
            Some(claim) if commit.supersede => self.owners.get(&claim.owner).map_or(0, Owner::bytes),
            _ => 0,
        };
        let used = self.used();
        let gone = superseded + self.rows.bytes();
        let after = used + event_bytes + records_bytes(&commit.records) + self.rows.bytes_after(&commit.rows) - gone;
        let reserve = if commit.claim.is_some() || config.has(Defect::ReserveForAll) { 0 } else { config.reserve };
        // What only makes room is never refused.
        if after > used && after > config.cap.saturating_sub(reserve) {
            return Err(AppendError::Full { used, cap: config.cap, reserve: config.reserve });
        }
        Ok(())
    }

    fn put(&mut self, config: &MemoryConfig, now: Micros, commit: Commit, placed: &Placed) {
        for ((event, key), answer) in commit.events.into_iter().zip(&placed.new).zip(&placed.answers) {
            let Some(key) = *key else { continue };
            let first = First { offset: answer.offset, accepted_at: now, fingerprint: event.fingerprint, window: event.dedup_window };
            self.ids.remember(key, first, config.dedup_ids);
            self.log.push(answer.offset, now, event, config.segment_bytes);
            self.accepted = now;
        }
        if let Some(owner) = commit.claim.and_then(|claim| self.owners.get_mut(&claim.owner)) {
            if commit.supersede && !config.has(Defect::SupersedeAppends) {
                self.owner_bytes -= owner.bytes();
                owner.records.clear();
            }
            self.owner_bytes += records_bytes(&commit.records);
            owner.records.extend(commit.records);
        }
        for change in commit.rows {
            self.rows.apply(change);
        }
    }

    pub(super) fn scan(&self, table: Table, from: &[u8], limit: usize) -> Vec<Row> {
        self.rows.scan(table, from, limit)
    }

    /// Turns a stored event into a gap. Whether there was one.
    pub(super) fn damage(&mut self, offset: Offset) -> bool {
        let was_there = self.log.damage(offset);
        self.damage += u64::from(was_there);
        was_there
    }

    /// The tables, to be taken and put back: for [`Defect::CommitInPart`].
    pub(super) fn rows_mut(&mut self) -> &mut Rows {
        &mut self.rows
    }

    fn used(&self) -> u64 {
        self.log.bytes() + self.ids.bytes() + self.owner_bytes + self.rows.bytes()
    }

    pub(super) fn disk(&self, config: &MemoryConfig) -> DiskState {
        let used = self.used();
        DiskState {
            used,
            cap: config.cap,
            reserve: config.reserve,
            full: used + MAX_EVENT_BYTES as u64 > config.cap.saturating_sub(config.reserve),
            first: self.log.first(),
            next: self.log.tail(),
            segments: self.log.segments(),
            dedup_since: self.ids.since(),
            damage: self.damage,
        }
    }
}

fn records_bytes(records: &[Bytes]) -> u64 {
    records.iter().map(|record| (record.len() + RECORD_BYTES) as u64).sum()
}
