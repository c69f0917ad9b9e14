//! What stands where in an index file: its header, its sections, and their entries.
//!
//! Constraints: everything here is on disk and frozen; how a thing is written and how it is read stand side by side.

use bytes::BufMut;

use crate::{
    contract::Offset,
    embedded::{
        ids::{IdEntry, low_of},
        index::{FrameSpot, Lost, Summary},
        paged::Section,
        wire::{Cursor, narrow},
    },
};

const MAGIC: u64 = u64::from_le_bytes(*b"WPindex\0");
const VERSION: u32 = 2;
pub(super) const HEADER: usize = 512;
const SECTIONS: usize = 10;

/// The sections, in the order of their places in the file. Frozen.
#[derive(Clone, Copy)]
pub(super) enum Part {
    Frames,
    FrameFences,
    Ids,
    IdFences,
    IdKeys,
    Correlations,
    CorrelationFences,
    Postings,
    Types,
    Run,
}

/// Every section, by its number, and what people call it.
pub(super) const PARTS: [(Part, &str); SECTIONS] = [
    (Part::Frames, "frames"),
    (Part::FrameFences, "fences of frames"),
    (Part::Ids, "ids"),
    (Part::IdFences, "fences of ids"),
    (Part::IdKeys, "keys of ids"),
    (Part::Correlations, "correlations"),
    (Part::CorrelationFences, "fences of correlations"),
    (Part::Postings, "postings"),
    (Part::Types, "types"),
    (Part::Run, "run of ids"),
];

/// Bytes of an entry behind its key.
pub(super) const FRAME_ENTRY: usize = 8 + 8 + 8 + 1;
pub(super) const ID_ENTRY: usize = 8 + 16 + 8 + 8 + 8;
pub(super) const CORRELATION_ENTRY: usize = 8;

/// Where each section is, by the number of its [`Part`].
pub(super) type Sections = [Section; SECTIONS];

/// Lost ranges that the header has room for; beyond it they are joined.
const MOST_LOST: usize = 10;

/// What the file begins with.
pub(super) struct Header {
    pub(super) summary: Summary,
    pub(super) sections: Sections,
    pub(super) lost: Vec<Lost>,
}

impl Header {
    /// This, as the first bytes of the file.
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut header = [0; HEADER];
        let mut out = &mut header[..];
        out.put_u64_le(MAGIC);
        out.put_u32_le(VERSION);
        let Summary { id, salt, first, next, first_sequence, next_sequence, newest, dedup_until, end } = self.summary;
        for number in [id, salt, first, next, first_sequence, next_sequence, newest, dedup_until, end] {
            out.put_u64_le(number);
        }
        for section in &self.sections {
            out.put_u64_le(section.at);
            out.put_u64_le(section.length);
            out.put_u32_le(section.checksum);
        }
        out.put_u32_le(narrow(self.lost.len()));
        for lost in &self.lost {
            out.put_u64_le(lost.from);
            out.put_u64_le(lost.to);
        }
        let checksum = crc32c::crc32c(&header[..HEADER - 4]);
        header[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
        header
    }

    /// The inverse; `None` if it is none.
    pub(super) fn decode(header: &[u8]) -> Option<Self> {
        let (content, checksum) = header.split_at_checked(HEADER - 4)?;
        let mut cursor = Cursor::new(content);
        if Cursor::new(checksum).u32()? != crc32c::crc32c(content) || cursor.u64()? != MAGIC || cursor.u32()? != VERSION {
            return None;
        }
        let summary = Summary {
            id: cursor.u64()?,
            salt: cursor.u64()?,
            first: cursor.u64()?,
            next: cursor.u64()?,
            first_sequence: cursor.u64()?,
            next_sequence: cursor.u64()?,
            newest: cursor.u64()?,
            dedup_until: cursor.u64()?,
            end: cursor.u64()?,
        };
        let mut sections = Sections::default();
        for section in &mut sections {
            *section = Section { at: cursor.u64()?, length: cursor.u64()?, checksum: cursor.u32()? };
        }
        let lost = (0..cursor.u32()?).map(|_| Some(Lost { from: cursor.u64()?, to: cursor.u64()? })).collect::<Option<_>>()?;
        Some(Self { summary, sections, lost })
    }
}

/// Lost ranges as the header has room for them.
pub(super) fn joined(lost: &[Lost]) -> Vec<Lost> {
    let mut lost = lost.to_vec();
    while lost.len() > MOST_LOST
        && let Some(last) = lost.pop()
        && let Some(before) = lost.last_mut()
    {
        // Rather too much reported than anything in silence.
        before.to = last.to;
    }
    lost
}

/// A frame, behind the offset of its first event.
pub(super) fn frame_entry(frame: &FrameSpot) -> [u8; FRAME_ENTRY] {
    let mut entry = [0; FRAME_ENTRY];
    let mut out = &mut entry[..];
    out.put_u64_le(frame.sequence);
    out.put_u64_le(frame.position);
    out.put_u64_le(frame.newest);
    out.put_u8(u8::from(frame.changes));
    entry
}

/// The inverse, behind the offset of its first event.
pub(super) fn frame_of(first: Offset, entry: &mut Cursor<'_>) -> Option<FrameSpot> {
    Some(FrameSpot { first, sequence: entry.u64()?, position: entry.u64()?, newest: entry.u64()?, changes: entry.u8()? != 0 })
}

/// An id, behind its key.
pub(super) fn id_entry(id: &IdEntry) -> [u8; ID_ENTRY] {
    let mut entry = [0; ID_ENTRY];
    let mut out = &mut entry[..];
    out.put_u64_le(low_of(id.hash));
    out.put_u128_le(id.fingerprint);
    out.put_u64_le(id.offset);
    out.put_u64_le(id.accepted_at);
    out.put_u64_le(id.until);
    entry
}

/// The inverse, behind its key.
pub(super) fn id_of(key: u64, entry: &mut Cursor<'_>) -> Option<IdEntry> {
    let low = entry.u64()?;
    Some(IdEntry {
        hash: (u128::from(key) << 64) | u128::from(low),
        fingerprint: entry.u128()?,
        offset: entry.u64()?,
        accepted_at: entry.u64()?,
        until: entry.u64()?,
    })
}
