//! A bare sync write: what making one event durable costs at least.
//!
//! Constraint: the same file operations as the store's log on one event: a frame that starts at the next multiple of 512
//! bytes and is filled up to the end of its page, written into blocks that were written before, then fdatasync.

use std::{fs::File, os::unix::fs::FileExt, path::Path};

use crate::{Error, brokers::payload, measure, measure::Latencies};

/// An event of [`payload::SIZE`] bytes of data with its attributes, and what frames it.
const FRAME: usize = payload::SIZE + 320;
const SECTOR: usize = 512;
const PAGE: usize = 4096;
const SEGMENT: usize = 64 * 1024 * 1024;

/// Times so many sync writes, one after the other. It blocks.
pub(crate) fn measure(runs: &Path, count: usize) -> Result<Latencies, Error> {
    let directory = tempfile::tempdir_in(runs)?;
    let file = File::options().create_new(true).write(true).open(directory.path().join("segment"))?;
    let zeros = vec![0; 1024 * 1024];
    for piece in 0..SEGMENT / zeros.len() {
        file.write_all_at(&zeros, (piece * zeros.len()) as u64)?;
    }
    file.sync_all()?;

    let bytes = vec![b'x'; FRAME + PAGE];
    let mut took = Vec::with_capacity(count);
    let mut at = 0;
    for _ in 0..count {
        let end = (at + FRAME).next_multiple_of(PAGE);
        let start = measure::now();
        file.write_all_at(&bytes[..end - at], at as u64)?;
        file.sync_data()?;
        took.push(measure::now() - start);
        at = (at + FRAME).next_multiple_of(SECTOR) % (SEGMENT - 2 * PAGE);
        at = at.next_multiple_of(SECTOR);
    }
    Ok(Latencies::of(took))
}
