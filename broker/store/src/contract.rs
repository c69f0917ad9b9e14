//! The seam between a broker and its memory.
//!
//! ```text
//!            append(events)            commit(claim, records + events + rows)
//!                  │                               │
//!                  ▼                               ▼
//!   log   ── e ── e ── e ── r ── e ── (r e row) ── e ──▶ tail()      one order for all, durable before it is answered
//!            │                   │          │
//!            │ read(offset,      │ claim()  │ scan(table)
//!            ▼      selection)   ▼          ▼
//!          events            records of   rows
//!                            one owner
//! ```
//!
//! What every implementation promises:
//!
//! 1. **Durable before answered.** `Ok` from [`EventStore::append`] and [`EventStore::commit`] means that a crash or a power cut
//!    does not undo it. Nothing is visible to [`EventStore::tail`], [`EventStore::read`], [`EventStore::scan`] or
//!    [`EventStore::claim`] before it is durable; everything answered is visible to every call made after the answer.
//! 2. **All or nothing.** A commit is there whole or not at all, also after a crash. So is one call of append.
//! 3. **One order.** Offsets strictly increase in the order in which events became durable. They need not be dense.
//! 4. **Refused or unknown.** An error says whether the write certainly did not happen ([`CommitError::is_unknown`] is false) or may
//!    have happened. After an unknown outcome the truth is what a later claim, read or scan says.
//! 5. **Fencing.** After a claim succeeded, no commit under an earlier claim of the same owner succeeds.
//! 6. **Nothing silent.** What was stored and cannot be served any more is reported as a [`Gap`], never skipped and never served
//!    as good data.
//!
//! Cancel safety: dropping the future of a write does not undo it; the outcome is then unknown to the caller. Dropping any other
//! future has no effect.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::watch;

use crate::{
    error::{AppendError, ClaimError, CommitError, ReadError},
    event::{NewEvent, StoredEvent},
    upkeep::Upkeep,
};

/// A boxed future, so that the engine can be chosen at start.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Position of an event in the log: strictly increasing, not promised dense. The first is 1; 0 is before every event.
pub type Offset = u64;

/// Microseconds since the Unix epoch, or a span of microseconds.
pub type Micros = u64;

/// A durable log of events, the records of its subscriptions, and tables of opaque rows. See the [module](self) for its promises.
pub trait EventStore: Send + Sync + 'static {
    /// Makes events durable, in their order, and answers where each one is, in the same order. `now` becomes `accepted_at`, unless the
    /// store already gave a later one: acceptance times never go back, neither over a reopening nor after a trim.
    ///
    /// An event whose `(source, id)` was stored at most its [`NewEvent::dedup_window`] ago is not stored again; it is answered, once
    /// the first is durable, with the first one's place. This also holds between the events of one call. How long ago is counted from
    /// the first one's `accepted_at` to the one that the new event would get. A duplicate does not prolong the memory of the first;
    /// after the window the event is stored again and is the first from then on. A store need not remember an id for longer than the
    /// window that its event was stored with, so a later event with a longer window may be stored again: keep one window per source.
    ///
    /// Never uses the reserve: see [`DiskState`]. What stores nothing (no events, or duplicates only) is answered by a full store too.
    fn append(&self, now: Micros, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>>;

    /// Makes records, events and row changes durable in one step. Answers where each event is.
    ///
    /// Under a claim it may use the reserve. Without one it may not, and may hold no records.
    ///
    /// Duplicate events are left out and answered with the first one's place, as in [`append`](Self::append). An event whose first
    /// has other content refuses the whole commit with [`CommitError::Conflict`], also when that first is in the same commit. Where
    /// several errors apply, the answer is the first of: too large, unclaimed, fenced, conflict, full.
    fn commit(&self, now: Micros, commit: Commit) -> BoxFuture<'_, Result<Vec<Appended>, CommitError>>;

    /// Makes the caller the one owner of a name (a subscription's key), and returns the records of that name, oldest first. A name
    /// never seen has none. The claim is durable when it is answered, and its epoch is higher than any earlier one of the name.
    fn claim<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>>;

    /// Reads events at or after `from`, oldest first, as far as `limits` allow. Cost is in proportion to what the selection matches,
    /// not to what lies between.
    ///
    /// A read may stop before its limits, but it returns an event if there is one, and always gets on: `next` is the tail, or beyond
    /// `from`. Who wants everything reads until `next` is the tail. A gap is reported to every selection that it may hold a match of.
    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>>;

    /// The offset after the newest durable event; 1 in an empty store. It changes, and wakes, once per batch with events that became
    /// durable. The channel closes with the store.
    fn tail(&self) -> watch::Receiver<Offset>;

    /// The offset of the first event, of those that may still be read, accepted at or after `time`; the tail if there is none.
    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// Rows of a table with keys at or after `from`, in key order, at most `limit`; fewer only when there are no more.
    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>>;

    /// Lets go of events before `before`, in units of the engine's choosing (whole segments), and answers the first offset that
    /// may still be read: never beyond `before`, and never back. Which events may go is the caller's decision alone. The memory of their
    /// ids lasts until their dedup window ends. The segment being written stays. A crash may bring trimmed segments back, whole.
    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>>;

    /// The state of the disk and of the log, as of now.
    fn disk(&self) -> DiskState;

    /// What can be verified and copied, if the engine keeps files on this machine.
    fn upkeep(&self) -> Option<Arc<dyn Upkeep>> {
        None
    }
}

/// What became of one event of an append or a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Where the event is. For a duplicate, where the first one is.
    pub offset: Offset,
    /// When the event at `offset` was accepted.
    pub accepted_at: Micros,
    /// Set when an event of the same source and id was there before; the new one was then not stored.
    pub duplicate: Option<Duplicate>,
}

/// How a duplicate compares with the event that came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duplicate {
    /// The fingerprints are equal.
    SameContent,
    /// The fingerprints differ. What that means is the caller's decision (P7).
    OtherContent,
}

/// The right to commit for an owner, until somebody else claims the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The name that was claimed.
    pub owner: Arc<str>,
    /// Higher than every earlier claim's of the same name.
    pub epoch: u64,
}

/// A fresh claim and what its owner had recorded.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// To be handed back with every commit.
    pub claim: Claim,
    /// The owner's records since the last commit that superseded them, oldest first.
    pub records: Vec<Bytes>,
}

/// What is to become durable in one step.
#[derive(Clone, Debug, Default)]
pub struct Commit {
    /// Whose step this is. Records (and `supersede`) need one; rows and events alone may go without.
    pub claim: Option<Claim>,
    /// Opaque records of the claim's owner.
    pub records: Vec<Bytes>,
    /// Whether `records` replace all earlier records of the owner (a snapshot; or, with no records, its deletion).
    pub supersede: bool,
    /// Events to append.
    pub events: Vec<NewEvent>,
    /// Changes of rows, applied in order.
    pub rows: Vec<RowChange>,
}

/// One change of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowChange {
    /// Inserts or replaces a row.
    Put(Table, Row),
    /// Deletes the row of this key, if there is one.
    Delete(Table, Bytes),
}

/// A key and an opaque value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// At most [`MAX_ROW_KEY_BYTES`](crate::limits::MAX_ROW_KEY_BYTES). Rows are kept in the order of their keys' bytes.
    pub key: Bytes,
    /// At most [`MAX_ROW_VALUE_BYTES`](crate::limits::MAX_ROW_VALUE_BYTES): an event and its history.
    pub value: Bytes,
}

/// The tables. The numbers are on disk and frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Subscriptions by name: what must be known without claiming each one.
    Subscriptions = 1,
    /// Dead letters by subscription and offset, with their events and histories.
    DeadLetters = 2,
    /// Webhooks that could not become events, by arrival.
    Quarantine = 3,
    /// Events to be published later, by due time.
    Timers = 4,
    /// Single values of the broker itself, by name.
    Broker = 5,
}

impl Table {
    /// Every table, in the order of its number.
    pub const ALL: [Self; 5] = [Self::Subscriptions, Self::DeadLetters, Self::Quarantine, Self::Timers, Self::Broker];
}

/// Which events a read is about. Indexed by every engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// All of them.
    All,
    /// Those of a set of types.
    Types(TypeSet),
    /// Those of one story.
    Correlation(Arc<str>),
    /// Those (at most one inside a dedup window) of one source and id.
    Id {
        /// The source, exactly.
        source: Arc<str>,
        /// The id, exactly.
        id: Arc<str>,
    },
}

/// A set of event types: exact names, and prefixes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeSet {
    /// Names that match exactly.
    pub names: Vec<Arc<str>>,
    /// Prefixes, their final dot included: `logistics.v1.` holds `logistics.v1.ShippingDelayed`.
    pub prefixes: Vec<Arc<str>>,
}

impl TypeSet {
    /// Whether a type is in the set.
    #[must_use]
    pub fn contains(&self, event_type: &str) -> bool {
        self.names.iter().any(|name| **name == *event_type) || self.prefixes.iter().any(|prefix| event_type.starts_with(&**prefix))
    }
}

/// How much one read may return. At least one event is returned if there is one, whatever its size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// The most events.
    pub events: usize,
    /// The most bytes, bodies and heads together.
    pub bytes: usize,
}

/// What one read found.
#[derive(Clone, Debug, Default)]
pub struct ReadBatch {
    /// The events, oldest first.
    pub events: Vec<StoredEvent>,
    /// Where to go on: everything of the selection from `from` up to it is in `events` or in `gaps`. When all was read, the tail; or
    /// `from` itself, if that is beyond the tail.
    pub next: Offset,
    /// What could not be served, oldest first, without overlaps, and within `from..next`.
    pub gaps: Vec<Gap>,
}

/// Offsets that were given out and cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The first of them.
    pub from: Offset,
    /// The first after them.
    pub to: Offset,
    /// Why.
    pub cause: GapCause,
}

/// Why offsets cannot be read any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GapCause {
    /// They were trimmed.
    Trimmed,
    /// Their bytes are damaged. Counted and logged where it was found.
    Damaged,
}

/// The state of the disk and of the log.
///
/// `used` counts the whole data directory. Appends are refused once `used` would pass `cap - reserve`; commits under a claim once it
/// would pass `cap`. So a full store can still be drained.
#[derive(Clone, Debug, Default)]
pub struct DiskState {
    /// Bytes in use, of everything in the data directory.
    pub used: u64,
    /// Bytes that may be used.
    pub cap: u64,
    /// Bytes of `cap` that only commits under a claim may use.
    pub reserve: u64,
    /// Whether an append of one event of the largest size ([`MAX_EVENT_BYTES`](crate::limits::MAX_EVENT_BYTES)) would be refused now.
    pub full: bool,
    /// The first offset that may be read: before it, everything was trimmed. At most `next`.
    pub first: Offset,
    /// The offset after the newest durable event.
    pub next: Offset,
    /// The log in units that [`EventStore::trim`] lets go of, oldest first, each beginning where the one before it ends. The last is the
    /// one being written.
    pub segments: Vec<SegmentState>,
    /// How far back every id is still remembered: an event accepted after this time has its duplicates found, until its window ends.
    /// Moves only when ids had to be forgotten before that; 0 if none had to.
    pub dedup_since: Micros,
    /// How many times damage was found since the store was opened.
    pub damage: u64,
}

/// One unit of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentState {
    /// The first offset in it.
    pub first: Offset,
    /// The first offset after it.
    pub next: Offset,
    /// Its size on disk.
    pub bytes: u64,
    /// When its newest event was accepted.
    pub newest: Micros,
}
