//! A sealed index against the one in memory.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use super::*;
use crate::{
    embedded::{disk::Disk, ids::SegmentIds, index::MemoryIndex, run::Keys, segment::index_name},
    testing::SimDisk,
};

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
