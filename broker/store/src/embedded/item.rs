//! The items of a frame: events, and changes of the tables.
//!
//! Constraints:
//! - The layouts are on disk and frozen; `docs/storage-format.md` draws them.
//! - Decoding arbitrary bytes never panics: what is not an item is `None`, and counts as damage.

use std::{collections::HashSet, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};

use super::{
    frame::{Frame, FrameBuilder, Kind},
    wire::{Cursor, narrow},
};
use crate::{
    contract::{Commit, Micros, Offset, Row, RowChange, Table},
    event::{EventHead, NewEvent, StoredEvent},
};

/// Bytes of an event's item before its head.
pub(super) const EVENT_PREFIX: usize = 8 + 8 + 16;

/// The most bytes that the item of anything needs beyond what the caller handed in, its table entry included.
pub(super) const ITEM_OVERHEAD: usize = 48;

/// An event as its item holds it.
pub(super) struct EventItem {
    pub(super) accepted_at: Micros,
    pub(super) window: Micros,
    pub(super) fingerprint: u128,
    pub(super) head: EventHead,
    pub(super) body: Bytes,
}

impl EventItem {
    pub(super) fn decode(mut payload: Bytes) -> Option<Self> {
        let mut cursor = Cursor::new(&payload);
        let (accepted_at, window, fingerprint) = (cursor.u64()?, cursor.u64()?, cursor.u128()?);
        let (head, body) = EventHead::split_from(payload.split_off(EVENT_PREFIX))?;
        Some(Self { accepted_at, window, fingerprint, head, body })
    }

    pub(super) fn stored(self, offset: Offset) -> StoredEvent {
        StoredEvent { offset, accepted_at: self.accepted_at, head: self.head, body: self.body }
    }
}

pub(super) fn push_event(frame: &mut FrameBuilder, event: &NewEvent, accepted_at: Micros) {
    frame.push(Kind::Event, |buffer| {
        buffer.reserve(EVENT_PREFIX + event.head.encoded().len() + event.body.len());
        buffer.put_u64_le(accepted_at);
        buffer.put_u64_le(event.dedup_window);
        buffer.put_u128_le(event.fingerprint);
        buffer.put_slice(event.head.encoded());
        buffer.put_slice(&event.body);
    });
}

/// Puts the records and row changes of a commit into a frame.
pub(super) fn push_changes(frame: &mut FrameBuilder, commit: &Commit) {
    if let Some(claim) = &commit.claim
        && (commit.supersede || !commit.records.is_empty())
    {
        frame.push(Kind::Owner, |buffer| {
            buffer.put_u64_le(claim.epoch);
            buffer.put_u8(u8::from(commit.supersede));
            buffer.put_slice(claim.owner.as_bytes());
        });
        for record in &commit.records {
            frame.push(Kind::Record, |buffer| buffer.put_slice(record));
        }
    }
    for change in &commit.rows {
        match change {
            RowChange::Put(table, row) => frame.push(Kind::RowPut, |buffer| {
                buffer.put_u8(*table as u8);
                buffer.put_u32_le(narrow(row.key.len()));
                buffer.put_slice(&row.key);
                buffer.put_slice(&row.value);
            }),
            RowChange::Delete(table, key) => frame.push(Kind::RowDelete, |buffer| {
                buffer.put_u8(*table as u8);
                buffer.put_slice(key);
            }),
        }
    }
}

pub(super) fn push_claim(frame: &mut FrameBuilder, owner: &str, epoch: u64) {
    frame.push(Kind::Claim, |buffer: &mut BytesMut| {
        buffer.put_u64_le(epoch);
        buffer.put_slice(owner.as_bytes());
    });
}

/// A change that a frame makes to the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Claimed { owner: Arc<str>, epoch: u64 },
    Records { owner: Arc<str>, supersede: bool, records: Vec<Bytes> },
    Row(RowChange),
}

/// The changes of a commit, as [`push_changes`] writes them.
pub(super) fn changes_of(commit: Commit) -> impl Iterator<Item = Change> {
    let records = commit.claim.filter(|_| commit.supersede || !commit.records.is_empty()).map(|claim| Change::Records {
        owner: claim.owner,
        supersede: commit.supersede,
        records: commit.records,
    });
    records.into_iter().chain(commit.rows.into_iter().map(Change::Row))
}

/// The changes of a frame that was read back. What shares a call with a damaged item is left out: half a commit could lose an event,
/// a lost one only brings a settled event back.
pub(super) fn changes_in(frame: &Frame) -> Vec<Change> {
    let damaged = damaged_calls(frame);
    let mut changes = Vec::new();
    for spot in frame.spots.iter().filter(|spot| !damaged.contains(&spot.call)) {
        let payload = &frame.bytes[spot.range.clone()];
        if decode_change(spot.kind, payload, &mut changes).is_none() {
            tracing::error!(sequence = frame.header.sequence, kind = ?spot.kind, "an item with a good checksum is not what it says; it is left out");
        }
    }
    changes
}

/// Whether [`changes_in`] leaves something out.
pub(super) fn lacks_changes(frame: &Frame) -> bool {
    let damaged = damaged_calls(frame);
    frame.spots.iter().any(|spot| spot.kind != Kind::Event && damaged.contains(&spot.call))
}

fn damaged_calls(frame: &Frame) -> HashSet<u16> {
    frame.damaged.iter().map(|index| frame.spots[*index].call).collect()
}

fn decode_change(kind: Kind, payload: &[u8], changes: &mut Vec<Change>) -> Option<()> {
    let mut cursor = Cursor::new(payload);
    match kind {
        Kind::Event => {}
        Kind::Owner => {
            let _epoch = cursor.u64()?;
            let supersede = cursor.u8()? != 0;
            changes.push(Change::Records { owner: text(cursor.rest())?, supersede, records: Vec::new() });
        }
        // Copied: a small record must not keep a whole frame in memory.
        Kind::Record => match changes.last_mut()? {
            Change::Records { records, .. } => records.push(Bytes::copy_from_slice(payload)),
            _ => return None,
        },
        Kind::RowPut => {
            let table = table(cursor.u8()?)?;
            let length = usize::try_from(cursor.u32()?).ok()?;
            let key = Bytes::copy_from_slice(cursor.take(length)?);
            changes.push(Change::Row(RowChange::Put(table, Row { key, value: Bytes::copy_from_slice(cursor.rest()) })));
        }
        Kind::RowDelete => {
            let table = table(cursor.u8()?)?;
            changes.push(Change::Row(RowChange::Delete(table, Bytes::copy_from_slice(cursor.rest()))));
        }
        Kind::Claim => {
            let epoch = cursor.u64()?;
            changes.push(Change::Claimed { owner: text(cursor.rest())?, epoch });
        }
    }
    Some(())
}

fn text(bytes: &[u8]) -> Option<Arc<str>> {
    str::from_utf8(bytes).ok().map(Arc::from)
}

fn table(number: u8) -> Option<Table> {
    Table::ALL.into_iter().find(|table| *table as u8 == number)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;
    use crate::contract::Claim;

    fn some_bytes() -> impl Strategy<Value = Bytes> {
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
    }

    fn some_row_change() -> impl Strategy<Value = RowChange> {
        (0_usize..Table::ALL.len(), some_bytes(), proptest::option::of(some_bytes())).prop_map(|(table, key, value)| match value {
            Some(value) => RowChange::Put(Table::ALL[table], Row { key, value }),
            None => RowChange::Delete(Table::ALL[table], key),
        })
    }

    proptest! {
        #[test]
        fn changes_round_trip(
            owner in ".{0,20}",
            records in proptest::collection::vec(some_bytes(), 0..5),
            supersede: bool,
            rows in proptest::collection::vec(some_row_change(), 0..5),
        ) {
            let claim = Some(Claim { owner: owner.into(), epoch: 9 });
            let commit = Commit { claim, records, supersede, events: Vec::new(), rows };
            let mut builder = FrameBuilder::new(1, BytesMut::new());
            builder.start_call();
            push_changes(&mut builder, &commit);
            let frame = Frame::decode(&builder.finish(1, 1, 1).bytes, 1).unwrap();
            prop_assert_eq!(changes_in(&frame), changes_of(commit).collect::<Vec<_>>());
        }

        #[test]
        fn events_round_trip(body in some_bytes(), fingerprint: u128, window: u64, at: u64) {
            let head = EventHead::new("source", "id", "type", "", "", "story").unwrap();
            let event = NewEvent { head, body, fingerprint, dedup_window: window };
            let mut builder = FrameBuilder::new(1, BytesMut::new());
            push_event(&mut builder, &event, at);
            let frame = builder.finish(1, 1, 1);
            let item = EventItem::decode(frame.bytes.slice(frame.spots[0].range.clone())).unwrap();
            prop_assert_eq!((item.head, item.body, item.fingerprint), (event.head, event.body, event.fingerprint));
            prop_assert_eq!((item.accepted_at, item.window), (at, window));
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in some_bytes(), kind in 0_usize..6) {
            let kinds = [Kind::Event, Kind::Owner, Kind::Record, Kind::RowPut, Kind::RowDelete, Kind::Claim];
            let _ = decode_change(kinds[kind], &bytes, &mut Vec::new());
            let _ = EventItem::decode(bytes);
        }
    }
}
