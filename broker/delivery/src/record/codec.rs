//! The bytes of a record: version, kind, fields.
//!
//! ```text
//!   record   = version (1 byte, 1) kind (1 byte) fields
//!   number   = LEB128, 1 to 10 bytes        span, time = number of microseconds
//!   bytes    = number (length), so many bytes
//!   list     = number (count), so many items
//!   optional = 0, or 1 and the value        flag = 0 or 1
//!   offset   = in lists the difference to the one before it (at first to 0), zigzag
//! ```
//!
//! Constraints: frozen, see the tests. Decoding never panics, and allocates no more than a small multiple of its input.

mod read;
mod write;

use self::{read::Reader, write::Writer};
use super::{Attempt, Record, RecordError};

/// The version that is written.
const VERSION: u8 = 1;

/// The kinds, frozen.
mod kind {
    pub(super) const CREATED: u8 = 1;
    pub(super) const UPDATED: u8 = 2;
    pub(super) const PAUSED: u8 = 3;
    pub(super) const SOUGHT: u8 = 4;
    pub(super) const FAILED: u8 = 5;
    pub(super) const SETTLED: u8 = 6;
    pub(super) const DEAD_LETTERED: u8 = 7;
    pub(super) const REDRIVEN: u8 = 8;
    pub(super) const DISCARDED: u8 = 9;
    pub(super) const GAP: u8 = 10;
    pub(super) const SNAPSHOT: u8 = 11;
    pub(super) const DELETED: u8 = 12;
}

impl Record {
    /// The bytes to be stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer(Vec::with_capacity(2 + self.weight()));
        writer.byte(VERSION);
        writer.record(self);
        writer.0
    }

    /// The record that [`encode`](Self::encode) made these bytes of.
    ///
    /// # Errors
    /// See [`RecordError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            VERSION => {}
            other => return Err(RecordError::Version(other)),
        }
        let record = reader.record()?;
        if reader.0.is_empty() { Ok(record) } else { Err(RecordError::Malformed("bytes after the end")) }
    }

    /// About how many bytes it takes: what is cheap to know without encoding it.
    pub(crate) fn weight(&self) -> usize {
        let histories = |history: &[Attempt]| history.iter().map(Attempt::weight).sum::<usize>();
        match self {
            Self::Created { filter, .. } | Self::Updated { filter, .. } => 96 + filter.len(),
            Self::Paused(_) | Self::Sought { .. } | Self::Gap { .. } | Self::Deleted => 24,
            Self::Failed(failure) => 40 + failure.attempt.weight(),
            Self::Settled(offsets) | Self::Discarded(offsets) => 8 + 3 * offsets.len(),
            Self::DeadLettered(dead) => 24 + histories(&dead.history),
            Self::Redriven(events) => 8 + 16 * events.len(),
            Self::Snapshot(snapshot) => {
                let filters: usize = snapshot.filters.iter().map(|(_, filter)| 10 + filter.len()).sum();
                let unsettled: usize = snapshot.unsettled.iter().map(|event| 28 + histories(&event.history)).sum();
                128 + filters + unsettled + 6 * snapshot.settled_ahead.len() + 3 * snapshot.dead_letters.len()
            }
        }
    }
}

impl Attempt {
    pub(crate) fn weight(&self) -> usize {
        16 + self.reason.len()
    }
}
