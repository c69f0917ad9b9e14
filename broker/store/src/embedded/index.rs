//! The index of a segment that is not sealed yet: in memory, fed one durable frame at a time.
//!
//! Constraint: it holds durable frames only. What it answers, the sealed index answers too: both are [`Lookup`].

use std::{collections::BTreeMap, io, sync::Arc};

use super::{cache::CachedFrame, frame::Frame, item::EventItem};
use crate::contract::{Micros, Offset, TypeSet};

/// Where a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameSpot {
    pub(super) first: Offset,
    pub(super) sequence: u64,
    pub(super) position: u64,
    pub(super) newest: Micros,
    /// Whether it holds changes of tables.
    pub(super) changes: bool,
}

/// Offsets that are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) from: Offset,
    pub(super) to: Offset,
}

/// Why an index could not answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("{0}")]
    Disk(#[from] io::Error),
    #[error("the index is damaged")]
    Damaged,
}

/// What every index of a segment answers. Offsets come in order, at most `most` of them, none before `from`.
pub(super) trait Lookup {
    fn types(&self, set: &TypeSet, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError>;
    fn correlation(&self, hash: u64, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError>;
    /// The frames from the one that holds `offset` on.
    fn frames(&self, offset: Offset, most: usize) -> Result<Vec<FrameSpot>, LookupError>;
    fn lost(&self) -> Result<Vec<Lost>, LookupError>;
}

/// What is known of a segment as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) id: u64,
    pub(super) salt: u64,
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) first_sequence: u64,
    pub(super) next_sequence: u64,
    /// When its newest event was accepted, or one before it.
    pub(super) newest: Micros,
    /// When the last of its ids may be forgotten.
    pub(super) dedup_until: Micros,
    /// Where its last frame ends.
    pub(super) end: u64,
}

/// An index in memory.
#[derive(Default)]
pub(super) struct MemoryIndex {
    pub(super) summary: Summary,
    pub(super) frames: Vec<FrameSpot>,
    pub(super) types: BTreeMap<Arc<str>, Vec<Offset>>,
    pub(super) correlations: Vec<(u64, Offset)>,
    pub(super) lost: Vec<Lost>,
}

impl MemoryIndex {
    /// Takes in a durable frame that was made ready for the cache.
    pub(super) fn add(&mut self, position: u64, frame: &Frame, cached: &CachedFrame) {
        let header = &frame.header;
        self.summary.newest = self.summary.newest.max(header.newest);
        self.summary.next = header.next();
        self.summary.next_sequence = header.sequence + 1;
        self.summary.end = position + header.stride();
        self.summary.dedup_until = self.summary.dedup_until.max(cached.dedup_until);
        let changes = header.items > header.events;
        self.frames.push(FrameSpot { first: header.first, sequence: header.sequence, position, newest: header.newest, changes });
        for (name, places) in &cached.types {
            let offsets = places.iter().map(|place| cached.events[*place].offset);
            match self.types.get_mut(name) {
                Some(postings) => postings.extend(offsets),
                None => {
                    self.types.insert(name.clone(), offsets.collect());
                }
            }
        }
        self.correlations.extend_from_slice(&cached.correlations);
        for offset in &cached.damaged {
            self.lose(*offset, offset + 1);
        }
    }

    /// Notes that nothing is left of these offsets.
    pub(super) fn lose(&mut self, from: Offset, to: Offset) {
        self.summary.next = self.summary.next.max(to);
        match self.lost.last_mut().filter(|last| last.to == from) {
            _ if from >= to => {}
            Some(last) => last.to = to,
            None => self.lost.push(Lost { from, to }),
        }
    }
}

/// The names in a sorted map that a set of types holds, once each.
pub(super) fn matching<'a, V>(types: &'a BTreeMap<Arc<str>, V>, set: &TypeSet) -> Vec<&'a V> {
    let mut found: BTreeMap<&str, &V> = BTreeMap::new();
    for name in &set.names {
        if let Some((name, value)) = types.get_key_value(name) {
            found.insert(name, value);
        }
    }
    for prefix in &set.prefixes {
        let from = (std::ops::Bound::Included(&**prefix), std::ops::Bound::Unbounded);
        let range = types.range::<str, _>(from).take_while(|(name, _)| name.starts_with(&**prefix));
        found.extend(range.map(|(name, value)| (&**name, value)));
    }
    found.into_values().collect()
}

/// The first `most` of several sorted lists together.
pub(super) fn merge(lists: Vec<Vec<Offset>>, most: usize) -> Vec<Offset> {
    let mut all: Vec<Offset> = lists.into_iter().flatten().collect();
    all.sort_unstable();
    all.truncate(most);
    all
}

impl Lookup for MemoryIndex {
    fn types(&self, set: &TypeSet, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError> {
        let first_of = |postings: &Vec<Offset>| {
            let start = postings.partition_point(|offset| *offset < from);
            postings[start..].iter().take(most).copied().collect()
        };
        Ok(merge(matching(&self.types, set).into_iter().map(first_of).collect(), most))
    }

    fn correlation(&self, hash: u64, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError> {
        let found = self.correlations.iter().filter(|(found, offset)| *found == hash && *offset >= from);
        Ok(found.map(|(_, offset)| *offset).take(most).collect())
    }

    fn frames(&self, offset: Offset, most: usize) -> Result<Vec<FrameSpot>, LookupError> {
        let start = self.frames.partition_point(|frame| frame.first <= offset).saturating_sub(1);
        Ok(self.frames[start..].iter().take(most).copied().collect())
    }

    fn lost(&self) -> Result<Vec<Lost>, LookupError> {
        Ok(self.lost.clone())
    }
}

/// The event items of a frame, with the offset of each; `None` for a damaged one.
pub(super) fn events_of(frame: &Frame) -> impl Iterator<Item = (Offset, Option<EventItem>)> + '_ {
    let events = frame.spots.iter().enumerate().filter(|(_, spot)| spot.kind == super::frame::Kind::Event);
    events.zip(frame.header.first..).map(|((index, spot), offset)| {
        let good = !frame.damaged.contains(&index);
        (offset, good.then(|| EventItem::decode(frame.bytes.slice(spot.range.clone()))).flatten())
    })
}
