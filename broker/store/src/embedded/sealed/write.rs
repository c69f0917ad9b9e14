//! Writing the index of a segment that is sealed.
//!
//! Constraint: under its name it is whole and durable, or not there.

use std::io;

use bytes::BufMut;

use super::{
    SealedIndex,
    layout::{CORRELATION_ENTRY, FRAME_ENTRY, HEADER, Header, ID_ENTRY, Part, Sections, frame_entry, id_entry, joined},
};
use crate::embedded::{
    disk::Disk,
    ids::{IdEntry, SegmentIds, key_of},
    index::MemoryIndex,
    paged::{Section, build, paged_bytes},
    run::Run,
    segment::index_name,
    wire::narrow,
};

/// Writes the index of a segment, durable with its name.
pub(in crate::embedded) fn write(disk: &dyn Disk, memory: &MemoryIndex, ids: &SegmentIds, run: &Run) -> io::Result<SealedIndex> {
    let name = index_name(memory.summary.id);
    let half = format!("{name}.tmp");
    match disk.remove(&half) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.create(&half, 0)?;
    let (bytes, header) = encode(memory, ids.entries(), run);
    file.write_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&half, &name)?;
    disk.sync_names()?;
    Ok(SealedIndex::new(file, header))
}

/// Bytes that the index of a segment will have, if its run covers no other segment.
pub(in crate::embedded) fn size_of(memory: &MemoryIndex, ids: &SegmentIds) -> u64 {
    let remembered = ids.remembered();
    let postings: usize = memory.types.iter().map(|(name, offsets)| name.len() + 24 + offsets.len() * 8).sum();
    let paged = paged_bytes::<FRAME_ENTRY>(memory.frames.len())
        + paged_bytes::<ID_ENTRY>(ids.entries().len())
        + paged_bytes::<CORRELATION_ENTRY>(memory.correlations.len());
    (HEADER + paged + remembered * 8 + postings + Run::bytes_for(remembered)) as u64
}

fn encode(memory: &MemoryIndex, ids: &[IdEntry], run: &Run) -> (Vec<u8>, Header) {
    let mut bytes = vec![0; HEADER];
    let mut sections = Sections::default();
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

    let header = Header { summary: memory.summary, sections, lost: joined(&memory.lost) };
    bytes[..HEADER].copy_from_slice(&header.encode());
    (bytes, header)
}
