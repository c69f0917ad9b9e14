//! The frame: what one fsync makes durable, and the unit that is there whole or not at all.
//!
//! Constraints:
//! - The numbers are on disk and frozen; `docs/storage-format.md` draws them.
//! - A frame is whole if its header's checksum, its table's checksum and every item's checksum hold. They form a tree: the header covers
//!   the table's checksum, the table covers the items' checksums. So one flipped bit in an item damages that item alone.
//! - Every checksum starts from the segment's salt: what an earlier use of a recycled segment left behind is never valid.
//! - A frame starts at a multiple of [`SECTOR`]: writing one never rewrites a sector of an earlier one.
//! - Decoding arbitrary bytes never panics.

use std::ops::Range;

use bytes::{BufMut, Bytes, BytesMut};

use super::wire::{Cursor, narrow, round_up};
use crate::contract::{Micros, Offset};

/// A frame starts at a multiple of this.
pub(super) const SECTOR: u64 = 512;

/// What the operating system writes at once.
pub(super) const PAGE: u64 = 4096;

/// The most bytes in a frame. A frame of a single call may have all of them; a frame of many is closed before.
pub(super) const MAX_FRAME: u64 = 4 * 1024 * 1024;

/// Bytes of a frame's header.
pub(super) const HEADER: usize = 64;

/// Bytes of an item's entry in the table at the end of the frame.
pub(super) const ENTRY: usize = 12;

const MAGIC: u32 = u32::from_le_bytes(*b"WPfr");
const VERSION: u16 = 1;

/// What an item is. Frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Event = 1,
    /// Whose records follow, under which epoch, and whether they supersede.
    Owner = 2,
    Record = 3,
    RowPut = 4,
    RowDelete = 5,
    Claim = 6,
}

impl Kind {
    fn decode(number: u8) -> Option<Self> {
        [Self::Event, Self::Owner, Self::Record, Self::RowPut, Self::RowDelete, Self::Claim].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FrameHeader {
    pub(super) salt: u64,
    /// One more than the frame before, across segments.
    pub(super) sequence: u64,
    /// The offset of its first event, or of the next one if it has none.
    pub(super) first: Offset,
    /// When its newest event was accepted; that of an earlier frame if it has none.
    pub(super) newest: Micros,
    pub(super) events: u32,
    pub(super) items: u32,
    /// Bytes of all items, without the table.
    pub(super) payload: u32,
    pub(super) table_checksum: u32,
}

impl FrameHeader {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        let mut out = &mut bytes[..];
        out.put_u32_le(MAGIC);
        out.put_u16_le(VERSION);
        out.put_u16_le(0);
        out.put_u64_le(self.salt);
        out.put_u64_le(self.sequence);
        out.put_u64_le(self.first);
        out.put_u64_le(self.newest);
        out.put_u32_le(self.events);
        out.put_u32_le(self.items);
        out.put_u32_le(self.payload);
        out.put_u32_le(self.table_checksum);
        out.put_u32_le(0);
        let checksum = checksum(self.salt, &bytes[..HEADER - 4]);
        bytes[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if it is one of a segment of this salt.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let header = bytes.get(..HEADER)?;
        let mut cursor = Cursor::new(header);
        if cursor.u32()? != MAGIC || cursor.u16()? != VERSION || cursor.u16().is_none() || cursor.u64()? != salt {
            return None;
        }
        let decoded = Self {
            salt,
            sequence: cursor.u64()?,
            first: cursor.u64()?,
            newest: cursor.u64()?,
            events: cursor.u32()?,
            items: cursor.u32()?,
            payload: cursor.u32()?,
            table_checksum: cursor.u32()?,
        };
        let _reserved = cursor.u32()?;
        let plausible = decoded.bytes() <= 2 * MAX_FRAME && decoded.events <= decoded.items;
        (cursor.u32()? == checksum(salt, &header[..HEADER - 4]) && plausible).then_some(decoded)
    }

    /// The salt that a header claims, unchecked: for a segment that lost its own header.
    pub(super) fn salt_in(bytes: &[u8]) -> Option<u64> {
        let mut cursor = Cursor::new(bytes);
        (cursor.u32()? == MAGIC).then_some(())?;
        cursor.u32()?;
        cursor.u64()
    }

    /// Bytes of the whole frame.
    pub(super) fn bytes(&self) -> u64 {
        HEADER as u64 + u64::from(self.payload) + self.table_bytes()
    }

    pub(super) fn table_bytes(&self) -> u64 {
        u64::from(self.items) * ENTRY as u64
    }

    /// Bytes from this frame's start to where the next may start.
    pub(super) fn stride(&self) -> u64 {
        round_up(self.bytes(), SECTOR)
    }

    /// The first offset after this frame's events.
    pub(super) fn next(&self) -> Offset {
        self.first.saturating_add(u64::from(self.events))
    }
}

/// The checksum of everything in a segment of this salt.
pub(super) fn checksum(salt: u64, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), bytes)
}

/// Where an item of a frame is, and what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) kind: Kind,
    /// Which call of the frame it belongs to: what one call wrote counts together.
    pub(super) call: u16,
    /// Its bytes, from the frame's start.
    pub(super) range: Range<usize>,
    pub(super) checksum: u32,
}

/// Decodes the table of a frame.
pub(super) fn decode_table(header: &FrameHeader, table: &[u8]) -> Option<Vec<Spot>> {
    if table.len() as u64 != header.table_bytes() || checksum(header.salt, table) != header.table_checksum {
        return None;
    }
    let mut cursor = Cursor::new(table);
    let mut at = HEADER;
    let mut spots = Vec::with_capacity(table.len() / ENTRY);
    for _ in 0..header.items {
        let length = usize::try_from(cursor.u32()?).ok()?;
        let checksum = cursor.u32()?;
        let call = cursor.u16()?;
        let kind = Kind::decode(cursor.u8()?)?;
        cursor.u8()?;
        let end = at.checked_add(length)?;
        spots.push(Spot { kind, call, range: at..end, checksum });
        at = end;
    }
    let events = spots.iter().filter(|spot| spot.kind == Kind::Event).count();
    ((at - HEADER) as u64 == u64::from(header.payload) && events as u64 == u64::from(header.events)).then_some(spots)
}

/// A frame read back.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) header: FrameHeader,
    pub(super) spots: Vec<Spot>,
    pub(super) bytes: Bytes,
    /// The items whose checksum does not hold, as indexes into `spots`.
    pub(super) damaged: Vec<usize>,
}

impl Frame {
    /// The frame at the front of `bytes`. `None` if its header or its table is not valid; see `damaged` for its items.
    pub(super) fn decode(bytes: &Bytes, salt: u64) -> Option<Self> {
        let header = FrameHeader::decode(bytes, salt)?;
        let end = usize::try_from(header.bytes()).ok()?;
        if bytes.len() < end {
            return None;
        }
        let bytes = bytes.slice(..end);
        let table = HEADER + usize::try_from(header.payload).ok()?;
        let spots = decode_table(&header, &bytes[table..])?;
        let is_damaged = |spot: &Spot| checksum(salt, &bytes[spot.range.clone()]) != spot.checksum;
        let damaged = spots.iter().enumerate().filter(|(_, spot)| is_damaged(spot)).map(|(index, _)| index).collect();
        Some(Self { header, spots, bytes, damaged })
    }

    pub(super) fn is_whole(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// A frame being put together.
pub(super) struct FrameBuilder {
    salt: u64,
    buffer: BytesMut,
    spots: Vec<Spot>,
    events: u32,
    call: u16,
}

/// How far a builder had come.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    bytes: usize,
    spots: usize,
    events: u32,
}

impl FrameBuilder {
    /// Starts a frame in a buffer, which is emptied.
    pub(super) fn new(salt: u64, mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.put_bytes(0, HEADER);
        Self { salt, buffer, spots: Vec::new(), events: 0, call: 0 }
    }

    /// Starts the next call. A frame has room for `u16::MAX` of them.
    pub(super) fn start_call(&mut self) -> Mark {
        self.call = self.call.saturating_add(1);
        Mark { bytes: self.buffer.len(), spots: self.spots.len(), events: self.events }
    }

    /// Takes everything back that was put in since the mark.
    pub(super) fn undo(&mut self, mark: Mark) {
        self.buffer.truncate(mark.bytes);
        self.spots.truncate(mark.spots);
        self.events = mark.events;
    }

    pub(super) fn push(&mut self, kind: Kind, put: impl FnOnce(&mut BytesMut)) {
        let start = self.buffer.len();
        put(&mut self.buffer);
        let range = start..self.buffer.len();
        let checksum = checksum(self.salt, &self.buffer[range.clone()]);
        self.events += u32::from(kind == Kind::Event);
        self.spots.push(Spot { kind, call: self.call, range, checksum });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.spots.is_empty()
    }

    pub(super) fn events(&self) -> u32 {
        self.events
    }

    pub(super) fn calls(&self) -> u16 {
        self.call
    }

    /// Bytes of the frame as it is now.
    pub(super) fn bytes(&self) -> u64 {
        (self.buffer.len() + self.spots.len() * ENTRY) as u64
    }

    /// The buffer of a frame that is not needed.
    pub(super) fn into_buffer(self) -> BytesMut {
        self.buffer
    }

    /// Finishes the frame, and gives it back with the buffer, which is filled up with zeros to the end of its last page: what is written
    /// is then whole pages, and nothing has to be read first. The frame has bytes of its own, no more than it needs: it is kept for
    /// readers, and the buffer for the next frame.
    pub(super) fn finish_at(mut self, position: u64, sequence: u64, first: Offset, newest: Micros) -> (Frame, BytesMut) {
        let header = self.close(sequence, first, newest);
        let bytes = Bytes::copy_from_slice(&self.buffer);
        let end = position + bytes.len() as u64;
        self.buffer.put_bytes(0, usize::try_from(round_up(end, PAGE) - end).unwrap_or(0));
        (Frame { header, spots: self.spots, bytes, damaged: Vec::new() }, self.buffer)
    }

    /// Finishes the frame.
    pub(super) fn finish(mut self, sequence: u64, first: Offset, newest: Micros) -> Frame {
        let header = self.close(sequence, first, newest);
        Frame { header, spots: self.spots, bytes: self.buffer.freeze(), damaged: Vec::new() }
    }

    /// Puts the table behind the items, and the header before them.
    fn close(&mut self, sequence: u64, first: Offset, newest: Micros) -> FrameHeader {
        let table = self.buffer.len();
        self.buffer.reserve(self.spots.len() * ENTRY);
        for spot in &self.spots {
            self.buffer.put_u32_le(narrow(spot.range.len()));
            self.buffer.put_u32_le(spot.checksum);
            self.buffer.put_u16_le(spot.call);
            self.buffer.put_u8(spot.kind as u8);
            self.buffer.put_u8(0);
        }
        let header = FrameHeader {
            salt: self.salt,
            sequence,
            first,
            newest,
            events: self.events,
            items: narrow(self.spots.len()),
            payload: narrow(table - HEADER),
            table_checksum: checksum(self.salt, &self.buffer[table..]),
        };
        self.buffer[..HEADER].copy_from_slice(&header.encode());
        header
    }
}

/// The same frame for a segment of another salt.
pub(super) fn resalt(frame: &Frame, salt: u64) -> Frame {
    let mut builder = FrameBuilder::new(salt, BytesMut::with_capacity(frame.bytes.len()));
    for (index, spot) in frame.spots.iter().enumerate() {
        builder.call = spot.call;
        builder.push(spot.kind, |buffer| buffer.put_slice(&frame.bytes[spot.range.clone()]));
        if frame.damaged.contains(&index)
            && let Some(last) = builder.spots.last_mut()
        {
            // What was damaged stays damaged.
            last.checksum = !last.checksum;
        }
    }
    let mut again = builder.finish(frame.header.sequence, frame.header.first, frame.header.newest);
    again.damaged.clone_from(&frame.damaged);
    again
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn build(salt: u64, items: &[Vec<u8>]) -> Frame {
        let mut builder = FrameBuilder::new(salt, BytesMut::new());
        for item in items {
            builder.start_call();
            builder.push(Kind::Event, |buffer| buffer.put_slice(item));
        }
        builder.finish(7, 100, 5)
    }

    proptest! {
        #[test]
        fn frame_round_trips(salt: u64, items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 1..20)) {
            let built = build(salt, &items);
            let read = Frame::decode(&built.bytes, salt).unwrap();
            prop_assert!(read.is_whole());
            prop_assert_eq!(&read.spots, &built.spots);
            prop_assert_eq!(read.header, built.header);
            let payloads: Vec<_> = read.spots.iter().map(|spot| read.bytes[spot.range.clone()].to_vec()).collect();
            prop_assert_eq!(payloads, items);
            prop_assert!(Frame::decode(&built.bytes, salt ^ 1).is_none(), "a stale salt is not this segment's frame");
            let moved = resalt(&read, !salt);
            prop_assert!(Frame::decode(&moved.bytes, !salt).unwrap().is_whole());
        }

        #[test]
        fn p14_a_flipped_bit_costs_one_item_or_the_frame(flip in 0_usize..10_000, items in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..80), 1..8)) {
            let built = build(3, &items);
            let mut bytes = built.bytes.to_vec();
            let bit = flip % (bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Some(read) = Frame::decode(&Bytes::from(bytes), 3) {
                prop_assert_eq!(read.damaged.len(), 1);
            }
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), salt: u64) {
            let bytes = Bytes::from(bytes);
            prop_assert!(Frame::decode(&bytes, salt).is_none());
            let _ = FrameHeader::salt_in(&bytes);
        }
    }
}
