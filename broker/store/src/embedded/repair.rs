//! Repairing the tables: what the log still has is folded over what could be salvaged.
//!
//! Constraints:
//! - Rows of the log replace salvaged ones: the newest change of a key before the watermark is its state at the watermark.
//! - The records of an owner are taken from the log only from the last time on that they were superseded there: in between nothing may be
//!   missing. Of other owners the salvaged ones stay: a state that they had.

use std::sync::{Arc, PoisonError};

use super::{
    disk::DiskFile,
    index::{FrameSpot, Summary},
    item::{Change, changes_in},
    layer::Layer,
    scan::frame_at,
    segment::segment_name,
    table_file::{damaged, is_damage},
    tables::{Repair, Tables},
    view::Shared,
};

/// The frames of one segment that hold changes.
struct Source {
    id: u64,
    salt: u64,
    first_sequence: u64,
    file: Arc<dyn DiskFile>,
    frames: Vec<FrameSpot>,
}

impl Source {
    fn of(summary: &Summary, file: &Arc<dyn DiskFile>, frames: Vec<FrameSpot>) -> Self {
        let Summary { id, salt, first_sequence, .. } = *summary;
        Self { id, salt, first_sequence, file: file.clone(), frames }
    }
}

impl Shared {
    /// Runs something on the tables. If it meets damage, they are repaired, and it is run once more.
    pub(super) fn repairing<T>(&self, run: impl Fn(&Tables) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let (done, result) = {
            let repair = self.tables.repair.read().unwrap_or_else(PoisonError::into_inner);
            (repair.done, if repair.is_due { Err(damaged()) } else { run(&self.tables) })
        };
        match result {
            Err(error) if is_damage(&error) => self.repair_tables(&error, done)?,
            result => return result,
        }
        let _in_use = self.tables.repair.read().unwrap_or_else(PoisonError::into_inner);
        run(&self.tables)
    }

    /// Repairs the tables, unless somebody did since `done` repairs were.
    fn repair_tables(&self, error: &rusqlite::Error, done: u64) -> rusqlite::Result<()> {
        let mut repair = self.tables.repair.write().unwrap_or_else(PoisonError::into_inner);
        if !repair.is_due {
            if repair.done > done {
                return Ok(());
            }
            repair.is_due = true;
            self.tables.salvage(error)?;
        }
        self.fold_log_over()?;
        *repair = Repair { done: repair.done + 1, is_due: false };
        Ok(())
    }

    fn fold_log_over(&self) -> rusqlite::Result<()> {
        let (in_file, folded) = (self.tables.watermark_in_file()?, self.tables.watermark());
        let mut before = Layer::after(in_file.sequence, in_file.next);
        let mut since = Layer::after(folded.sequence.max(in_file.sequence), folded.next.max(in_file.next));
        let (sources, through) = (self.sources(), since.through);
        let is_all_there = sources.first().is_none_or(|oldest| oldest.first_sequence <= 1);
        for source in sources {
            for spot in source.frames.iter().filter(|spot| spot.changes && spot.sequence < through) {
                let layer = if spot.sequence < in_file.sequence { &mut before } else { &mut since };
                self.changes_at(&source, spot).into_iter().for_each(|change| layer.apply(change));
            }
        }
        for owner in before.owners.values_mut() {
            owner.supersede |= is_all_there;
            if !owner.supersede {
                owner.records.clear();
            }
        }
        self.tables.fold_over(&[before, since])
    }

    fn changes_at(&self, source: &Source, spot: &FrameSpot) -> Vec<Change> {
        let frame = source.file.len().and_then(|length| frame_at(&*source.file, source.salt, spot.position, length));
        if let Ok(Some(frame)) = frame {
            return changes_in(&frame);
        }
        let place = format!("{} at {}", segment_name(source.id), spot.position);
        self.damage.report(&place, "records and rows of a frame are lost; settled events may come back");
        Vec::new()
    }

    fn sources(&self) -> Vec<Source> {
        let view = self.view();
        let mut sources = Vec::new();
        for segment in &view.segments {
            let frames = segment.home.lookup().map_or(Ok(Vec::new()), |index| index.frames(0, usize::MAX));
            match frames {
                Ok(frames) => sources.push(Source::of(&segment.summary, &segment.file, frames)),
                Err(error) => {
                    self.damage.report(&segment_name(segment.summary.id), &format!("its changes cannot be folded again: {error}"));
                }
            }
        }
        let writing = &view.writing;
        sources.push(Source::of(&writing.index.summary, &writing.file, writing.index.frames.clone()));
        sources
    }
}
