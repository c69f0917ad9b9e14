//! Events on their way into the store, together.
//!
//! Constraint: what was not accepted keeps its place among the answers, and takes none among the events.

use bytes::BytesMut;
use waypost_store::{
    NewEvent,
    limits::{MAX_BYTES_PER_WRITE, MAX_ITEMS_PER_WRITE},
};

use crate::{
    envelope,
    error::Fault,
    trace::{Emission, Incoming},
};

/// Events that were checked and wait to be appended, and the faults of those that were not accepted, in their order.
#[derive(Debug, Default)]
pub struct Prepared {
    /// What the events are cut from.
    pub(super) room: BytesMut,
    pub(super) events: Vec<NewEvent>,
    pub(super) bytes: usize,
    /// One for each item; `None` for one that is in `events`.
    pub(super) faults: Vec<Option<Fault>>,
    /// The trace of the call.
    pub(super) call: Option<Incoming>,
    /// Of the events whose trace is sampled.
    pub(super) emissions: Vec<Emission>,
}

impl Prepared {
    /// With room for so many items, which have so many bytes together.
    #[must_use]
    pub fn with_room(items: usize, bytes: usize) -> Self {
        let room = BytesMut::with_capacity(bytes + items * envelope::ADDED_BYTES);
        Self { room, events: Vec::with_capacity(items), faults: Vec::with_capacity(items), ..Self::default() }
    }

    /// Within the trace of a call, if it has one.
    #[must_use]
    pub fn in_trace(self, call: Option<Incoming>) -> Self {
        Self { call, ..self }
    }

    /// How many items there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.faults.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// Whether one append takes so many more items and bytes as well.
    #[must_use]
    pub fn has_room(&self, items: usize, bytes: usize) -> bool {
        self.len() + items <= MAX_ITEMS_PER_WRITE && self.bytes + bytes <= MAX_BYTES_PER_WRITE
    }

    pub(super) fn push(&mut self, sealed: Result<NewEvent, Fault>) {
        self.faults.push(match sealed {
            Ok(event) => {
                self.bytes += event.head.encoded().len() + event.body.len();
                self.events.push(event);
                None
            }
            Err(fault) => Some(fault),
        });
    }
}

/// Splits events into writes that the store takes. Almost always there is one.
pub(super) fn batches(events: Vec<NewEvent>, bytes: usize) -> Vec<Vec<NewEvent>> {
    if events.len() <= MAX_ITEMS_PER_WRITE && bytes <= MAX_BYTES_PER_WRITE {
        return vec![events];
    }
    let (mut all, mut batch, mut room) = (Vec::new(), Vec::new(), MAX_BYTES_PER_WRITE);
    for event in events {
        let size = event.head.encoded().len() + event.body.len();
        if size > room || batch.len() == MAX_ITEMS_PER_WRITE {
            all.push(std::mem::take(&mut batch));
            room = MAX_BYTES_PER_WRITE;
        }
        room = room.saturating_sub(size);
        batch.push(event);
    }
    all.push(batch);
    all
}
