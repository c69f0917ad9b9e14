//! The events that a subscription has examined and not settled.
//!
//! Constraints:
//! - Bounded by the caller (P12). No step looks at all of them: whatever is asked often (what is ready, what is due, who holds how
//!   much) has an ordered index.
//! - An index is never kept by hand: where an event belongs follows from what it is ([`Place`]), and [`Unsettled::update`] moves it from
//!   where it was before a change to where it is after it. So nothing can be lost between two states (P2), and counts cannot drift.

use std::collections::BTreeMap;

use crate::{Offset, SessionId, Time, lease::Lease, record::Attempt, sorted::Sorted};

/// The most attempts that an event's history keeps. The counts beside it stay exact.
pub(crate) const MAX_HISTORY: usize = 32;

/// The most bytes of all histories together. Beyond it, an event that fails keeps its latest attempt only, without its reason.
pub(crate) const MAX_HISTORY_BYTES: usize = 1024 * 1024;

/// One unsettled event. What it is follows from its fields, in this order: settling, leased, waiting, or ready (unless its key is
/// blocked).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) bytes: u32,
    pub(crate) key: Option<u64>,
    /// Out of the dead letters: it never holds the frontier or the floor.
    pub(crate) redriven: bool,
    pub(crate) attempts: u32,
    pub(crate) losses: u32,
    pub(crate) history: Vec<Attempt>,
    /// Not to be delivered before.
    pub(crate) wait: Option<Time>,
    pub(crate) lease: Option<Lease>,
    /// A decision about it is on its way to the disk. Until it is known, nothing else is decided and no clock runs.
    pub(crate) settling: bool,
}

impl Entry {
    fn is_free(&self) -> bool {
        !self.settling && self.lease.is_none() && self.wait.is_none()
    }

    fn timer(&self) -> Option<Time> {
        if self.settling { None } else { self.lease.map(|lease| lease.deadline).or(self.wait) }
    }

    fn history_bytes(&self) -> usize {
        self.history.iter().map(Attempt::weight).sum()
    }

    /// Which try the next delivery is.
    pub(crate) fn next_attempt(&self) -> u32 {
        1_u32.saturating_add(self.attempts).saturating_add(self.losses)
    }
}

/// What one session, or all of them, holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) events: usize,
    pub(crate) bytes: u64,
}

impl Load {
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.events).unwrap_or(u32::MAX)
    }

    /// Whether one more event fits under these limits. One goes alone, whatever its size.
    pub(crate) fn has_room(&self, bytes: u32, max_count: u32, max_bytes: u64) -> bool {
        self.count() < max_count && (self.events == 0 || self.bytes.saturating_add(u64::from(bytes)) <= max_bytes)
    }
}

/// The unsettled events of one ordering key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Lane {
    /// Whether each could be handed out if it were alone.
    events: BTreeMap<Offset, bool>,
    outstanding: usize,
}

impl Lane {
    /// The one that may be handed out: the first, if nothing of its key is outstanding (P8).
    fn head(&self) -> Option<Offset> {
        self.events.first_key_value().filter(|&(_, &free)| free && self.outstanding == 0).map(|(&offset, _)| offset)
    }
}

/// What is asked often, by what it is asked for. A function of the events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Index {
    ordered: bool,
    ready: Sorted<Offset>,
    /// Events that could be handed out if each were alone: those that are ready, and those behind another of their key.
    free: usize,
    timers: Sorted<(Time, Offset)>,
    held: BTreeMap<SessionId, (Sorted<Offset>, u64)>,
    load: Load,
    lanes: BTreeMap<u64, Lane>,
    history_bytes: usize,
}

/// Where the indexes have an event. By default nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    /// Whether it could be handed out if it were alone.
    free: bool,
    timer: Option<Time>,
    held: Option<(SessionId, u64)>,
    /// The ordering key, if keys are kept in order.
    lane: Option<u64>,
    history_bytes: usize,
}

impl Place {
    /// Whether it could be handed out, without a lane that decides about it.
    fn is_ready(&self) -> bool {
        self.free && self.lane.is_none()
    }
}

impl Index {
    fn place(&self, entry: &Entry) -> Place {
        Place {
            free: entry.is_free(),
            timer: entry.timer(),
            held: entry.lease.map(|lease| (lease.session, u64::from(entry.bytes))),
            lane: entry.key.filter(|_| self.ordered),
            history_bytes: entry.history_bytes(),
        }
    }

    fn add(&mut self, offset: Offset, entry: &Entry) {
        let to = self.place(entry);
        self.move_to(offset, Place::default(), to);
    }

    fn remove(&mut self, offset: Offset, entry: &Entry) {
        let from = self.place(entry);
        self.move_to(offset, from, Place::default());
    }

    /// Touches only what differs.
    fn move_to(&mut self, offset: Offset, from: Place, to: Place) {
        if from.timer != to.timer {
            if let Some(time) = from.timer {
                self.timers.remove(&(time, offset));
            }
            if let Some(time) = to.timer {
                self.timers.insert((time, offset));
            }
        }
        if from.held != to.held {
            self.let_go(offset, from.held);
            self.hold(offset, to.held);
        }
        if from.is_ready() != to.is_ready() {
            if to.is_ready() {
                self.ready.insert(offset);
            } else {
                self.ready.remove(&offset);
            }
        }
        if (from.lane, from.free, from.held.is_some()) != (to.lane, to.free, to.held.is_some()) {
            if let Some(key) = from.lane {
                self.change_lane(key, |lane| {
                    lane.events.remove(&offset);
                    lane.outstanding -= usize::from(from.held.is_some());
                });
            }
            if let Some(key) = to.lane {
                self.change_lane(key, |lane| {
                    lane.events.insert(offset, to.free);
                    lane.outstanding += usize::from(to.held.is_some());
                });
            }
        }
        self.free = self.free - usize::from(from.free) + usize::from(to.free);
        self.history_bytes = self.history_bytes - from.history_bytes + to.history_bytes;
    }

    fn hold(&mut self, offset: Offset, held: Option<(SessionId, u64)>) {
        let Some((session, bytes)) = held else { return };
        let (offsets, total) = self.held.entry(session).or_default();
        offsets.insert(offset);
        *total += bytes;
        self.load.events += 1;
        self.load.bytes += bytes;
    }

    fn let_go(&mut self, offset: Offset, held: Option<(SessionId, u64)>) {
        let Some((session, bytes)) = held else { return };
        let Some((offsets, total)) = self.held.get_mut(&session) else { return };
        offsets.remove(&offset);
        *total -= bytes;
        if offsets.is_empty() {
            self.held.remove(&session);
        }
        self.load.events -= 1;
        self.load.bytes -= bytes;
    }

    fn change_lane(&mut self, key: u64, change: impl FnOnce(&mut Lane)) {
        let lane = self.lanes.entry(key).or_default();
        if let Some(head) = lane.head() {
            self.ready.remove(&head);
        }
        change(lane);
        if let Some(head) = lane.head() {
            self.ready.insert(head);
        }
        if lane.events.is_empty() {
            self.lanes.remove(&key);
        }
    }
}

/// The bounded map of unsettled events.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsettled {
    entries: BTreeMap<Offset, Entry>,
    index: Index,
}

impl Unsettled {
    pub(crate) fn get(&self, offset: Offset) -> Option<&Entry> {
        self.entries.get(&offset)
    }

    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.entries.contains_key(&offset)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, &Entry)> {
        self.entries.iter().map(|(&offset, entry)| (offset, entry))
    }

    /// Replaces what was there.
    pub(crate) fn insert(&mut self, offset: Offset, entry: Entry) {
        self.remove(offset);
        self.index.add(offset, &entry);
        self.entries.insert(offset, entry);
    }

    pub(crate) fn remove(&mut self, offset: Offset) -> Option<Entry> {
        let entry = self.entries.remove(&offset)?;
        self.index.remove(offset, &entry);
        Some(entry)
    }

    /// The only way to change an event. `None` if there is no such event.
    pub(crate) fn update<T>(&mut self, offset: Offset, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.entries.get_mut(&offset)?;
        let from = self.index.place(entry);
        let result = change(entry);
        let to = self.index.place(entry);
        self.index.move_to(offset, from, to);
        Some(result)
    }

    /// Whether keys are kept in order from now on.
    pub(crate) fn set_ordered(&mut self, ordered: bool) {
        if self.index.ordered != ordered {
            self.index = Index { ordered, ..Index::default() };
            self.entries.iter().for_each(|(&offset, entry)| self.index.add(offset, entry));
        }
    }

    /// The lowest of a span that is not out of the dead letters.
    pub(crate) fn first_between(&self, from: Offset, to: Offset) -> Option<Offset> {
        let mut span = self.entries.range(from..to.max(from));
        span.find(|(_, entry)| !entry.redriven).map(|(&offset, _)| offset)
    }

    /// The lowest that is not out of the dead letters.
    pub(crate) fn first(&self) -> Option<Offset> {
        self.first_between(0, Offset::MAX)
    }

    /// The next to be handed out: the lowest, so that what failed is not overtaken for ever.
    pub(crate) fn next_ready(&self) -> Option<Offset> {
        self.index.ready.first().copied()
    }

    /// Whether an event of this key is under lease, and keys are kept in order.
    pub(crate) fn is_key_held(&self, key: Option<u64>) -> bool {
        key.and_then(|key| self.index.lanes.get(&key)).is_some_and(|lane| lane.outstanding > 0)
    }

    pub(crate) fn ready(&self) -> usize {
        self.index.ready.len()
    }

    /// How many wait for nothing but another of their key.
    pub(crate) fn blocked(&self) -> usize {
        self.index.free - self.index.ready.len()
    }

    pub(crate) fn next_timeout(&self) -> Option<Time> {
        self.index.timers.first().map(|&(time, _)| time)
    }

    /// The event whose lease or wait ended first, if one did.
    pub(crate) fn next_due(&self, now: Time) -> Option<Offset> {
        self.index.timers.first().filter(|(time, _)| *time <= now).map(|&(_, offset)| offset)
    }

    pub(crate) fn load(&self) -> Load {
        self.index.load
    }

    pub(crate) fn load_of(&self, session: SessionId) -> Load {
        self.index.held.get(&session).map_or_else(Load::default, |(offsets, bytes)| Load { events: offsets.len(), bytes: *bytes })
    }

    pub(crate) fn held_by(&self, session: SessionId) -> Vec<Offset> {
        self.index.held.get(&session).map_or_else(Vec::new, |(offsets, _)| offsets.iter().copied().collect())
    }

    /// Adds a line to an event's history, within the bounds.
    pub(crate) fn note(&mut self, offset: Offset, mut attempt: Attempt) {
        let full = self.index.history_bytes >= MAX_HISTORY_BYTES;
        self.update(offset, |entry| {
            if full {
                entry.history.clear();
                attempt.reason = String::new();
            } else if entry.history.len() >= MAX_HISTORY {
                entry.history.remove(0);
            }
            entry.history.push(attempt);
        });
    }

    pub(crate) fn history_bytes(&self) -> usize {
        self.index.history_bytes
    }

    /// Whether every index says what the events say. Costs in proportion to them.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut index = Index { ordered: self.index.ordered, ..Index::default() };
        self.entries.iter().for_each(|(&offset, entry)| index.add(offset, entry));
        index == self.index
    }
}
