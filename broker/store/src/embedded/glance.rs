//! How a store is that nobody has open, at a glance: without reading all of it.
//!
//! Constraint: nothing is written, and nothing is believed that has no valid checksum; of a segment without a sound index the frames are
//! read, which is the last one as a rule.

use std::path::Path;

use super::{
    disk::Disk,
    format::{self, Format},
    frame::Frame,
    os_disk::OsDisk,
    rebuild::start_of,
    scan::{End, Visit, scan},
    sealed::SealedIndex,
    segment::{SegmentHeader, id_in, index_name, read_header, segment_name},
    verify::unused,
};
use crate::{
    contract::{Micros, Offset},
    upkeep::{Glance, UpkeepError},
};

/// Looks at the store of a directory that no process has open.
///
/// # Errors
/// As [`verify`](super::verify()).
pub fn glance(directory: &Path) -> Result<Glance, UpkeepError> {
    let _lock = unused(directory)?;
    let mut glance = Glance::default();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(crate::JOURNAL_FILE)) {
            continue;
        }
        glance.used += entry.metadata()?.len();
        glance.set_aside += u64::from(entry.file_name().to_str().is_some_and(|name| name.ends_with(".torn") || name.ends_with(".damaged")));
    }
    look(&OsDisk::open(directory)?, &mut glance)?;
    Ok(glance)
}

/// What the segments say.
pub(super) fn look(disk: &dyn Disk, glance: &mut Glance) -> Result<(), UpkeepError> {
    if let Format::Other(found) = format::read(disk)? {
        return Err(UpkeepError::Version { found, supported: format::VERSION });
    }
    let mut ids: Vec<u64> = disk.names()?.iter().filter_map(|name| id_in(name, "log")).collect();
    ids.sort_unstable();
    for id in ids {
        // One that says nothing of itself is a gap, which is for verifying to tell.
        let (Some(header), _) = read_header(&*disk.open(&segment_name(id))?, id)? else { continue };
        if glance.segments == 0 {
            glance.first = header.first;
        }
        glance.segments += 1;
        let (next, newest) = ends(disk, &header)?;
        glance.next = glance.next.max(next);
        glance.newest = glance.newest.max(newest);
    }
    Ok(())
}

/// The offset behind a segment, and when its newest event was accepted; 0 if it has none.
fn ends(disk: &dyn Disk, header: &SegmentHeader) -> Result<(Offset, Micros), UpkeepError> {
    let index = disk.open(&index_name(header.id)).ok().and_then(|file| SealedIndex::open(file, header.id).ok());
    if let Some(index) = index.filter(|index| index.summary.salt == header.salt) {
        return Ok((index.summary.next, index.summary.newest));
    }
    let mut newest = Newest(header.newest);
    let scanned = scan(&*disk.open(&segment_name(header.id))?, header, start_of(header), End::Tail, &mut newest)?;
    Ok((scanned.next, newest.0))
}

struct Newest(Micros);

impl Visit for Newest {
    fn frame(&mut self, _: u64, frame: &Frame) {
        self.0 = self.0.max(frame.header.newest);
    }

    fn lost(&mut self, _: u64, _: Offset, _: Offset) {}
}
