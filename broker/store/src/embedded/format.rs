//! The format file: which version wrote the directory, and the seed of its hashes.
//!
//! Constraint: losing it costs nothing but a report: every segment repeats the seed.

use std::io;

use bytes::BufMut;

use super::{disk::Disk, paged, wire::Cursor};

/// Its name.
pub(super) const FILE: &str = "FORMAT";
/// The version that is read and written.
pub(super) const VERSION: u32 = 2;
const MAGIC: u64 = u64::from_le_bytes(*b"waypost\n");
const BYTES: usize = 24;

/// What the format file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// This version, and the seed.
    Ours(u64),
    Other(u32),
    Missing,
    Damaged,
}

pub(super) fn read(disk: &dyn Disk) -> io::Result<Format> {
    let file = match disk.open(FILE) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Format::Missing),
        other => other?,
    };
    match paged::read(&*file, 0, BYTES) {
        Ok(bytes) => Ok(decode(&bytes).unwrap_or(Format::Damaged)),
        Err(super::index::LookupError::Damaged) => Ok(Format::Damaged),
        Err(super::index::LookupError::Disk(error)) => Err(error),
    }
}

fn decode(bytes: &[u8]) -> Option<Format> {
    let mut cursor = Cursor::new(bytes);
    let (magic, version, seed, checksum) = (cursor.u64()?, cursor.u32()?, cursor.u64()?, cursor.u32()?);
    if magic != MAGIC || checksum != crc32c::crc32c(&bytes[..BYTES - 4]) {
        return Some(Format::Damaged);
    }
    Some(if version == VERSION { Format::Ours(seed) } else { Format::Other(version) })
}

/// Writes it, durable with its name.
pub(super) fn write(disk: &dyn Disk, seed: u64) -> io::Result<()> {
    let half = format!("{FILE}.tmp");
    match disk.remove(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&half, 0)?;
    file.write_at(&encode(VERSION, seed), 0)?;
    file.sync()?;
    disk.rename(&half, FILE)?;
    disk.sync_names()
}

pub(super) fn encode(version: u32, seed: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BYTES);
    bytes.put_u64_le(MAGIC);
    bytes.put_u32_le(version);
    bytes.put_u64_le(seed);
    let checksum = crc32c::crc32c(&bytes);
    bytes.put_u32_le(checksum);
    bytes
}
