//! Sorted entries on disk, in pages with a checksum each, so that a lookup reads one page and verifies what it read.
//!
//! Constraints:
//! - An entry is a key of 64 bits and a payload of a fixed size. Keys may repeat.
//! - The first key of every page stands in the fences, which have a checksum of their own.

use bytes::BufMut;

use super::{
    disk::DiskFile,
    index::LookupError,
    wire::{Cursor, index},
};

/// Bytes of a page. The last page of a section is as long as the others.
pub(super) const PAGE: usize = 4096;
const PAGE_HEADER: usize = 8;

/// Where a run of bytes is, and its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) checksum: u32,
}

impl Section {
    /// Reads all of it and verifies it.
    pub(super) fn read(&self, file: &dyn DiskFile) -> Result<Vec<u8>, LookupError> {
        let bytes = read(file, self.at, index(self.length))?;
        if crc32c::crc32c(&bytes) == self.checksum { Ok(bytes) } else { Err(LookupError::Damaged) }
    }
}

/// A file that ends too early is damaged; anything else is the disk's trouble.
pub(super) fn read(file: &dyn DiskFile, at: u64, length: usize) -> Result<Vec<u8>, LookupError> {
    // Lengths come from checked headers; a file that is shorter is not worth allocating for.
    if at.saturating_add(length as u64) > file.len()? {
        return Err(LookupError::Damaged);
    }
    let mut bytes = vec![0; length];
    file.read_at(&mut bytes, at)?;
    Ok(bytes)
}

/// Pages and fences of sorted entries of `N` bytes behind each key.
pub(super) fn build<const N: usize>(entries: impl Iterator<Item = (u64, [u8; N])>) -> (Vec<u8>, Vec<u8>) {
    let (mut pages, mut fences) = (Vec::new(), Vec::new());
    let mut entries = entries.peekable();
    while let Some((first, _)) = entries.peek() {
        fences.put_u64_le(*first);
        let start = pages.len();
        pages.put_bytes(0, PAGE_HEADER);
        let mut count = 0_u32;
        while (usize::try_from(count).unwrap_or(0) + 1) * (8 + N) <= PAGE - PAGE_HEADER
            && let Some((key, payload)) = entries.next()
        {
            pages.put_u64_le(key);
            pages.put_slice(&payload);
            count += 1;
        }
        pages.resize(start + PAGE, 0);
        pages[start..start + 4].copy_from_slice(&count.to_le_bytes());
        let checksum = page_checksum(&pages[start..]);
        pages[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
    }
    (pages, fences)
}

/// Bytes of the pages and fences of so many entries.
pub(super) fn paged_bytes<const N: usize>(entries: usize) -> usize {
    entries.div_ceil((PAGE - PAGE_HEADER) / (8 + N)) * (PAGE + 8)
}

fn page_checksum(page: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&page[..4]), &page[PAGE_HEADER..])
}

/// Visits entries in order, from the last one with a key at most `key` if `floor`, else from the first one with a key at least `key`,
/// until the visitor says no.
pub(super) fn walk<const N: usize>(
    file: &dyn DiskFile,
    (pages, fences): (Section, Section),
    key: u64,
    floor: bool,
    mut visit: impl FnMut(u64, Cursor<'_>) -> Option<bool>,
) -> Result<(), LookupError> {
    let fences: Vec<u64> = fences.read(file)?.chunks_exact(8).filter_map(|fence| Cursor::new(fence).u64()).collect();
    let before = if floor { fences.partition_point(|fence| *fence <= key) } else { fences.partition_point(|fence| *fence < key) };
    for number in before.saturating_sub(1)..fences.len() {
        let page = read(file, pages.at + (number * PAGE) as u64, PAGE)?;
        let entries = entries_of::<N>(&page)?;
        let start = match floor && number < before {
            true => entries.partition_point(|(found, _)| *found <= key).saturating_sub(1),
            false => entries.partition_point(|(found, _)| *found < key && !floor),
        };
        for (found, payload) in &entries[start..] {
            if !visit(*found, Cursor::new(payload)).ok_or(LookupError::Damaged)? {
                return Ok(());
            }
        }
    }
    Ok(())
}

fn entries_of<const N: usize>(page: &[u8]) -> Result<Vec<(u64, &[u8])>, LookupError> {
    let mut cursor = Cursor::new(page);
    let count = cursor.u32().ok_or(LookupError::Damaged)?;
    if cursor.u32() != Some(page_checksum(page)) {
        return Err(LookupError::Damaged);
    }
    (0..count).map(|_| Some((cursor.u64()?, cursor.take(N)?))).collect::<Option<_>>().ok_or(LookupError::Damaged)
}
