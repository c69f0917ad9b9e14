//! Candidates for the machine: what the store has that matches the filter which decides.
//!
//! Constraints:
//! - At most one read of the store is under way. At the end of the log there is none: the tail hub wakes the reader.
//! - Bodies are kept from when they are read until they are handed out, one read's worth at the most.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use prost::Message;
use tokio::{sync::Notify, time::sleep};
use waypost_delivery::{Candidate, Input, Offset, Read, Subscription};
use waypost_proto::v1;
use waypost_store::{BoxFuture, EventStore, GapCause, ReadBatch, ReadLimits, Selection, StoredEvent};
use xxhash_rust::xxh3::xxh3_64;

use super::Shared;
use crate::{envelope, filter::Filter, limits, registry::Watch};

/// Reads for one machine.
pub(super) struct Reader {
    /// Of the subscription; for the log.
    name: Arc<str>,
    standing: Option<Standing>,
    future: Option<BoxFuture<'static, ReadBatch>>,
    /// Compiled filters by number, as the machine has them.
    filters: BTreeMap<u32, Arc<Filter>>,
    watch: Option<Watch>,
    wake: Arc<Notify>,
    armed: bool,
    bodies: VecDeque<StoredEvent>,
    /// Why spans were lost, of the latest ones.
    losses: VecDeque<(Offset, Offset, v1::GapReason)>,
}

/// How many of the latest losses are remembered until the machine tells of them.
const LOSSES: usize = 64;

/// The read that the machine waits for.
struct Standing {
    read: Read,
    filter: Arc<Filter>,
    selection: Arc<Selection>,
    /// Everything before it was examined.
    cursor: Offset,
    /// How many events to ask the store for: as many as are wanted, and more each time that too few of them match.
    ask: usize,
    gaps: Vec<(Offset, Offset)>,
}

impl Reader {
    /// Nothing is read yet.
    pub(super) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            standing: None,
            future: None,
            filters: BTreeMap::new(),
            watch: None,
            wake: Arc::default(),
            armed: false,
            bodies: VecDeque::new(),
            losses: VecDeque::new(),
        }
    }

    /// The machine wants candidates.
    pub(super) fn ask(&mut self, shared: &Shared, machine: &Subscription, read: Read) {
        self.sync_filters(shared, machine);
        let Some(filter) = self.filters.get(&read.filter).cloned() else { return };
        let selection = Arc::new(filter.selection());
        // A read under way is for another question.
        self.future = None;
        self.armed = false;
        let wanted = usize::try_from(read.limit).unwrap_or(usize::MAX);
        let ask = if filter.is_by_type() { wanted } else { wanted.saturating_mul(2) }.clamp(1, limits::READ_EVENTS);
        self.standing = Some(Standing { read, filter, selection, cursor: read.from, ask, gaps: Vec::new() });
        self.go_on(shared);
    }

    /// Waits for what the store answers, or for news.
    pub(super) async fn ready(&mut self) -> Option<ReadBatch> {
        match (&mut self.future, self.armed) {
            (Some(future), _) => {
                let batch = future.await;
                self.future = None;
                Some(batch)
            }
            (None, true) => {
                self.wake.notified().await;
                self.armed = false;
                None
            }
            (None, false) => std::future::pending().await,
        }
    }

    /// Takes in what [`ready`](Self::ready) brought. Gives the answer to the machine, once there is one.
    pub(super) fn take(&mut self, shared: &Shared, batch: Option<ReadBatch>) -> Option<Input> {
        let answer = batch.and_then(|batch| self.answer(batch));
        if answer.is_some() {
            self.standing = None;
        } else {
            self.go_on(shared);
        }
        answer
    }

    /// The body of an event that was read ahead, once.
    pub(super) fn body(&mut self, offset: Offset) -> Option<StoredEvent> {
        let at = self.bodies.binary_search_by_key(&offset, |event| event.offset).ok()?;
        self.bodies.remove(at)
    }

    /// A policy lets a span go.
    pub(super) fn let_go(&mut self, from: Offset, to: Offset) {
        self.losses.push_front((from, to, v1::GapReason::BacklogPolicy));
    }

    /// Why a loss that begins here happened.
    pub(super) fn gap_reason(&self, from: Offset) -> v1::GapReason {
        let found = self.losses.iter().find(|(first, end, _)| (*first..*end).contains(&from));
        found.map_or(v1::GapReason::Corruption, |(.., reason)| *reason)
    }

    fn go_on(&mut self, shared: &Shared) {
        let Some(standing) = &self.standing else { return };
        let tail = *shared.store.tail().borrow();
        if standing.cursor >= tail && self.watch.as_ref().is_some_and(|watch| watch.arm(standing.cursor)) {
            self.armed = true;
            return;
        }
        let (store, name) = (Arc::clone(&shared.store), Arc::clone(&self.name));
        let (selection, from) = (Arc::clone(&standing.selection), standing.cursor);
        let limits = ReadLimits { events: standing.ask, bytes: limits::READ_BYTES };
        self.future = Some(Box::pin(read(store, name, selection, from, limits)));
    }

    fn answer(&mut self, batch: ReadBatch) -> Option<Input> {
        let standing = self.standing.as_mut()?;
        let until = standing.read.until.unwrap_or(Offset::MAX);
        let mut next = batch.next.min(until);
        let limit = usize::try_from(standing.read.limit).unwrap_or(usize::MAX);
        for gap in &batch.gaps {
            let reason = match gap.cause {
                // What is still needed is not trimmed, unless by a policy, which says so beforehand.
                GapCause::Trimmed => v1::GapReason::BeforeEarliest,
                GapCause::Damaged => v1::GapReason::Corruption,
            };
            self.losses.push_back((gap.from, gap.to, reason));
        }
        self.losses.drain(..self.losses.len().saturating_sub(LOSSES));
        let gaps = batch.gaps.iter().filter(|gap| gap.from < until).map(|gap| (gap.from, gap.to.min(until)));
        standing.gaps.extend(gaps);
        let mut events = Vec::new();
        self.bodies.clear();
        let is_selection = standing.filter.is_selection();
        for event in batch.events {
            if event.offset >= until {
                break;
            }
            if !is_selection && !standing.filter.matches(&event) {
                continue;
            }
            if events.len() == limit {
                next = next.min(event.offset);
                break;
            }
            events.push(candidate(&event));
            self.bodies.push_back(event);
        }
        standing.cursor = next;
        if events.is_empty() && standing.gaps.is_empty() && next < until {
            standing.ask = standing.ask.saturating_mul(4).min(limits::READ_EVENTS);
            return None;
        }
        let gaps = std::mem::take(&mut standing.gaps);
        Some(Input::Candidates { read: standing.read, events, next, gaps })
    }

    /// Compiles the filters that the machine goes by now, and enters the posting lists for them.
    fn sync_filters(&mut self, shared: &Shared, machine: &Subscription) {
        let mut fresh = BTreeMap::new();
        let mut is_new = self.watch.is_none();
        for (number, _, bytes) in machine.filters() {
            let known = self.filters.get(&number).cloned();
            is_new |= known.is_none();
            fresh.insert(number, known.unwrap_or_else(|| Arc::new(compile(&self.name, bytes))));
        }
        if is_new || fresh.len() != self.filters.len() {
            self.filters = fresh;
            self.watch = Some(shared.hub.watch(self.filters.values().map(|filter| &**filter), Arc::clone(&self.wake)));
        }
    }
}

/// A filter as the machine keeps it. It was checked before it got there; one that an older version took and this one does not would
/// widen to the empty filter rather than lose events.
pub(super) fn compile(name: &str, bytes: &[u8]) -> Filter {
    let filter = v1::Filter::decode(bytes).ok().and_then(|filter| Filter::compile(&filter).ok());
    filter.unwrap_or_else(|| {
        tracing::error!(subscription = name, "a stored filter is not valid any more; everything is delivered until it is updated");
        Filter::everything()
    })
}

/// Reads until the store answers.
async fn read(store: Arc<dyn EventStore>, name: Arc<str>, selection: Arc<Selection>, from: Offset, limits: ReadLimits) -> ReadBatch {
    loop {
        match store.read(from, &selection, limits).await {
            Ok(batch) => return batch,
            Err(error) => {
                tracing::warn!(subscription = &*name, %error, from, "reading for a subscription failed; trying again");
                sleep(limits::STORE_RETRY).await;
            }
        }
    }
}

/// Reads one event until the store answers; `None` if it is gone.
pub(super) async fn fetch(store: &dyn EventStore, name: &str, offset: Offset) -> Option<StoredEvent> {
    loop {
        match store.read(offset, &Selection::All, ReadLimits { events: 1, bytes: 1 }).await {
            Ok(batch) => return batch.events.into_iter().next().filter(|event| event.offset == offset),
            Err(error) => {
                tracing::warn!(subscription = name, %error, offset, "reading an event again failed; trying again");
                sleep(limits::STORE_RETRY).await;
            }
        }
    }
}

/// What the machine needs to know of an event.
pub(crate) fn candidate(event: &StoredEvent) -> Candidate {
    let key = event.head.ordering_key();
    Candidate { offset: event.offset, bytes: envelope::event_bytes(&event.body), key: (!key.is_empty()).then(|| xxh3_64(key.as_bytes())) }
}
