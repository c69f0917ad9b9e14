//! Events in order, their segments and indexes.
//!
//! Constraint: a read touches what its selection matches, through an index, and nothing between.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    ops::Bound,
    sync::Arc,
};

use super::ids::{IdKey, id_key, id_key_of};
use crate::{
    contract::{Gap, GapCause, Micros, Offset, ReadBatch, ReadLimits, SegmentState, Selection, TypeSet},
    event::{NewEvent, StoredEvent},
};

/// What an event is counted as beyond its head and body.
const EVENT_BYTES: usize = 64;

/// Offsets of one value, oldest first.
type Postings = VecDeque<Offset>;

#[derive(Clone, Debug)]
pub(super) struct Log {
    events: VecDeque<StoredEvent>,
    types: BTreeMap<Arc<str>, Postings>,
    correlations: BTreeMap<Arc<str>, Postings>,
    ids: BTreeMap<IdKey, Postings>,
    damaged: BTreeSet<Offset>,
    segments: VecDeque<SegmentState>,
    bytes: u64,
}

impl Log {
    pub(super) fn new() -> Self {
        Self {
            events: VecDeque::new(),
            types: BTreeMap::new(),
            correlations: BTreeMap::new(),
            ids: BTreeMap::new(),
            damaged: BTreeSet::new(),
            segments: VecDeque::from([SegmentState { first: 1, next: 1, bytes: 0, newest: 0 }]),
            bytes: 0,
        }
    }

    pub(super) fn size_of(event: &NewEvent) -> u64 {
        (event.head.encoded().len() + event.body.len() + EVENT_BYTES) as u64
    }

    pub(super) fn first(&self) -> Offset {
        self.segments.front().map_or(1, |segment| segment.first)
    }

    pub(super) fn tail(&self) -> Offset {
        self.segments.back().map_or(1, |segment| segment.next)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn segments(&self) -> Vec<SegmentState> {
        self.segments.iter().copied().collect()
    }

    pub(super) fn push(&mut self, offset: Offset, accepted_at: Micros, event: NewEvent, segment_bytes: u64) {
        let bytes = Self::size_of(&event);
        if self.segments.back().is_none_or(|segment| segment.bytes > 0 && segment.bytes + bytes > segment_bytes) {
            // From where the last one ends, so that offsets which were left out between them belong to one, too.
            let first = self.tail();
            self.segments.push_back(SegmentState { first, next: first, bytes: 0, newest: accepted_at });
        }
        if let Some(segment) = self.segments.back_mut() {
            segment.next = offset + 1;
            segment.bytes += bytes;
            segment.newest = accepted_at;
        }
        self.bytes += bytes;
        let head = event.head;
        post(&mut self.types, head.event_type(), offset);
        post(&mut self.correlations, head.correlation_id(), offset);
        self.ids.entry(id_key_of(&head)).or_default().push_back(offset);
        self.events.push_back(StoredEvent { offset, accepted_at, head, body: event.body });
    }

    /// Drops whole segments that end at or before `before`, and `more` beyond; never the one being written.
    pub(super) fn trim(&mut self, before: Offset, more: usize) -> Offset {
        let whole = self.segments.iter().take_while(|segment| segment.next <= before).count();
        for _ in 0..(whole + more).min(self.segments.len() - 1) {
            if let Some(segment) = self.segments.pop_front() {
                self.bytes -= segment.bytes;
            }
        }
        let first = self.first();
        while self.events.front().is_some_and(|event| event.offset < first) {
            if let Some(event) = self.events.pop_front() {
                self.unpost(&event);
            }
        }
        self.damaged = self.damaged.split_off(&first);
        first
    }

    /// Makes an event unreadable. Whether there was one.
    pub(super) fn damage(&mut self, offset: Offset) -> bool {
        let Some(event) = self.position(offset).and_then(|at| self.events.remove(at)) else { return false };
        self.unpost(&event);
        self.damaged.insert(offset)
    }

    /// How many events are damaged.
    pub(super) fn damaged(&self) -> u64 {
        self.damaged.len() as u64
    }

    pub(super) fn offset_at(&self, time: Micros) -> Offset {
        let at = self.events.partition_point(|event| event.accepted_at < time);
        self.events.get(at).map_or(self.tail(), |event| event.offset)
    }

    /// `examined` counts the index entries that were looked at.
    pub(super) fn read(&self, from: Offset, selection: &Selection, limits: ReadLimits, examined: &mut u64) -> ReadBatch {
        let start = from.max(self.first());
        let mut batch = ReadBatch { next: from.max(self.tail()), ..ReadBatch::default() };
        let mut bytes = 0;
        for event in self.selected(start, selection) {
            *examined += 1;
            bytes += event.head.encoded().len() + event.body.len();
            if !batch.events.is_empty() && (batch.events.len() >= limits.events || bytes > limits.bytes) {
                batch.next = event.offset;
                break;
            }
            batch.events.push(event.clone());
        }
        batch.gaps = self.gaps(from.max(1), batch.next);
        batch
    }

    fn gaps(&self, from: Offset, to: Offset) -> Vec<Gap> {
        let first = self.first().min(to);
        let mut gaps = Vec::new();
        if from < first {
            gaps.push(Gap { from, to: first, cause: GapCause::Trimmed });
        }
        if from.max(first) >= to {
            return gaps;
        }
        for &offset in self.damaged.range(from.max(first)..to) {
            match gaps.last_mut() {
                Some(gap) if gap.cause == GapCause::Damaged && gap.to == offset => gap.to = offset + 1,
                _ => gaps.push(Gap { from: offset, to: offset + 1, cause: GapCause::Damaged }),
            }
        }
        gaps
    }

    fn selected<'a>(&'a self, start: Offset, selection: &'a Selection) -> Box<dyn Iterator<Item = &'a StoredEvent> + 'a> {
        match selection {
            Selection::All => Box::new(self.events.range(self.events.partition_point(|event| event.offset < start)..)),
            Selection::Types(set) => self.posted(start, self.types_in(set)),
            Selection::Correlation(id) => self.posted(start, self.correlations.get(id).into_iter().collect()),
            Selection::Id { source, id } => self.posted(start, self.ids.get(&id_key(source, id)).into_iter().collect()),
        }
    }

    fn types_in(&self, set: &TypeSet) -> Vec<&Postings> {
        // By name, so that a type which several entries of the set match is read once.
        let mut lists: BTreeMap<&str, &Postings> = BTreeMap::new();
        for name in &set.names {
            if let Some((name, postings)) = self.types.get_key_value(name) {
                lists.insert(name, postings);
            }
        }
        for prefix in &set.prefixes {
            let from = (Bound::Included(&**prefix), Bound::Unbounded);
            lists.extend(self.types.range::<str, _>(from).take_while(|(name, _)| name.starts_with(&**prefix)).map(|(n, p)| (&**n, p)));
        }
        lists.into_values().collect()
    }

    /// Merges postings by offset.
    fn posted<'a>(&'a self, start: Offset, lists: Vec<&'a Postings>) -> Box<dyn Iterator<Item = &'a StoredEvent> + 'a> {
        let mut heads: BinaryHeap<Reverse<(Offset, usize, usize)>> = lists
            .iter()
            .enumerate()
            .filter_map(|(list, postings)| {
                let at = postings.partition_point(|offset| *offset < start);
                postings.get(at).map(|offset| Reverse((*offset, list, at)))
            })
            .collect();
        Box::new(std::iter::from_fn(move || {
            let Reverse((offset, list, at)) = heads.pop()?;
            if let Some(next) = lists[list].get(at + 1) {
                heads.push(Reverse((*next, list, at + 1)));
            }
            self.position(offset).and_then(|at| self.events.get(at))
        }))
    }

    fn position(&self, offset: Offset) -> Option<usize> {
        self.events.binary_search_by_key(&offset, |event| event.offset).ok()
    }

    fn unpost(&mut self, event: &StoredEvent) {
        unpost(&mut self.types, event.head.event_type(), event.offset);
        unpost(&mut self.correlations, event.head.correlation_id(), event.offset);
        unpost(&mut self.ids, &id_key_of(&event.head), event.offset);
    }
}

fn post(index: &mut BTreeMap<Arc<str>, Postings>, value: &str, offset: Offset) {
    match index.get_mut(value) {
        Some(postings) => postings.push_back(offset),
        None => {
            index.insert(Arc::from(value), VecDeque::from([offset]));
        }
    }
}

fn unpost<K, Q>(index: &mut BTreeMap<K, Postings>, value: &Q, offset: Offset)
where
    K: Ord + std::borrow::Borrow<Q>,
    Q: Ord + ?Sized,
{
    if let Some(postings) = index.get_mut(value) {
        if let Ok(at) = postings.binary_search(&offset) {
            postings.remove(at);
        }
        if postings.is_empty() {
            index.remove(value);
        }
    }
}
