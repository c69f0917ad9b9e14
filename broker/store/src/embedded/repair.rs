//! Repairing the tables: what the log still has is folded over what could be salvaged.
//!
//! Constraints:
//! - Rows of the log replace salvaged ones: the newest change of a key before the watermark is its state at the watermark. Only what
//!   follows the last hole in the log counts: a hole can hide a newer change.
//! - The records of an owner are taken from the log only from the last time on that they were superseded there: in between nothing may be
//!   missing. Of other owners the salvaged ones stay: a state that they had.
//! - Nothing waits for the disk under the view's lock, and the frames of one segment at a time are in memory.

use std::{io, sync::PoisonError};

use super::{
    disk::DiskFile,
    frame::Frame,
    home::Damage,
    index::{FrameSpot, Summary},
    item::{changes_in, lacks_changes},
    layer::Layer,
    scan::frame_at,
    segment::segment_name,
    table_file::{Watermark, damaged, is_damage},
    tables::{Condition, Repair, Tables},
    view::{Segment, Shared},
};

/// What the log has, as far as it was read.
struct Refold {
    /// Changes before the watermark of the salvaged file.
    before: Layer,
    /// Changes since then that had been folded.
    since: Layer,
    /// The frame that comes next, if nothing is missing.
    next: u64,
    /// Whether `before` starts with the log's first frame.
    is_all_there: bool,
}

impl Refold {
    fn new(in_file: Watermark, folded: Watermark) -> Self {
        Self {
            before: Layer::after(in_file.sequence, in_file.next),
            since: Layer::after(folded.sequence.max(in_file.sequence), folded.next.max(in_file.next)),
            next: 1,
            is_all_there: true,
        }
    }

    /// Comes to a frame. If others are missing before it, what is older than they are no longer counts.
    fn reach(&mut self, sequence: u64) {
        if self.next < sequence && self.next < self.before.through {
            self.before = Layer::after(self.before.through, self.before.next);
            self.is_all_there = false;
        }
    }

    /// Takes the changes of the frames of a segment. One that cannot be read is a hole: the next one does not follow.
    fn take(&mut self, shared: &Shared, summary: &Summary, file: &dyn DiskFile, frames: &[FrameSpot]) {
        let through = self.since.through;
        for spot in frames.iter().filter(|spot| spot.sequence < through) {
            self.reach(spot.sequence);
            if spot.changes {
                let Ok(Some(frame)) = changed_frame(&shared.damage, file, (summary.id, summary.salt), spot) else { continue };
                let layer = if spot.sequence < self.before.through { &mut self.before } else { &mut self.since };
                changes_in(&frame).into_iter().for_each(|change| layer.apply(change));
                if lacks_changes(&frame) {
                    continue;
                }
            }
            self.next = spot.sequence + 1;
        }
    }

    fn layers(mut self) -> [Layer; 2] {
        self.reach(self.before.through);
        for owner in self.before.owners.values_mut() {
            owner.supersede |= self.is_all_there;
            if !owner.supersede {
                owner.records.clear();
            }
        }
        [self.before, self.since]
    }
}

impl Shared {
    /// Runs something on the tables. If it meets damage, they are repaired, and it is run once more.
    pub(super) fn repairing<T>(&self, run: impl Fn(&Tables) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let (done, result) = {
            let repair = self.tables.repair.read().unwrap_or_else(PoisonError::into_inner);
            (repair.done, if repair.condition == Condition::Good { run(&self.tables) } else { Err(damaged()) })
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
        if repair.condition == Condition::Good && repair.done > done {
            return Ok(());
        }
        // If the disk is in the way, nobody uses the file until a later try has come to the end.
        if repair.condition != Condition::Salvaged {
            repair.condition = Condition::Damaged;
            self.tables.salvage(error)?;
            repair.condition = Condition::Salvaged;
        }
        if let Err(error) = self.fold_log_over() {
            if is_damage(&error) {
                repair.condition = Condition::Damaged;
            }
            return Err(error);
        }
        *repair = Repair { done: repair.done + 1, condition: Condition::Good };
        Ok(())
    }

    fn fold_log_over(&self) -> rusqlite::Result<()> {
        let mut refold = Refold::new(self.tables.watermark_in_file()?, self.tables.watermark());
        // A segment that is held is not made a spare.
        let (segments, (summary, file, frames)) = {
            let view = self.view();
            let writing = &view.writing;
            (view.segments.clone(), (writing.index.summary, writing.file.clone(), writing.index.frames.clone()))
        };
        for segment in segments {
            refold.take(self, &segment.summary, &*segment.file, &self.frames_of(&segment));
        }
        refold.take(self, &summary, &*file, &frames);
        self.tables.fold_over(&refold.layers())
    }

    /// The frames of a segment; none if they cannot be told any more.
    fn frames_of(&self, segment: &Segment) -> Vec<FrameSpot> {
        self.ask_index(segment, |index| index.frames(0, usize::MAX)).unwrap_or_else(|error| {
            self.damage.report(&segment_name(segment.summary.id), &format!("its changes cannot be folded again: {error}"));
            Vec::new()
        })
    }
}

/// A frame whose changes are asked for. What cannot be told of them any more is reported.
pub(super) fn changed_frame(damage: &Damage, file: &dyn DiskFile, (id, salt): (u64, u64), spot: &FrameSpot) -> io::Result<Option<Frame>> {
    let frame = frame_at(file, salt, spot.position, file.len()?)?;
    if frame.as_ref().is_none_or(lacks_changes) {
        let place = format!("{} at {}", segment_name(id), spot.position);
        damage.report(&place, "records and rows of a frame are lost; settled events may come back");
    }
    Ok(frame)
}
