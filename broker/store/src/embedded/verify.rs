//! Verifying a store: every checksum that there is, of a directory that nobody has open, or of a store in use.
//!
//! Constraints:
//! - Nothing is written, nothing is repaired, and what recovery would call damage is called so here.
//! - Where recovery believes an index, this reads the segment: it finds what nobody has read yet.
//! - What is damaged is told with file, position and cost; it never ends the verification.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    sync::{Arc, PoisonError},
};

use super::{
    disk::{Disk, DiskFile},
    format::{self, Format},
    frame::{Frame, Kind},
    home::Form,
    index::Summary,
    os_disk::OsDisk,
    rebuild::start_of,
    scan::{End, Visit, scan},
    sealed::SealedIndex,
    segment::{SegmentHeader, id_in, index_name, read_header, segment_name},
    table_file::Watermark,
    tables,
    verify_tables::verify_tables,
    view::{Shared, lock},
};
use crate::{
    contract::Offset,
    upkeep::{Finding, UpkeepError, Verified},
};

/// Verifies the store of a directory that no process has open.
///
/// # Errors
/// [`UpkeepError::InUse`] if one has, [`UpkeepError::NoStore`], [`UpkeepError::Version`], or when the disk does not let itself be read.
pub fn verify(directory: &Path, tell: &mut dyn FnMut(Finding)) -> Result<Verified, UpkeepError> {
    let _lock = unused(directory)?;
    verify_on(&OsDisk::open(directory)?, directory, tell)
}

/// Whether a directory holds a store that no process has open; none will, as long as what this returns is kept.
pub(super) fn unused(directory: &Path) -> Result<Option<File>, UpkeepError> {
    let is_store = |name: &str| name == format::FILE || name == tables::FILE || id_in(name, "log").is_some();
    let names = std::fs::read_dir(directory).map(|entries| entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()));
    let names: Vec<String> = names.map(Iterator::collect).unwrap_or_default();
    if !names.iter().any(|name| is_store(name)) {
        return Err(UpkeepError::NoStore(directory.to_owned()));
    }
    // A copy that was never opened has no lock file, and gets none.
    if !names.iter().any(|name| name == "LOCK") {
        return Ok(None);
    }
    OsDisk::lock(directory)?.map(Some).ok_or_else(|| UpkeepError::InUse(directory.to_owned()))
}

/// The same for a log on a disk of the caller's, with the tables in a directory.
pub(super) fn verify_on(disk: &dyn Disk, directory: &Path, tell: &mut dyn FnMut(Finding)) -> Result<Verified, UpkeepError> {
    let mut look = Look { tell, verified: Verified::default() };
    let mut names = disk.names()?;
    names.sort();
    look.format(disk, names.iter().any(|name| id_in(name, "log").is_some()))?;
    let watermark = look.tables(&directory.join(tables::FILE), false)?;
    let mut indexes = BTreeMap::new();
    for id in names.iter().filter_map(|name| id_in(name, "idx")) {
        indexes.insert(id, look.index(disk, id)?);
    }
    look.segments(disk, &names, &indexes, watermark)?;
    for name in names.iter().filter(|name| name.ends_with(".torn") || name.ends_with(".damaged") || name.ends_with(".tmp")) {
        look.note(name, if name.ends_with(".tmp") { "left half made; goes at the next opening" } else { "was set aside earlier" });
    }
    Ok(look.verified)
}

impl Shared {
    /// Verifies what is durable now, beside a store in use.
    pub(super) fn verify_live(&self, tell: &mut dyn FnMut(Finding)) -> Result<Verified, UpkeepError> {
        let mut look = Look { tell, verified: Verified::default() };
        // What is held is not reused while it is read.
        let (sealed, writing, first, next) = {
            let view = self.view();
            let writing = &view.writing;
            (view.segments.clone(), (writing.index.summary, writing.file.clone()), view.first(), view.next)
        };
        let gone = lock(&self.gone).clone();
        look.format(&*self.disk, true)?;
        {
            let _in_use = self.tables.repair.read().unwrap_or_else(PoisonError::into_inner);
            look.tables(&self.options.dir.join(tables::FILE), true)?;
        }
        for home in gone.iter().chain(sealed.iter().map(|segment| &segment.home)) {
            if let Form::File(index) = home.form() {
                look.parts(&index, gone.iter().any(|gone| gone.id == home.id))?;
            }
        }
        let sealed = sealed.iter().map(|segment| (segment.summary, segment.file.clone()));
        for (summary, file) in sealed.chain([writing]) {
            let header = look.header(&*file, summary.id, Some(&summary))?.unwrap_or_else(|| header_of(&summary));
            look.segment(&*file, &header, End::Next { sequence: summary.next_sequence, offset: summary.next })?;
        }
        (look.verified.first, look.verified.next) = (first, next);
        Ok(look.verified)
    }
}

pub(super) fn header_of(summary: &Summary) -> SegmentHeader {
    let Summary { id, salt, first_sequence, first, .. } = *summary;
    SegmentHeader { id, salt, first_sequence, first, seed: 0, newest: 0, dedup_since: 0 }
}

/// What was looked at so far, and who is told.
struct Look<'a> {
    tell: &'a mut dyn FnMut(Finding),
    verified: Verified,
}

impl Look<'_> {
    fn damage(&mut self, file: &str, position: impl Into<Option<u64>>, what: impl Into<String>, cost: impl Into<String>) {
        self.verified.damage += 1;
        (self.tell)(Finding::damage(file, position, what, cost));
    }

    fn note(&mut self, file: &str, what: impl Into<String>) {
        (self.tell)(Finding::note(file, what));
    }

    fn format(&mut self, disk: &dyn Disk, is_known: bool) -> Result<(), UpkeepError> {
        let cost = if is_known { "it is written again from what the segments say" } else { "duplicates of earlier events are not found" };
        match format::read(disk)? {
            Format::Ours(_) => {}
            Format::Other(found) => return Err(UpkeepError::Version { found, supported: format::VERSION }),
            Format::Missing => self.damage(format::FILE, None, "is missing", cost),
            Format::Damaged => self.damage(format::FILE, 0, "its checksum does not hold", cost),
        }
        Ok(())
    }

    /// How far the tables say they are, if they can.
    fn tables(&mut self, path: &Path, is_in_use: bool) -> Result<Option<Watermark>, UpkeepError> {
        if !path.exists() {
            self.damage(tables::FILE, None, "is missing", "what the log still has is folded again; older records and rows are lost");
            return Ok(None);
        }
        verify_tables(path, is_in_use, &mut self.verified, self.tell)
    }

    /// The index of a segment, if it can be opened.
    fn index(&mut self, disk: &dyn Disk, id: u64) -> Result<Option<SealedIndex>, UpkeepError> {
        let is_gone = disk.open(&segment_name(id)).is_err();
        let Ok(index) = SealedIndex::open(disk.open(&index_name(id))?, id) else {
            self.damage(&index_name(id), 0, "its header cannot be read", cost_of_index(is_gone));
            return Ok(None);
        };
        self.parts(&index, is_gone)?;
        Ok(Some(index))
    }

    fn parts(&mut self, index: &SealedIndex, is_gone: bool) -> Result<(), UpkeepError> {
        self.verified.bytes += index.bytes();
        for (position, part) in index.damaged_parts()? {
            let what = format!("the checksum of its {part} does not hold");
            self.damage(&index_name(index.summary.id), position, what, cost_of_index(is_gone));
        }
        Ok(())
    }

    /// The segments of a directory, and whether anything is missing between and behind them.
    fn segments(
        &mut self,
        disk: &dyn Disk,
        names: &[String],
        indexes: &BTreeMap<u64, Option<SealedIndex>>,
        watermark: Option<Watermark>,
    ) -> Result<(), UpkeepError> {
        let mut found: Vec<(SegmentHeader, Arc<dyn DiskFile>)> = Vec::new();
        for id in names.iter().filter_map(|name| id_in(name, "log")) {
            let file = disk.open(&segment_name(id))?;
            let index = indexes.get(&id).and_then(Option::as_ref).map(|index| index.summary);
            found.extend(self.header(&*file, id, index.as_ref())?.map(|header| (header, file)));
        }
        let start = found.first().map(|(header, _)| (header.first_sequence, header.first));
        let (mut sequence, mut next) = start.unwrap_or((1, 1));
        self.verified.first = next;
        if watermark.is_some_and(|watermark| watermark.sequence < sequence) {
            let cost = "what was folded from segments that are gone is lost: older records and rows are missing";
            self.damage(tables::FILE, None, "is behind the beginning of the log", cost);
        }
        for (number, (header, file)) in found.iter().enumerate() {
            if header.first_sequence > sequence || header.first > next {
                let what = format!("frames {sequence} to {} are missing before it", header.first_sequence);
                self.damage(&segment_name(header.id), None, what, gap(next, header.first));
            }
            let later = found.get(number + 1).map(|(next, _)| (next.first_sequence, next.first));
            let index = indexes.get(&header.id).and_then(Option::as_ref).filter(|index| index.summary.salt == header.salt);
            let end = match (index, later) {
                (Some(index), Some((later, _))) if index.summary.next_sequence <= later => {
                    End::Next { sequence: index.summary.next_sequence, offset: index.summary.next }
                }
                (_, Some((sequence, offset))) => End::Next { sequence, offset },
                (_, None) => End::Tail,
            };
            (sequence, next) = self.segment(&**file, header, end)?;
        }
        if let Some(watermark) = watermark.filter(|watermark| watermark.sequence > sequence || watermark.next > next) {
            let what = format!("the log ends at frame {sequence}, and the tables know of {}", watermark.sequence);
            self.damage("the log", None, what, format!("its end is lost: {}", gap(next, watermark.next)));
            next = next.max(watermark.next);
        }
        self.verified.next = next;
        Ok(())
    }

    fn header(&mut self, file: &dyn DiskFile, id: u64, index: Option<&Summary>) -> Result<Option<SegmentHeader>, UpkeepError> {
        let name = segment_name(id);
        let (header, is_whole) = read_header(file, id)?;
        if is_whole {
            return Ok(header);
        }
        let known = header.or_else(|| index.map(header_of));
        let cost = match known {
            Some(_) => "what it said is put together again from its first frame or its index",
            None => "nothing in it can be told any more: its offsets are a gap",
        };
        self.damage(&name, 0, "its header's checksum does not hold", cost);
        Ok(known)
    }

    /// Where the segment ends: the next sequence and the next offset.
    fn segment(&mut self, file: &dyn DiskFile, header: &SegmentHeader, end: End) -> Result<(u64, Offset), UpkeepError> {
        let name = segment_name(header.id);
        let scanned = scan(file, header, start_of(header), end, &mut InSegment { name: &name, look: self })?;
        self.verified.segments += 1;
        self.verified.bytes += scanned.position;
        if scanned.torn {
            let cost = "a write that the power cut was never answered; if no power was cut, the newest events are lost";
            self.damage(&name, scanned.position, "the last frame is not whole", cost);
        }
        Ok((scanned.next_sequence, scanned.next))
    }
}

fn gap(from: Offset, to: Offset) -> String {
    if from < to {
        format!("offsets {from} to {} cannot be served", to - 1)
    } else {
        "records and rows may be lost; settled events may come back".to_owned()
    }
}

fn cost_of_index(is_gone: bool) -> &'static str {
    if is_gone {
        "duplicates of events of a segment that is gone may not be found"
    } else {
        "it is made again from its segment; nothing is lost"
    }
}

/// What a scan finds in one segment.
struct InSegment<'a, 'b> {
    name: &'a str,
    look: &'a mut Look<'b>,
}

impl Visit for InSegment<'_, '_> {
    fn frame(&mut self, position: u64, frame: &Frame) {
        self.look.verified.frames += 1;
        self.look.verified.events += u64::from(frame.header.events);
        for index in &frame.damaged {
            let Some(spot) = frame.spots.get(*index) else { continue };
            let at = position + spot.range.start as u64;
            let (what, cost) = match spot.kind {
                Kind::Event => {
                    let before = frame.spots[..*index].iter().filter(|spot| spot.kind == Kind::Event).count() as u64;
                    let offset = frame.header.first + before;
                    (format!("event {offset} is damaged"), gap(offset, offset + 1))
                }
                _ => ("a record or a row is damaged".to_owned(), gap(0, 0)),
            };
            self.look.damage(self.name, at, what, cost);
        }
    }

    fn lost(&mut self, position: u64, from: Offset, to: Offset) {
        self.look.damage(self.name, position, "what stands here is no whole frame", gap(from, to));
    }
}
