//! Reading a segment from its start: what recovery does where no index vouches for it.
//!
//! Constraints:
//! - One frame is in flight at a time. So an invalid frame with a later valid one is damage, and an invalid one at the end of the last
//!   segment is a write that the power cut: it was never acknowledged.
//! - Memory is bounded by one frame and one piece of the search.

use std::io;

use super::{
    disk::DiskFile,
    frame::{Frame, FrameHeader, HEADER, SECTOR},
    segment::{SegmentHeader, read_bytes},
    wire::index,
};
use crate::contract::Offset;

/// Sectors are searched in pieces of this size.
const PIECE: u64 = 1024 * 1024;

/// What ends a segment.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    /// It is the last one: it ends with its last whole frame.
    Tail,
    /// The next segment starts there: what is missing before it is damage, what has its sequence or a later one is void.
    Next { sequence: u64, offset: Offset },
}

/// What was found, in the order of the log.
pub(super) trait Visit {
    /// A frame, or what is left of one: see its `damaged`.
    fn frame(&mut self, position: u64, frame: &Frame);
    /// Nothing is left of these offsets. `from == to` if only records or rows can have been there.
    fn lost(&mut self, position: u64, from: Offset, to: Offset);
}

/// Where a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned {
    /// Where the next frame would start.
    pub(super) position: u64,
    pub(super) next_sequence: u64,
    pub(super) next: Offset,
    /// Whether something stood there that is not a whole frame.
    pub(super) torn: bool,
}

/// Scans a segment from `start`.
///
/// # Errors
/// Those of the disk. Damage is no error: it is visited.
pub(super) fn scan(file: &dyn DiskFile, header: &SegmentHeader, start: Scanned, end: End, visit: &mut dyn Visit) -> io::Result<Scanned> {
    let length = file.len()?;
    let mut at = start;
    loop {
        if let End::Next { sequence, .. } = end
            && at.next_sequence >= sequence
        {
            return Ok(at);
        }
        let found = frame_at(file, header.salt, at.position, length)?;
        if let Some(frame) = found.as_ref().filter(|frame| frame.is_whole() && frame.header.sequence == at.next_sequence) {
            visit.frame(at.position, frame);
            at = after(at.position, frame);
            continue;
        }
        let later = later_frame(file, header.salt, at, length, end)?;
        // In the middle of the log a frame with a valid table is salvaged item by item.
        let salvage = found.filter(|frame| frame.header.sequence == at.next_sequence && frame.header.first == at.next);
        match (later, end) {
            (None, End::Tail) => {
                at.torn = salvage.is_some() || !is_blank(file, at.position, length)?;
                return Ok(at);
            }
            (None, End::Next { offset, sequence }) => {
                let position = at.position;
                if let Some(frame) = salvage {
                    visit.frame(position, &frame);
                    at = after(position, &frame);
                }
                if at.next < offset || at.next_sequence < sequence {
                    visit.lost(position, at.next, offset);
                }
                return Ok(Scanned { next_sequence: sequence, next: offset, ..at });
            }
            (Some((position, frame)), _) => {
                let damaged_at = at.position;
                if let Some(salvaged) = salvage {
                    visit.frame(damaged_at, &salvaged);
                    at = after(damaged_at, &salvaged);
                }
                if at.next < frame.first || at.next_sequence < frame.sequence {
                    visit.lost(damaged_at, at.next, frame.first);
                }
                at = Scanned { position, next_sequence: frame.sequence, next: frame.first, torn: false };
            }
        }
    }
}

fn after(position: u64, frame: &Frame) -> Scanned {
    Scanned { position: position + frame.header.stride(), next_sequence: frame.header.sequence + 1, next: frame.header.next(), torn: false }
}

/// The frame at a position: whole, or with a valid table at least.
pub(super) fn frame_at(file: &dyn DiskFile, salt: u64, position: u64, length: u64) -> io::Result<Option<Frame>> {
    if position + HEADER as u64 > length {
        return Ok(None);
    }
    let header = read_bytes(file, position, HEADER as u64)?;
    let Some(header) = FrameHeader::decode(&header, salt).filter(|header| position + header.bytes() <= length) else {
        return Ok(None);
    };
    Ok(Frame::decode(&read_bytes(file, position, header.bytes())?, salt))
}

/// The first frame behind a damaged place that has a valid table and belongs to the log.
fn later_frame(file: &dyn DiskFile, salt: u64, at: Scanned, length: u64, end: End) -> io::Result<Option<(u64, FrameHeader)>> {
    let mut position = at.position + SECTOR;
    while position < length {
        let piece = read_bytes(file, position, PIECE.min(length - position))?;
        for (sector, bytes) in piece.chunks(index(SECTOR)).enumerate() {
            let Some(header) = FrameHeader::decode(bytes, salt) else { continue };
            let is_void = matches!(end, End::Next { sequence, .. } if header.sequence >= sequence);
            if header.sequence <= at.next_sequence || header.first < at.next || is_void {
                continue;
            }
            let place = position + sector as u64 * SECTOR;
            // At the tail only a whole one proves that writing went on; elsewhere the next segment proves it.
            let proven = frame_at(file, salt, place, length)?.is_some_and(|frame| frame.is_whole() || matches!(end, End::Next { .. }));
            if proven {
                return Ok(Some((place, header)));
            }
        }
        position += piece.len() as u64;
    }
    Ok(None)
}

/// Whether a place holds zeros, up to the end of its page at least.
fn is_blank(file: &dyn DiskFile, position: u64, length: u64) -> io::Result<bool> {
    if position >= length {
        return Ok(true);
    }
    let bytes = read_bytes(file, position, SECTOR.min(length - position))?;
    Ok(bytes.iter().all(|byte| *byte == 0))
}
