//! The newest frames, in memory and ready to be served: most readers are near the tail.
//!
//! Constraints:
//! - It holds durable frames only, without a hole up to the tail.
//! - Its size is bounded by the bytes of whole frames: an event is a slice of its frame, nothing is copied.

use std::{collections::VecDeque, sync::Arc};

use super::{frame::Frame, ids::Seed, index::events_of, item::EventItem};
use crate::{
    contract::{Micros, Offset, ReadBatch, ReadLimits, Selection},
    event::StoredEvent,
};

/// What a cached event takes beyond its bytes.
const EVENT_COST: usize = size_of::<StoredEvent>() + 16;

/// A durable frame, taken apart.
pub(super) struct CachedFrame {
    pub(super) first: Offset,
    pub(super) next: Offset,
    pub(super) events: Vec<StoredEvent>,
    /// Places in `events` by type, sorted by type.
    pub(super) types: Vec<(Arc<str>, Vec<usize>)>,
    pub(super) correlations: Vec<(u64, Offset)>,
    /// Offsets whose events cannot be served.
    pub(super) damaged: Vec<Offset>,
    pub(super) dedup_until: Micros,
    bytes: usize,
}

impl CachedFrame {
    /// Takes a frame apart; `each` sees every event that is not damaged.
    pub(super) fn new(frame: &Frame, seed: Seed, mut each: impl FnMut(Offset, &EventItem)) -> Self {
        let count = frame.header.events as usize;
        let mut cached = Self {
            first: frame.header.first,
            next: frame.header.next(),
            events: Vec::with_capacity(count),
            types: Vec::new(),
            correlations: Vec::new(),
            damaged: Vec::new(),
            dedup_until: 0,
            bytes: frame.bytes.len() + count * EVENT_COST,
        };
        for (offset, item) in events_of(frame) {
            let Some(item) = item else {
                cached.damaged.push(offset);
                continue;
            };
            each(offset, &item);
            cached.dedup_until = cached.dedup_until.max(item.accepted_at.saturating_add(item.window));
            cached.add(item.stored(offset), seed);
        }
        cached.types.sort_by(|(a, _), (b, _)| a.cmp(b));
        cached
    }

    fn add(&mut self, event: StoredEvent, seed: Seed) {
        if !event.head.correlation_id().is_empty() {
            self.correlations.push((seed.correlation(event.head.correlation_id()), event.offset));
        }
        let (name, place) = (event.head.event_type(), self.events.len());
        match self.types.iter_mut().rev().find(|(known, _)| **known == *name) {
            Some((_, places)) => places.push(place),
            None => self.types.push((name.into(), vec![place])),
        }
        self.events.push(event);
    }

    /// Places in `events` of the first `most` that a selection matches, in order.
    fn places(&self, selection: &Selection, from: Offset, most: usize) -> Vec<usize> {
        let start = self.events.partition_point(|event| event.offset < from);
        let set = match selection {
            Selection::All => return (start..self.events.len()).take(most).collect(),
            Selection::Types(set) => set,
            Selection::Correlation(_) | Selection::Id { .. } => {
                return (start..self.events.len()).filter(|place| matches(selection, &self.events[*place])).collect();
            }
        };
        let mut found: Vec<usize> = Vec::new();
        let mut take = |places: &[usize]| {
            let from = places.partition_point(|place| *place < start);
            found.extend(places[from..].iter().take(most));
        };
        if set.prefixes.is_empty() {
            let mut names: Vec<&str> = set.names.iter().map(|name| &**name).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                if let Ok(index) = self.types.binary_search_by(|(known, _)| (**known).cmp(name)) {
                    take(&self.types[index].1);
                }
            }
        } else {
            self.types.iter().filter(|(name, _)| set.contains(name)).for_each(|(_, places)| take(places));
        }
        found.sort_unstable();
        found
    }
}

/// Whether a selection matches an event.
pub(super) fn matches(selection: &Selection, event: &StoredEvent) -> bool {
    match selection {
        Selection::All => true,
        Selection::Types(set) => set.contains(event.head.event_type()),
        Selection::Correlation(id) => event.head.correlation_id() == &**id,
        Selection::Id { source, id } => event.head.source() == &**source && event.head.id() == &**id,
    }
}

/// Takes an event into a batch unless the limits are reached.
pub(super) fn take(batch: &mut ReadBatch, room: &mut ReadLimits, event: StoredEvent) -> bool {
    let bytes = event.head.encoded().len() + event.body.len();
    if !batch.events.is_empty() && (room.events == 0 || room.bytes < bytes) {
        return false;
    }
    room.events = room.events.saturating_sub(1);
    room.bytes = room.bytes.saturating_sub(bytes);
    batch.next = event.offset + 1;
    batch.events.push(event);
    true
}

/// The newest frames.
pub(super) struct Cache {
    frames: VecDeque<Arc<CachedFrame>>,
    bytes: usize,
    most: usize,
    next: Offset,
}

impl Cache {
    pub(super) fn new(most: usize, next: Offset) -> Self {
        Self { frames: VecDeque::new(), bytes: 0, most, next }
    }

    /// The first offset from which on everything is here.
    pub(super) fn first(&self) -> Offset {
        self.frames.front().map_or(self.next, |frame| frame.first)
    }

    /// Takes the next frame. Returns what had to go, to be dropped outside of any lock.
    pub(super) fn push(&mut self, frame: Arc<CachedFrame>) -> Vec<Arc<CachedFrame>> {
        if frame.next == frame.first {
            return Vec::new();
        }
        let mut gone = Vec::new();
        if frame.first != self.next || !frame.damaged.is_empty() {
            gone.extend(self.frames.drain(..));
            self.bytes = 0;
        }
        self.next = frame.next;
        if frame.damaged.is_empty() {
            self.bytes += frame.bytes;
            self.frames.push_back(frame);
        }
        while self.bytes > self.most
            && let Some(oldest) = self.frames.pop_front()
        {
            self.bytes -= oldest.bytes;
            gone.push(oldest);
        }
        gone
    }

    /// Reads on from `batch.next`, which must not be before [`Self::first`], to the tail or the limits.
    pub(super) fn read(&self, selection: &Selection, batch: &mut ReadBatch, room: &mut ReadLimits) {
        let start = self.frames.partition_point(|frame| frame.next <= batch.next);
        for frame in self.frames.iter().skip(start) {
            // One more than fits, so that what is left over is noticed.
            for place in frame.places(selection, batch.next, room.events.max(1).saturating_add(1)) {
                if !take(batch, room, frame.events[place].clone()) {
                    return;
                }
            }
            batch.next = frame.next;
        }
        batch.next = batch.next.max(self.next);
    }
}
