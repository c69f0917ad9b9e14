//! What the records of a subscription add up to, and what each of them means.
//!
//! Constraint: [`State::apply`] is the one place where a durable fact takes effect, for the running machine (after its commit) and for
//! the restored one alike. So a restored machine knows what the running one knew.

use std::collections::{BTreeSet, VecDeque};

use crate::{
    Candidate, Config, Offset, Time,
    lease::Lease,
    ranges::Ranges,
    record::{AttemptOutcome, Failure, Record, Redriven, Snapshot, UnsettledEvent},
    unsettled::{Entry, Unsettled},
};

/// Everything durable; and, inside `unsettled`, the leases, which are not.
#[derive(Clone, Debug)]
pub(crate) struct State {
    pub(crate) incarnation: u64,
    pub(crate) seek: u32,
    pub(crate) paused: bool,
    pub(crate) config: Config,
    /// With the offset that each begins at, oldest first; never empty. The number of the first is `first_filter`.
    pub(crate) filters: VecDeque<(Offset, Vec<u8>)>,
    pub(crate) first_filter: u32,
    /// The next offset to examine: everything before it is settled, unmatched, or in `unsettled`.
    pub(crate) frontier: Offset,
    pub(crate) unsettled: Unsettled,
    /// What is settled or lost after the frontier. Only a restart leaves the frontier behind such offsets.
    pub(crate) settled_ahead: Ranges,
    /// Those that are not on their way again.
    pub(crate) dead_letters: BTreeSet<Offset>,
    pub(crate) deleted: bool,
}

impl State {
    pub(crate) fn created(incarnation: u64, start: Offset, config: Config, filter: Vec<u8>) -> Self {
        let mut unsettled = Unsettled::default();
        unsettled.set_ordered(config.ordered);
        Self {
            incarnation,
            seek: 0,
            paused: false,
            config,
            filters: VecDeque::from([(start, filter)]),
            first_filter: 0,
            frontier: start,
            unsettled,
            settled_ahead: Ranges::default(),
            dead_letters: BTreeSet::new(),
            deleted: false,
        }
    }

    pub(crate) fn restored(snapshot: Snapshot) -> Self {
        let mut state = Self::created(snapshot.incarnation, snapshot.frontier, snapshot.config, Vec::new());
        state.seek = snapshot.seek;
        state.paused = snapshot.paused;
        state.filters = snapshot.filters.into();
        state.first_filter = snapshot.first_filter;
        for event in snapshot.unsettled {
            let entry = Entry {
                bytes: event.bytes,
                key: event.key,
                redriven: event.redriven,
                attempts: event.attempts,
                losses: event.losses,
                history: event.history,
                wait: Some(event.retry_at).filter(|&time| time != Time::default()),
                ..Entry::default()
            };
            state.unsettled.insert(event.offset, entry);
        }
        snapshot.settled_ahead.into_iter().for_each(|(from, to)| state.settled_ahead.insert(from, to));
        state.dead_letters = snapshot.dead_letters.into_iter().collect();
        state
    }

    /// What a restart needs to know. Leases are left out: they end with the machine.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let unsettled = self.unsettled.iter().map(|(offset, entry)| UnsettledEvent {
            offset,
            bytes: entry.bytes,
            key: entry.key,
            retry_at: entry.wait.unwrap_or_default(),
            attempts: entry.attempts,
            losses: entry.losses,
            history: entry.history.clone(),
            redriven: entry.redriven,
        });
        Snapshot {
            incarnation: self.incarnation,
            seek: self.seek,
            paused: self.paused,
            config: self.config.clone(),
            filters: self.filters.iter().cloned().collect(),
            first_filter: self.first_filter,
            frontier: self.frontier,
            unsettled: unsettled.collect(),
            settled_ahead: self.settled_ahead.iter().collect(),
            dead_letters: self.dead_letters.iter().copied().collect(),
        }
    }

    /// Lets a durable fact take effect. The leases that it ended are added to `ended`.
    pub(crate) fn apply(&mut self, fact: Record, ended: &mut Vec<Lease>) {
        match fact {
            Record::Created { incarnation, start, config, filter } => *self = Self::created(incarnation, start, config, filter),
            Record::Snapshot(snapshot) => *self = Self::restored(*snapshot),
            Record::Updated { from, config, filter } => self.update(from, config, filter),
            Record::Paused(paused) => self.paused = paused,
            Record::Sought { seek, to } => self.seek(seek, to, ended),
            Record::Failed(failure) => self.fail(failure, ended),
            Record::Settled(offsets) => offsets.into_iter().for_each(|offset| self.settle(offset, ended)),
            Record::DeadLettered(dead) => {
                self.settle(dead.offset, ended);
                self.dead_letters.insert(dead.offset);
            }
            Record::Redriven(events) => events.into_iter().for_each(|event| self.redrive(event)),
            Record::Discarded(offsets) => offsets.iter().for_each(|offset| {
                self.dead_letters.remove(offset);
            }),
            Record::Gap { from, to } => self.gap(from, to, ended),
            Record::Deleted => {
                self.deleted = true;
                self.unsettled = Unsettled::default();
            }
        }
    }

    fn update(&mut self, from: Offset, config: Config, filter: Vec<u8>) {
        self.unsettled.set_ordered(config.ordered);
        self.config = config;
        if self.filters.back().is_none_or(|(_, last)| *last != filter) {
            self.filters.push_back((from, filter));
        }
        self.forget_past_filters();
    }

    /// After a seek the newest filter decides about everything.
    fn seek(&mut self, seek: u32, to: Offset, ended: &mut Vec<Lease>) {
        let before = std::mem::take(&mut self.unsettled);
        self.unsettled.set_ordered(self.config.ordered);
        for (offset, entry) in before.iter() {
            ended.extend(entry.lease);
            if entry.redriven {
                self.unsettled.insert(offset, Entry { lease: None, settling: false, ..entry.clone() });
            }
        }
        self.settled_ahead.clear();
        while self.filters.len() > 1 {
            self.filters.pop_front();
            self.first_filter += 1;
        }
        self.filters.iter_mut().for_each(|(begins, _)| *begins = to);
        self.seek = seek;
        self.frontier = to;
    }

    /// A failure of an event that is not known is of one after the frontier of a restored machine; or, if it is settled or lost by
    /// now, of no interest.
    fn fail(&mut self, failure: Failure, ended: &mut Vec<Lease>) {
        let Failure { offset, bytes, key, retry_at, attempt } = failure;
        if !self.unsettled.contains(offset) {
            if offset < self.frontier || self.settled_ahead.contains(offset) {
                return;
            }
            self.unsettled.insert(offset, Entry { bytes, key, ..Entry::default() });
        }
        let lost = attempt.outcome == AttemptOutcome::Lost;
        self.unsettled.note(offset, attempt);
        self.unsettled.update(offset, |entry| {
            *(if lost { &mut entry.losses } else { &mut entry.attempts }) += 1;
            entry.wait = Some(retry_at);
            entry.settling = false;
            ended.extend(entry.lease.take());
        });
    }

    /// A client that came back while this was decided may hold the event, of before a seek to before it: its lease goes on.
    fn redrive(&mut self, event: Redriven) {
        self.dead_letters.remove(&event.offset);
        let lease = self.unsettled.get(event.offset).and_then(|entry| entry.lease);
        let entry = Entry { bytes: event.bytes, key: event.key, redriven: true, lease, ..Entry::default() };
        self.unsettled.insert(event.offset, entry);
    }

    /// What [`Record::Settled`] means for each of its offsets.
    pub(crate) fn settle(&mut self, offset: Offset, ended: &mut Vec<Lease>) {
        ended.extend(self.unsettled.remove(offset).and_then(|entry| entry.lease));
        if offset >= self.frontier {
            self.settled_ahead.insert(offset, offset + 1);
            self.examined(self.frontier);
        }
    }

    fn gap(&mut self, from: Offset, to: Offset, ended: &mut Vec<Lease>) {
        while let Some(offset) = self.unsettled.first_between(from, to) {
            ended.extend(self.unsettled.remove(offset).and_then(|entry| entry.lease));
        }
        self.settled_ahead.insert(from.max(self.frontier), to);
        self.examined(self.frontier);
    }

    /// What of a span is lost to the subscription if the store no longer has it: from the first to the last offset that it still
    /// needs.
    pub(crate) fn needed(&self, from: Offset, to: Offset) -> Option<(Offset, Offset)> {
        let ahead = from.max(self.frontier);
        let ahead_needed = ahead < to && !self.settled_ahead.covers(ahead, to);
        let first = self.unsettled.first_between(from, to);
        (ahead_needed || first.is_some()).then(|| (first.unwrap_or(ahead).min(ahead), to))
    }

    /// Whether an event, as handed in by a read, is new.
    pub(crate) fn is_new(&self, event: &Candidate) -> bool {
        event.offset >= self.frontier && !self.settled_ahead.contains(event.offset) && !self.unsettled.contains(event.offset)
    }

    /// Everything before `next` was examined.
    pub(crate) fn examined(&mut self, next: Offset) {
        let next = next.max(self.frontier);
        self.frontier = self.settled_ahead.end_of(next).unwrap_or(next);
        self.settled_ahead.remove_before(self.frontier);
        self.forget_past_filters();
    }

    fn forget_past_filters(&mut self) {
        while self.filters.get(1).is_some_and(|&(begins, _)| begins <= self.frontier) {
            self.filters.pop_front();
            self.first_filter += 1;
        }
    }

    /// Whether an event that is not known as unsettled is settled, lost, or unmatched.
    pub(crate) fn is_past(&self, offset: Offset) -> bool {
        offset < self.frontier || self.settled_ahead.contains(offset)
    }

    pub(crate) fn floor(&self) -> Offset {
        self.unsettled.first().map_or(self.frontier, |first| first.min(self.frontier))
    }
}
