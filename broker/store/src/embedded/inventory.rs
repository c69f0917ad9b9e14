//! Opening: what is in the directory, before anything is read from it.
//!
//! Constraint: what cannot be told any more is set aside or made again, and reported; it never keeps the rest from being served.

use std::{collections::BTreeMap, io, sync::Arc};

use super::{
    dedup::{Dedup, Runs},
    disk::{Disk, DiskFile},
    format::{self, Format},
    home::{Damage, Form, Home},
    ids::Seed,
    index::Summary,
    options::{EmbeddedOptions, OpenError},
    run::{Keys, Run},
    salt::random,
    sealed::SealedIndex,
    segment::{SegmentHeader, bytes_for, id_in, index_name, read_header, segment_name},
    view::Segment,
};
use crate::contract::Micros;

/// A segment file and what it says of itself.
pub(super) struct Found {
    pub(super) header: SegmentHeader,
    pub(super) file: Arc<dyn DiskFile>,
}

/// All segments, oldest first. One whose header cannot be told any more is set aside.
pub(super) fn find_segments(disk: &dyn Disk, damage: &Damage) -> io::Result<Vec<Found>> {
    let names = disk.names()?;
    let mut ids: Vec<u64> = names.iter().filter_map(|name| id_in(name, "log")).collect();
    ids.sort_unstable();
    let mut found = Vec::new();
    for id in ids {
        let name = segment_name(id);
        let file = disk.open(&name)?;
        match read_header(&*file, id)? {
            (Some(header), true) => found.push(Found { header, file }),
            (Some(header), false) => {
                damage.report(&name, "its header is damaged; it is put together again from the first frame");
                found.push(Found { header, file });
            }
            (None, _) => {
                // The index knows what the segment had, if there is one.
                let known = disk.open(&index_name(id)).ok().and_then(|file| SealedIndex::open(file, id).ok());
                if let Some(index) = known {
                    damage.report(&name, "its header is damaged; its index says what it was");
                    found.push(Found { header: header_of(&index.summary), file });
                } else {
                    damage.report(&name, "nothing in it can be told any more; set aside");
                    disk.rename(&name, &format!("{name}.damaged"))?;
                }
            }
        }
    }
    Ok(found)
}

fn header_of(summary: &Summary) -> SegmentHeader {
    SegmentHeader {
        id: summary.id,
        salt: summary.salt,
        first_sequence: summary.first_sequence,
        first: summary.first,
        seed: 0,
        newest: 0,
        dedup_since: 0,
    }
}

/// The seed of the hashes of ids: from the format file, else from a segment.
pub(super) fn seed(disk: &dyn Disk, options: &EmbeddedOptions, found: &[Found], damage: &Damage) -> Result<Seed, OpenError> {
    let failed = |source| OpenError::Disk { dir: options.dir.clone(), doing: "reading the format file", source };
    let in_segments = found.iter().map(|found| found.header.seed).find(|seed| *seed != 0);
    match (format::read(disk).map_err(failed)?, in_segments) {
        (Format::Ours(seed), _) => return Ok(Seed(seed)),
        (Format::Other(found), _) => {
            return Err(OpenError::Version { dir: options.dir.clone(), found, supported: format::VERSION });
        }
        (Format::Missing, None) if found.is_empty() => {}
        (Format::Missing | Format::Damaged, Some(seed)) => {
            damage.report(format::FILE, "it is written again from what the segments say");
            format::write(disk, seed).map_err(failed)?;
            return Ok(Seed(seed));
        }
        (Format::Missing | Format::Damaged, None) => damage.report(format::FILE, "duplicates of earlier events are not found"),
    }
    let seed = random().max(1);
    format::write(disk, seed).map_err(failed)?;
    Ok(Seed(seed))
}

/// Collects spares, and removes what was only half made.
pub(super) fn spares(disk: &dyn Disk, options: &EmbeddedOptions) -> io::Result<Vec<(String, u64)>> {
    let whole = bytes_for(options.segment_bytes, 0);
    let mut spares = Vec::new();
    for name in disk.names()? {
        let is_spare = id_in(&name, "spare").is_some();
        let is_whole = is_spare && disk.open(&name)?.len()? == whole;
        if is_whole && spares.len() < options.spare_segments.max(1) {
            spares.push((name, whole));
        } else if is_spare || name.ends_with(".tmp") {
            disk.remove(&name)?;
        }
    }
    Ok(spares)
}

/// The id of the next segment: higher than any that a file still has.
pub(super) fn next_id(disk: &dyn Disk) -> io::Result<u64> {
    let names = disk.names()?;
    let taken = names.iter().filter_map(|name| id_in(name, "log").or_else(|| id_in(name, "idx")));
    Ok(taken.max().unwrap_or(0) + 1)
}

/// What is remembered of ids.
pub(super) struct Remembered {
    pub(super) dedup: Dedup,
    pub(super) runs: Arc<Runs>,
    /// The indexes whose segments are gone.
    pub(super) gone: Vec<Arc<Home>>,
}

/// Restores what is remembered of ids, everything accepted after `since` at best. Of the sealed segments the runs are read, and no id.
pub(super) fn remember(
    disk: &dyn Disk,
    options: &EmbeddedOptions,
    segments: &[Arc<Segment>],
    (since, newest): (Micros, Micros),
    damage: &Damage,
) -> io::Result<Remembered> {
    let mut homes: BTreeMap<u64, Arc<Home>> = segments.iter().map(|segment| (segment.home.id, segment.home.clone())).collect();
    let mut gone = Vec::new();
    for id in disk.names()?.iter().filter_map(|name| id_in(name, "idx")) {
        if homes.contains_key(&id) {
            continue;
        }
        match SealedIndex::open(disk.open(&index_name(id))?, id) {
            Ok(index) => {
                let home = Arc::new(Home::sealed(index));
                gone.push(home.clone());
                homes.insert(id, home);
            }
            Err(_) => {
                damage.report(&index_name(id), "duplicates of events of a segment that is gone are not found; set aside");
                disk.rename(&index_name(id), &format!("{}.damaged", index_name(id)))?;
            }
        }
    }
    let runs = Arc::new(Runs::default());
    let mut dedup = Dedup::new(options.dedup_ids, since, runs.clone());
    let mut covered_from = u64::MAX;
    for home in homes.values().rev() {
        let Form::File(index) = home.form() else { continue };
        if index.summary.dedup_until < newest || home.id >= covered_from {
            continue;
        }
        match run_of(&index, damage) {
            Ok(run) => {
                covered_from = run.first;
                runs.put(Arc::new(run), newest);
            }
            Err(error) => {
                damage.report(&index_name(home.id), &format!("duplicates of its events are not found: {error}"));
                dedup.since = dedup.since.max(index.summary.newest);
            }
        }
    }
    for home in homes.into_values() {
        let (ids, newest) = match home.form() {
            Form::File(index) => (index.remembered(), index.summary.newest),
            Form::Memory(index) => (home.ids().remembered(), index.summary.newest),
            Form::Writing | Form::Forgotten => (0, 0),
        };
        dedup.know(home, ids, newest);
    }
    Ok(Remembered { dedup, runs, gone })
}

/// The run of an index. If it is damaged, one of the index's own ids: the segments before it have runs of their own.
fn run_of(index: &SealedIndex, damage: &Damage) -> Result<Run, super::index::LookupError> {
    let Summary { id, dedup_until, .. } = index.summary;
    match index.run() {
        Ok(run) if run.last == id => Ok(run),
        _ => {
            damage.report(&index_name(id), "the ids of several segments in one place are damaged; each segment's own are used");
            Ok(Run::build(id, id, dedup_until, &[Keys { segment: id, keys: index.id_keys()? }]))
        }
    }
}
