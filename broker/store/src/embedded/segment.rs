//! A segment: a preallocated file of frames.
//!
//! Constraints:
//! - A file named as a segment begins with a valid, durable header, or it is damaged: header (and carried frames) are written and
//!   synced under the spare's name, and only then is it renamed.
//! - A segment's salt is new with every use of the file.
//! - Frames whose sequence is not before the next segment's first are void: a write that failed is never continued in its file.

use std::{io, sync::Arc};

use bytes::{BufMut, Bytes};

use super::{
    disk::{Disk, DiskFile},
    frame::{Frame, FrameHeader, PAGE, SECTOR, resalt},
    wire::{Cursor, index, round_up},
};
use crate::contract::{Micros, Offset};

const MAGIC: u64 = u64::from_le_bytes(*b"WPsegmnt");
const VERSION: u32 = 1;
const ENCODED: usize = 72;

/// What a segment says of itself, in its first sector. Frozen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) id: u64,
    pub(super) salt: u64,
    pub(super) first_sequence: u64,
    pub(super) first: Offset,
    /// The seed of the store's id hashes, as in the format file, so that losing that file costs nothing.
    pub(super) seed: u64,
    /// When the newest event before this segment was accepted.
    pub(super) newest: Micros,
    /// How far back every id was remembered then.
    pub(super) dedup_since: Micros,
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(index(SECTOR));
        bytes.put_u64_le(MAGIC);
        bytes.put_u32_le(VERSION);
        bytes.put_u64_le(self.id);
        bytes.put_u64_le(self.salt);
        bytes.put_u64_le(self.first_sequence);
        bytes.put_u64_le(self.first);
        bytes.put_u64_le(self.seed);
        bytes.put_u64_le(self.newest);
        bytes.put_u64_le(self.dedup_since);
        let checksum = crc32c::crc32c(&bytes);
        bytes.put_u32_le(checksum);
        debug_assert_eq!(bytes.len(), ENCODED, "the drawing says so");
        bytes.resize(index(SECTOR), 0);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut cursor = Cursor::new(bytes);
        if cursor.u64()? != MAGIC || cursor.u32()? != VERSION {
            return None;
        }
        let header = Self {
            id: cursor.u64()?,
            salt: cursor.u64()?,
            first_sequence: cursor.u64()?,
            first: cursor.u64()?,
            seed: cursor.u64()?,
            newest: cursor.u64()?,
            dedup_since: cursor.u64()?,
        };
        (cursor.u32()? == crc32c::crc32c(&bytes[..ENCODED - 4])).then_some(header)
    }
}

/// The name of a segment's file.
pub(super) fn segment_name(id: u64) -> String {
    format!("{id:016x}.log")
}

/// The name of the index of a sealed segment.
pub(super) fn index_name(id: u64) -> String {
    format!("{id:016x}.idx")
}

/// The id in the name of a file with this extension.
pub(super) fn id_in(name: &str, extension: &str) -> Option<u64> {
    let stem = name.strip_suffix(extension)?.strip_suffix('.')?;
    (stem.len() == 16).then(|| u64::from_str_radix(stem, 16).ok()).flatten()
}

/// The segment that is being written.
pub(super) struct Active {
    pub(super) header: SegmentHeader,
    /// What readers get: it stays open for as long as the segment is there.
    pub(super) file: Arc<dyn DiskFile>,
    /// What the writer writes with, until the segment ends.
    pub(super) log: Arc<dyn DiskFile>,
    /// Bytes of the file.
    pub(super) bytes: u64,
    /// Where the next frame starts.
    pub(super) position: u64,
    pub(super) next_sequence: u64,
}

impl Active {
    /// Bytes that the next frame may have.
    pub(super) fn room(&self) -> u64 {
        self.bytes.saturating_sub(self.position)
    }
}

/// Bytes of a segment file that can hold a frame of `frame` bytes.
pub(super) fn bytes_for(segment_bytes: u64, frame: u64) -> u64 {
    round_up(segment_bytes.max(SECTOR + frame), PAGE)
}

/// Makes an empty file that can become a segment. Its content is durable, its name is not.
pub(super) fn create_spare(disk: &dyn Disk, name: &str, bytes: u64) -> io::Result<()> {
    if disk.available()? < bytes {
        return Err(io::Error::from(io::ErrorKind::StorageFull));
    }
    let made = disk.create(name, bytes).and_then(|file| file.sync());
    if made.is_err() {
        // Half a spare is of no use; that it cannot be removed either changes nothing.
        let _ = disk.remove(name);
    }
    made
}

/// Turns a spare file into the next segment, with the frames that it must begin with. Durable, name and all, once it returned.
pub(super) fn activate(
    disk: &dyn Disk,
    spare: &str,
    header: SegmentHeader,
    carried: Option<&Frame>,
) -> io::Result<(Active, Option<Frame>)> {
    let (file, log) = (disk.open(spare)?, disk.open_log(spare)?);
    let mut active = Active { header, bytes: file.len()?, file, log, position: SECTOR, next_sequence: header.first_sequence };
    active.log.write_at(&header.encode(), 0)?;
    let carried = carried.map(|frame| resalt(frame, header.salt));
    if let Some(frame) = &carried {
        active.log.write_at(&frame.bytes, active.position)?;
        active.position += frame.header.stride();
        active.next_sequence += 1;
    }
    active.log.sync()?;
    disk.rename(spare, &segment_name(header.id))?;
    disk.sync_names()?;
    Ok((active, carried))
}

/// The header of a segment file. A damaged one is put together again from the first frame, as far as that is possible.
pub(super) fn read_header(file: &dyn DiskFile, id: u64) -> io::Result<(Option<SegmentHeader>, bool)> {
    let length = file.len()?.min(2 * SECTOR);
    let mut bytes = vec![0; index(length)];
    file.read_at(&mut bytes, 0)?;
    if let Some(header) = SegmentHeader::decode(&bytes).filter(|header| header.id == id) {
        return Ok((Some(header), true));
    }
    let mut frame = bytes.split_off(bytes.len().min(index(SECTOR)));
    frame.resize(frame.len().max(64), 0);
    let salvaged = FrameHeader::salt_in(&frame).and_then(|salt| FrameHeader::decode(&frame, salt)).map(|first| SegmentHeader {
        id,
        salt: first.salt,
        first_sequence: first.sequence,
        first: first.first,
        seed: 0,
        newest: 0,
        dedup_since: 0,
    });
    Ok((salvaged, false))
}

/// Reads bytes of a segment.
pub(super) fn read_bytes(file: &dyn DiskFile, at: u64, length: u64) -> io::Result<Bytes> {
    let mut bytes = vec![0; index(length)];
    file.read_at(&mut bytes, at)?;
    Ok(Bytes::from(bytes))
}
