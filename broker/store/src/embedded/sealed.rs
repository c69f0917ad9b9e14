//! The index of a sealed segment: a file beside it, written once.
//!
//! Constraints:
//! - The layout is on disk and frozen; `docs/storage-format.md` draws it.
//! - Opening it reads one sector. A lookup reads what it needs and verifies what it reads; nothing is kept in memory.
//! - It is derived: a damaged one is made again from its segment. After the segment is gone, it is the memory of its ids.

use std::{collections::BTreeMap, io, sync::Arc};

use bytes::BufMut;

use super::{
    disk::{Disk, DiskFile},
    ids::{IdEntry, SegmentIds, key_of, low_of},
    index::{FrameSpot, Lookup, LookupError, Lost, MemoryIndex, Summary, matching, merge},
    paged::{Section, build, paged_bytes, read, walk},
    run::Run,
    segment::index_name,
    wire::{Cursor, narrow},
};
use crate::contract::{Offset, TypeSet};

const MAGIC: u64 = u64::from_le_bytes(*b"WPindex\0");
const VERSION: u32 = 2;
const HEADER: usize = 512;
const SECTIONS: usize = 10;

/// The sections, in the order of their places in the file. Frozen.
#[derive(Clone, Copy)]
enum Part {
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
const PARTS: [(Part, &str); SECTIONS] = [
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
const FRAME_ENTRY: usize = 8 + 8 + 8 + 1;
const ID_ENTRY: usize = 8 + 16 + 8 + 8 + 8;
const CORRELATION_ENTRY: usize = 8;

/// An open index file.
pub(super) struct SealedIndex {
    file: Arc<dyn DiskFile>,
    pub(super) summary: Summary,
    sections: [Section; SECTIONS],
    lost: Vec<Lost>,
}

/// Lost ranges that the header has room for; beyond it they are joined.
const MOST_LOST: usize = 10;

/// Writes the index of a segment, durable with its name.
pub(super) fn write(disk: &dyn Disk, memory: &MemoryIndex, ids: &SegmentIds, run: &Run) -> io::Result<SealedIndex> {
    let name = index_name(memory.summary.id);
    let half = format!("{name}.tmp");
    match disk.remove(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&half, 0)?;
    let (bytes, sections, lost) = encode(memory, ids.entries(), run);
    file.write_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&half, &name)?;
    disk.sync_names()?;
    Ok(SealedIndex { file, summary: memory.summary, sections, lost })
}

/// Bytes that the index of a segment will have, if its run covers no other segment.
pub(super) fn size_of(memory: &MemoryIndex, ids: &SegmentIds) -> u64 {
    let remembered = ids.remembered();
    let postings: usize = memory.types.iter().map(|(name, offsets)| name.len() + 24 + offsets.len() * 8).sum();
    let paged = paged_bytes::<FRAME_ENTRY>(memory.frames.len())
        + paged_bytes::<ID_ENTRY>(ids.entries().len())
        + paged_bytes::<CORRELATION_ENTRY>(memory.correlations.len());
    (HEADER + paged + remembered * 8 + postings + Run::bytes_for(remembered)) as u64
}

fn encode(memory: &MemoryIndex, ids: &[IdEntry], run: &Run) -> (Vec<u8>, [Section; SECTIONS], Vec<Lost>) {
    let mut bytes = vec![0; HEADER];
    let mut sections = [Section::default(); SECTIONS];
    let mut put = |part: Part, content: &[u8]| {
        sections[part as usize] = Section { at: bytes.len() as u64, length: content.len() as u64, checksum: crc32c::crc32c(content) };
        bytes.extend_from_slice(content);
    };
    let (pages, fences) = build(memory.frames.iter().map(|frame| (frame.first, frame_entry(frame))));
    put(Part::Frames, &pages);
    put(Part::FrameFences, &fences);

    let mut sorted: Vec<&IdEntry> = ids.iter().collect();
    sorted.sort_unstable_by_key(|entry| (entry.hash, entry.offset));
    let (pages, fences) = build(sorted.iter().map(|entry| (key_of(entry.hash), id_entry(entry))));
    put(Part::Ids, &pages);
    put(Part::IdFences, &fences);
    let remembered = sorted.iter().filter(|entry| entry.is_remembered());
    let keys: Vec<u8> = remembered.flat_map(|entry| key_of(entry.hash).to_le_bytes()).collect();
    put(Part::IdKeys, &keys);

    let mut sorted = memory.correlations.clone();
    sorted.sort_unstable();
    let (pages, fences) = build(sorted.iter().map(|(hash, offset)| (*hash, offset.to_le_bytes())));
    put(Part::Correlations, &pages);
    put(Part::CorrelationFences, &fences);

    let (mut postings, mut types) = (Vec::new(), Vec::new());
    for (name, offsets) in &memory.types {
        let start = postings.len();
        offsets.iter().for_each(|offset| postings.put_u64_le(*offset));
        types.put_u32_le(narrow(name.len()));
        types.put_slice(name.as_bytes());
        types.put_u64_le(start as u64);
        types.put_u64_le((postings.len() - start) as u64);
        types.put_u32_le(crc32c::crc32c(&postings[start..]));
    }
    put(Part::Postings, &postings);
    put(Part::Types, &types);
    put(Part::Run, &run.encode());

    let mut lost = memory.lost.clone();
    while lost.len() > MOST_LOST
        && let Some(last) = lost.pop()
        && let Some(before) = lost.last_mut()
    {
        // Rather too much reported than anything in silence.
        before.to = last.to;
    }
    let header = encode_header(&memory.summary, &sections, &lost);
    bytes[..HEADER].copy_from_slice(&header);
    (bytes, sections, lost)
}

fn frame_entry(frame: &FrameSpot) -> [u8; FRAME_ENTRY] {
    let mut entry = [0; FRAME_ENTRY];
    let mut out = &mut entry[..];
    out.put_u64_le(frame.sequence);
    out.put_u64_le(frame.position);
    out.put_u64_le(frame.newest);
    out.put_u8(u8::from(frame.changes));
    entry
}

fn id_entry(id: &IdEntry) -> [u8; ID_ENTRY] {
    let mut entry = [0; ID_ENTRY];
    let mut out = &mut entry[..];
    out.put_u64_le(low_of(id.hash));
    out.put_u128_le(id.fingerprint);
    out.put_u64_le(id.offset);
    out.put_u64_le(id.accepted_at);
    out.put_u64_le(id.until);
    entry
}

fn encode_header(summary: &Summary, sections: &[Section; SECTIONS], lost: &[Lost]) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let mut out = &mut header[..];
    out.put_u64_le(MAGIC);
    out.put_u32_le(VERSION);
    let Summary { id, salt, first, next, first_sequence, next_sequence, newest, dedup_until, end } = *summary;
    for number in [id, salt, first, next, first_sequence, next_sequence, newest, dedup_until, end] {
        out.put_u64_le(number);
    }
    for section in sections {
        out.put_u64_le(section.at);
        out.put_u64_le(section.length);
        out.put_u32_le(section.checksum);
    }
    out.put_u32_le(narrow(lost.len()));
    for lost in lost {
        out.put_u64_le(lost.from);
        out.put_u64_le(lost.to);
    }
    let checksum = crc32c::crc32c(&header[..HEADER - 4]);
    header[HEADER - 4..].copy_from_slice(&checksum.to_le_bytes());
    header
}

impl SealedIndex {
    /// Opens the index of a segment.
    pub(super) fn open(file: Arc<dyn DiskFile>, id: u64) -> Result<Self, LookupError> {
        let header = read(&*file, 0, HEADER)?;
        Self::decode(file, &header).filter(|index| index.summary.id == id).ok_or(LookupError::Damaged)
    }

    fn decode(file: Arc<dyn DiskFile>, header: &[u8]) -> Option<Self> {
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
        let mut sections = [Section::default(); SECTIONS];
        for section in &mut sections {
            *section = Section { at: cursor.u64()?, length: cursor.u64()?, checksum: cursor.u32()? };
        }
        let lost = (0..cursor.u32()?).map(|_| Some(Lost { from: cursor.u64()?, to: cursor.u64()? })).collect::<Option<_>>()?;
        Some(Self { file, summary, sections, lost })
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
            let low = entry.u64()?;
            Some(visit(IdEntry {
                hash: (u128::from(at) << 64) | u128::from(low),
                fingerprint: entry.u128()?,
                offset: entry.u64()?,
                accepted_at: entry.u64()?,
                until: entry.u64()?,
            }))
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
            found.push(FrameSpot {
                first,
                sequence: entry.u64()?,
                position: entry.u64()?,
                newest: entry.u64()?,
                changes: entry.u8()? != 0,
            });
            Some(found.len() < most)
        })?;
        Ok(found)
    }

    fn lost(&self) -> Result<Vec<Lost>, LookupError> {
        Ok(self.lost.clone())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::{embedded::run::Keys, testing::SimDisk};

    #[test]
    fn a_sealed_index_answers_as_the_one_in_memory_and_has_the_size_that_was_said() {
        for events in [0, 1, 100, 2_000] {
            let (mut memory, mut ids) = (MemoryIndex::default(), SegmentIds::default());
            memory.summary = Summary { id: 7, first: 1, next: events + 1, ..Summary::default() };
            for offset in 1..=events {
                memory.frames.push(FrameSpot { first: offset, sequence: offset, position: offset * 512, newest: offset, changes: false });
                memory.types.entry(format!("type.{}", offset % 7).into()).or_default().push(offset);
                memory.correlations.push((offset % 50, offset));
                let hash = u128::from(offset.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | 1;
                ids.push(IdEntry { hash, fingerprint: 1, offset, accepted_at: 5, until: 5 + offset % 2 });
            }
            let disk = SimDisk::new(1);
            let run = Run::build(7, 7, 6, &[Keys { segment: 7, keys: ids.keys() }]);
            let sealed = write(&disk, &memory, &ids, &run).unwrap();
            assert_eq!((sealed.bytes(), disk.open(&index_name(7)).unwrap().len().unwrap()), (size_of(&memory, &ids), sealed.bytes()));
            let sealed = SealedIndex::open(disk.open(&index_name(7)).unwrap(), 7).unwrap();
            assert_eq!(sealed.summary, memory.summary);
            assert_eq!((sealed.run().unwrap(), sealed.remembered()), (run, ids.remembered()));
            let set = TypeSet { names: vec!["type.3".into()], prefixes: vec!["type.5".into()] };
            for from in [0, 1, 57, 1_999, 5_000] {
                assert_eq!(sealed.types(&set, from, 100).unwrap(), memory.types(&set, from, 100).unwrap());
                assert_eq!(sealed.correlation(3, from, 30).unwrap(), memory.correlation(3, from, 30).unwrap());
                assert_eq!(sealed.frames(from, 40).unwrap(), memory.frames(from, 40).unwrap());
            }
            for entry in ids.entries() {
                assert_eq!(sealed.find_id(entry.hash).unwrap(), Some(*entry).filter(IdEntry::is_remembered));
                assert_eq!(sealed.id_offsets(entry.hash).unwrap(), vec![entry.offset]);
            }
        }
    }
}
