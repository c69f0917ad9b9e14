//! Sealing: the index of a segment that gets no more frames moves from memory into its file.
//!
//! Constraints:
//! - One at a time, oldest first. What memory and opening have to hold without a file is bounded: the writer seals by itself if the
//!   keeper lags.
//! - A segment's run takes in the runs before it unless they are much larger, so there are few runs, and an id is put into a
//!   new one a few times at most.
//! - Whoever looks an id up finds it at every moment: the run is there before the ids leave memory.

use std::{
    io,
    sync::{Arc, MutexGuard},
};

use super::{
    home::{Form, Home},
    ids::SegmentIds,
    index::Summary,
    run::{Keys, MOST_IDS, Run},
    sealed,
    view::{Segment, Shared, lock},
};

/// The most segments whose index is in memory alone when the next one begins.
const MOST_UNSEALED: usize = 1;

/// The same while indexes cannot be written: beyond it no segment begins, since opening would have to read them all.
const MOST_UNSEALED_IN_TROUBLE: usize = 16;

/// Writes the index of a segment to its file, unless that was done.
pub(super) fn seal(shared: &Shared, segment: &Segment) -> io::Result<()> {
    let one_at_a_time = lock(&shared.sealing);
    seal_alone(shared, segment, &one_at_a_time)
}

/// The same, for one who seals nothing else meanwhile.
pub(super) fn seal_alone(shared: &Shared, segment: &Segment, _: &MutexGuard<'_, ()>) -> io::Result<()> {
    let Form::Memory(memory) = segment.home.form() else { return Ok(()) };
    let (sealed, run, is_known) = {
        // Nobody changes them any more, and whoever looks an id up reads them at the same time.
        let ids = segment.home.ids();
        // An index that is made again: the ids are in a run already.
        let is_known = shared.runs.all().iter().any(|run| (run.first..=run.last).contains(&segment.summary.id));
        let run = if is_known { alone(&memory.summary, &ids) } else { shared.run_for(&memory.summary, &ids) };
        let sealed = sealed::write(&*shared.disk, &memory, &ids, &run)?;
        // The rest was counted when the segment ended.
        shared.grow(sealed.bytes().saturating_sub(sealed::size_of(&memory, &ids)));
        (sealed, run, is_known)
    };
    if !is_known {
        shared.runs.put(Arc::new(run), shared.newest());
    }
    segment.home.become_form(Form::File(Arc::new(sealed)));
    Ok(())
}

fn alone(summary: &Summary, ids: &SegmentIds) -> Run {
    Run::build(summary.id, summary.id, summary.dedup_until, &[Keys { segment: summary.id, keys: ids.keys() }])
}

impl Shared {
    /// Seals until few enough segments are unsealed.
    pub(super) fn bound_unsealed(&self) -> io::Result<()> {
        loop {
            let (oldest, count) = {
                let view = self.view();
                let mut unsealed = view.segments.iter().filter(|segment| matches!(segment.home.form(), Form::Memory(_)));
                (unsealed.next().cloned(), 1 + unsealed.count())
            };
            let Some(segment) = oldest.filter(|_| count > MOST_UNSEALED) else { return Ok(()) };
            match seal(self, &segment) {
                Ok(()) => {}
                // The keeper tries it again.
                Err(error) if count <= MOST_UNSEALED_IN_TROUBLE => {
                    tracing::error!(segment = segment.summary.id, %error, "sealing a segment failed; the log goes on without its index");
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The run that the index of a segment gets: its own ids, and those of the runs before it that are not much larger.
    fn run_for(&self, summary: &Summary, ids: &SegmentIds) -> Run {
        let own = ids.keys();
        let (mut first, mut count) = (summary.id, own.len() / 8);
        for older in self.runs.all().iter().filter(|run| run.last < summary.id) {
            if older.count() > 2 * count || count + older.count() > MOST_IDS || !Run::can_span(older.first, summary.id) {
                break;
            }
            (first, count) = (older.first, count + older.count());
        }
        let (mut until, mut lists, now) = (summary.dedup_until, Vec::new(), self.newest());
        for home in self.homes_in(first, summary.id) {
            let index = match home.form() {
                Form::File(index) => index,
                // Its index was made again and could not be written.
                Form::Memory(index) => {
                    lists.push(Keys { segment: home.id, keys: home.ids().keys() });
                    until = until.max(index.summary.dedup_until);
                    continue;
                }
                _ => continue,
            };
            if index.summary.dedup_until < now || home.is_cut() {
                continue;
            }
            match index.id_keys() {
                Ok(keys) => lists.push(Keys { segment: home.id, keys }),
                Err(error) => {
                    // What is in memory goes on to find its duplicates; so does the next opening, from the runs as they are.
                    tracing::warn!(segment = home.id, %error, "the ids of a segment cannot be read; its run stays as it is");
                    return alone(summary, ids);
                }
            }
            until = until.max(index.summary.dedup_until);
        }
        lists.push(Keys { segment: summary.id, keys: own });
        Run::build(first, summary.id, until, &lists)
    }

    /// The homes of the segments `first..before`, oldest first.
    fn homes_in(&self, first: u64, before: u64) -> Vec<Arc<Home>> {
        let mut homes: Vec<Arc<Home>> = self.view().segments.iter().map(|segment| segment.home.clone()).collect();
        homes.extend(lock(&self.gone).iter().cloned());
        homes.retain(|home| (first..before).contains(&home.id));
        homes.sort_by_key(|home| home.id);
        homes.dedup_by_key(|home| home.id);
        homes
    }
}
