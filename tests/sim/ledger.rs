//! What the checker knows: every stored event, every durable fact of every subscription, and what was asked and answered.
//!
//! Constraints:
//! - It only reads: nothing here draws a random number or calls the broker, so a new check cannot change a run.
//! - What it holds to be durable it saw at the store, below all faults ([`witness`](super::witness)); what the broker says is compared
//!   with that.
//! - The first broken promise is kept; the run ends with it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use waypost_broker::{clock::Clock, envelope};
use waypost_delivery::Token;
use waypost_store::{EventHead, NewEvent};

use crate::{
    coverage::{Coverage, Seen},
    interest::{Interest, Owner},
    retention::Let,
};

/// A promise that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) promise: &'static str,
    pub(crate) what: String,
}

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} does not hold: {}", self.promise, self.what)
    }
}

/// An event as it was stored.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) head: EventHead,
    pub(crate) body: Bytes,
    pub(crate) accepted_at: u64,
    /// Trimmed, or damaged by the simulation.
    pub(crate) lost: bool,
}

/// The latest delivery of an event that a client has seen.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Handed {
    pub(crate) token: Token,
    pub(crate) session: u128,
    /// The end of the lease as the client knows it.
    pub(crate) deadline: u64,
    /// Its stream has been open ever since, and nothing was asked about it.
    pub(crate) is_certain: bool,
}

/// A stream that broke with nothing unread in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parting {
    pub(crate) at: u64,
}

/// What was asked about one event in one seek generation, and not refused.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Asked {
    pub(crate) acks: u32,
    pub(crate) rejects: u32,
    pub(crate) nacks: u32,
    /// Settlements that are not answered yet.
    pub(crate) open: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) clock: Option<Clock>,
    pub(crate) is_loud: bool,
    pub(crate) events: BTreeMap<u64, Stored>,
    pub(crate) by_id: BTreeMap<(String, String), Vec<u64>>,
    pub(crate) by_key: BTreeMap<String, Vec<u64>>,
    pub(crate) interests: BTreeMap<u64, Interest>,
    pub(crate) owners: BTreeMap<String, Owner>,
    /// By incarnation, seek generation and offset.
    pub(crate) asked: BTreeMap<(u64, u32, u64), Asked>,
    pub(crate) handed: BTreeMap<(u64, u64), Handed>,
    /// Deliveries whose failure is durable, whatever a stream that opened at the same time was told.
    pub(crate) ended: BTreeSet<Token>,
    pub(crate) tokens: BTreeSet<Token>,
    pub(crate) partings: BTreeMap<u128, Parting>,
    /// Sessions that have a stream or ask for one: of which subscription, and how much they may hold. It may be on its way to them.
    pub(crate) streaming: BTreeMap<u128, (Option<&'static str>, u32)>,
    pub(crate) draining_since: Option<u64>,
    /// What retention let go, and told of.
    pub(crate) let_go: Let,
    /// Incarnations that the operator asked to delete.
    pub(crate) ordered_deletions: BTreeSet<u64>,
    /// When each subscription last had an open stream, or was created.
    pub(crate) present: BTreeMap<u64, u64>,
    /// Since when the store takes no events for want of space, by itself.
    pub(crate) full_since: Option<u64>,
    /// Since when the store has had no troubles but a want of space.
    pub(crate) calm_since: Option<u64>,
    pub(crate) coverage: Coverage,
    pub(crate) broken: Option<Broken>,
    trace: u64,
}

/// The ledger, shared between the driver and the witness at the store.
pub(crate) type SharedLedger = Arc<Mutex<Ledger>>;

pub(crate) fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn now(&self) -> u64 {
        self.clock.map_or(0, |clock| clock.now())
    }

    pub(crate) fn hit(&mut self, seen: Seen) {
        self.coverage.hit(seen);
    }

    /// Notes a broken promise unless it holds.
    pub(crate) fn hold(&mut self, promise: &'static str, holds: bool, what: impl FnOnce() -> String) {
        if !holds && self.broken.is_none() {
            self.broken = Some(Broken { promise, what: what() });
        }
    }

    /// Says what happens, when one seed is replayed with WAYPOST_SIM_LOG set.
    pub(crate) fn log(&self, what: impl FnOnce() -> String) {
        if self.is_loud {
            println!("{:>12} {}", self.now() - crate::world::BEGINNING, what());
        }
    }

    /// Adds to what makes a run the same as another (P13).
    pub(crate) fn trace(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.trace = (self.trace ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(5);
        }
    }

    pub(crate) fn trace_hash(&self) -> u64 {
        self.trace
    }

    /// An event became durable.
    pub(crate) fn stored(&mut self, offset: u64, accepted_at: u64, event: &NewEvent) {
        let id = (event.head.source().to_owned(), event.head.id().to_owned());
        let twice = self.by_id.get(&id).and_then(|offsets| offsets.last()).copied().filter(|first| {
            let first = self.events.get(first);
            first.is_some_and(|first| accepted_at < first.accepted_at.saturating_add(event.dedup_window))
        });
        self.hold("P7", twice.is_none(), || format!("{id:?} is stored at {offset}, and {twice:?} is within its window"));
        let last = self.events.last_key_value().map_or(0, |(&last, _)| last);
        self.hold("P1", offset > last, || format!("offset {offset} is not after {last}"));
        self.insert(offset, Stored { head: event.head.clone(), body: event.body.clone(), accepted_at, lost: false });
        if event.head.event_type().starts_with("waypost.") {
            self.system_event(event);
        }
    }

    pub(crate) fn insert(&mut self, offset: u64, stored: Stored) {
        let id = (stored.head.source().to_owned(), stored.head.id().to_owned());
        self.by_id.entry(id).or_default().push(offset);
        if !stored.head.ordering_key().is_empty() {
            self.by_key.entry(stored.head.ordering_key().to_owned()).or_default().push(offset);
        }
        self.events.insert(offset, stored);
        self.trace(&offset.to_le_bytes());
    }

    /// Whether an event of this source and id is there, and where the latest is.
    pub(crate) fn find(&self, source: &str, id: &str) -> Option<u64> {
        self.by_id.get(&(source.to_owned(), id.to_owned())).and_then(|offsets| offsets.last()).copied()
    }

    /// The encoded event as it is delivered.
    pub(crate) fn event_bytes(&self, offset: u64) -> Option<Bytes> {
        self.events.get(&offset).map(|stored| envelope::event(&stored.body).0)
    }

    /// What a session holds may be another's by now, before any client knows.
    pub(crate) fn doubt(&mut self, session: u128) {
        self.handed.values_mut().filter(|handed| handed.session == session).for_each(|handed| handed.is_certain = false);
    }

    pub(crate) fn asked_mut(&mut self, token: &Token) -> &mut Asked {
        self.asked.entry((token.incarnation, token.seek, token.offset)).or_default()
    }

    /// Events that a subscription still has to see, up to a few.
    pub(crate) fn unmet(&self, interest: &Interest, before: u64) -> Vec<u64> {
        let open =
            self.events.range(interest.from..before.max(interest.from)).filter(|(offset, stored)| interest.is_open(**offset, &stored.head));
        let redriven = interest.redriven.iter().copied().filter(|offset| *offset < before);
        open.map(|(&offset, _)| offset).chain(redriven).take(5).collect()
    }
}
