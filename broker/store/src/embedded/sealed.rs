//! The index of a sealed segment: a file beside it, written once.
//!
//! Constraints:
//! - The layout is on disk and frozen; `docs/storage-format.md` draws it.
//! - Opening it reads one sector. A lookup reads what it needs and verifies what it reads; nothing is kept in memory.
//! - It is derived: a damaged one is made again from its segment. After the segment is gone, it is the memory of its ids.
//!
//! | file | what it holds |
//! |---|---|
//! | `layout` | what stands where in the file |
//! | `write` | how it comes about |

mod layout;
#[cfg(test)]
mod tests;
mod write;

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::BufMut;

use self::layout::{CORRELATION_ENTRY, FRAME_ENTRY, HEADER, Header, ID_ENTRY, PARTS, Part, Sections, frame_of, id_of};
pub(super) use self::write::{size_of, write};
use super::{
    disk::DiskFile,
    ids::{IdEntry, key_of},
    index::{FrameSpot, Lookup, LookupError, Lost, Summary, matching, merge},
    paged::{Section, read, walk},
    run::Run,
    wire::Cursor,
};
use crate::contract::{Offset, TypeSet};

/// An open index file.
pub(super) struct SealedIndex {
    file: Arc<dyn DiskFile>,
    pub(super) summary: Summary,
    sections: Sections,
    lost: Vec<Lost>,
}

impl SealedIndex {
    /// Opens the index of a segment.
    pub(super) fn open(file: Arc<dyn DiskFile>, id: u64) -> Result<Self, LookupError> {
        let header = read(&*file, 0, HEADER)?;
        let header = Header::decode(&header).filter(|header| header.summary.id == id);
        header.map(|header| Self::new(file, header)).ok_or(LookupError::Damaged)
    }

    fn new(file: Arc<dyn DiskFile>, header: Header) -> Self {
        let Header { summary, sections, lost } = header;
        Self { file, summary, sections, lost }
    }

    fn section(&self, part: Part) -> Section {
        self.sections[part as usize]
    }

    /// The keys of all ids that are remembered, u64 each, in order. If they are damaged, the ids themselves are asked.
    pub(super) fn id_keys(&self) -> Result<Vec<u8>, LookupError> {
        match self.section(Part::IdKeys).read(&*self.file) {
            Err(LookupError::Damaged) => {
                let mut keys = Vec::new();
                self.walk_ids(0, |id| {
                    if id.is_remembered() {
                        keys.put_u64_le(key_of(id.hash));
                    }
                    true
                })?;
                Ok(keys)
            }
            read => read,
        }
    }

    /// How many ids are remembered.
    pub(super) fn remembered(&self) -> usize {
        super::wire::index(self.section(Part::IdKeys).length / 8)
    }

    /// The ids of this segment and of older ones.
    pub(super) fn run(&self) -> Result<Run, LookupError> {
        Run::decode(&self.section(Part::Run).read(&*self.file)?).ok_or(LookupError::Damaged)
    }

    /// The sections whose checksum does not hold: where each is, and what it is called.
    pub(super) fn damaged_parts(&self) -> io::Result<Vec<(u64, &'static str)>> {
        let mut damaged = Vec::new();
        for (part, name) in PARTS {
            let section = self.section(part);
            match section.read(&*self.file) {
                Ok(_) => {}
                Err(LookupError::Damaged) => damaged.push((section.at, name)),
                Err(LookupError::Disk(error)) => return Err(error),
            }
        }
        Ok(damaged)
    }

    /// The file itself, to be copied.
    pub(super) fn file(&self) -> &Arc<dyn DiskFile> {
        &self.file
    }

    /// Bytes of the file.
    pub(super) fn bytes(&self) -> u64 {
        self.sections.iter().map(|section| section.at + section.length).max().unwrap_or(0)
    }

    /// The newest event of this id that is remembered.
    pub(super) fn find_id(&self, hash: u128) -> Result<Option<IdEntry>, LookupError> {
        let mut found = None;
        self.each_id(hash, |id| {
            if id.is_remembered() {
                found = Some(id);
            }
        })?;
        Ok(found)
    }

    /// Where events of this id are.
    pub(super) fn id_offsets(&self, hash: u128) -> Result<Vec<Offset>, LookupError> {
        let mut found = Vec::new();
        self.each_id(hash, |id| found.push(id.offset))?;
        Ok(found)
    }

    fn each_id(&self, hash: u128, mut each: impl FnMut(IdEntry)) -> Result<(), LookupError> {
        let key = key_of(hash);
        self.walk_ids(key, |id| {
            if id.hash == hash {
                each(id);
            }
            key_of(id.hash) <= key
        })
    }

    /// Visits ids in order, from the first one with a key at least `key`, until the visitor says no.
    fn walk_ids(&self, key: u64, mut visit: impl FnMut(IdEntry) -> bool) -> Result<(), LookupError> {
        walk::<ID_ENTRY>(&*self.file, (self.section(Part::Ids), self.section(Part::IdFences)), key, false, |at, mut entry| {
            id_of(at, &mut entry).map(&mut visit)
        })
    }

    fn directory(&self) -> Result<BTreeMap<Arc<str>, Section>, LookupError> {
        let bytes = self.section(Part::Types).read(&*self.file)?;
        let start = self.section(Part::Postings).at;
        let mut cursor = Cursor::new(&bytes);
        let mut directory = BTreeMap::new();
        while !cursor.rest().is_empty() {
            let mut next = || {
                let length = usize::try_from(cursor.u32()?).ok()?;
                let name = str::from_utf8(cursor.take(length)?).ok()?;
                let section = Section { at: start + cursor.u64()?, length: cursor.u64()?, checksum: cursor.u32()? };
                directory.insert(Arc::from(name), section);
                Some(())
            };
            next().ok_or(LookupError::Damaged)?;
        }
        Ok(directory)
    }
}

impl Lookup for SealedIndex {
    fn types(&self, set: &TypeSet, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError> {
        let directory = self.directory()?;
        let mut lists = Vec::new();
        for section in matching(&directory, set) {
            let bytes = section.read(&*self.file)?;
            let offsets = bytes.chunks_exact(8).filter_map(|bytes| Cursor::new(bytes).u64());
            lists.push(offsets.skip_while(|offset| *offset < from).take(most).collect());
        }
        Ok(merge(lists, most))
    }

    fn correlation(&self, hash: u64, from: Offset, most: usize) -> Result<Vec<Offset>, LookupError> {
        let mut found = Vec::new();
        let sections = (self.section(Part::Correlations), self.section(Part::CorrelationFences));
        walk::<CORRELATION_ENTRY>(&*self.file, sections, hash, false, |at, mut entry| {
            let offset = entry.u64()?;
            if at == hash && offset >= from {
                found.push(offset);
            }
            Some(at <= hash && found.len() < most)
        })?;
        Ok(found)
    }

    fn frames(&self, offset: Offset, most: usize) -> Result<Vec<FrameSpot>, LookupError> {
        let mut found = Vec::new();
        let sections = (self.section(Part::Frames), self.section(Part::FrameFences));
        walk::<FRAME_ENTRY>(&*self.file, sections, offset, true, |first, mut entry| {
            found.push(frame_of(first, &mut entry)?);
            Some(found.len() < most)
        })?;
        Ok(found)
    }

    fn lost(&self) -> Result<Vec<Lost>, LookupError> {
        Ok(self.lost.clone())
    }
}
