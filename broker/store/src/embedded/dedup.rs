//! Finding duplicates: which segment may hold an id.
//!
//! Constraints:
//! - An id that was never seen is answered from memory: from the ids of the segments that are not sealed yet, of which there are few, and
//!   from the [`Run`]s of the others, of which there are few as well. Only a likely duplicate is looked up in the index of its
//!   segment, which verifies it: a chance collision costs a lookup and nothing else.
//! - Bounded: beyond the most ids, those of the oldest segments are forgotten, and `since` says so.

use std::{
    collections::BTreeMap,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
};

use super::{
    home::{Damage, Form, Home},
    ids::{IdEntry, key_of},
    run::Run,
};
use crate::contract::Micros;

/// The runs of all sealed segments, newest first: put here when a segment is sealed, read by the writer.
#[derive(Default)]
pub(super) struct Runs(RwLock<Vec<Arc<Run>>>);

impl Runs {
    pub(super) fn all(&self) -> RwLockReadGuard<'_, Vec<Arc<Run>>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a run in the place of those whose segments it covers, and lets go of those that are over.
    pub(super) fn put(&self, run: Arc<Run>, now: Micros) {
        let mut runs = self.0.write().unwrap_or_else(PoisonError::into_inner);
        runs.retain(|old| (old.last < run.first || old.first > run.last) && old.until >= now);
        let place = runs.partition_point(|newer| newer.first > run.last);
        runs.insert(place, run);
    }
}

/// A segment whose ids are remembered.
struct Known {
    home: Arc<Home>,
    ids: usize,
    newest: Micros,
}

/// Which segments may hold which ids.
pub(super) struct Dedup {
    /// By the id of the segment.
    known: BTreeMap<u64, Known>,
    /// Those that were not sealed when the last one began, newest last.
    unsealed: Vec<Arc<Home>>,
    runs: Arc<Runs>,
    most: usize,
    newest: Micros,
    /// Everything accepted after this is remembered.
    pub(super) since: Micros,
}

impl Dedup {
    pub(super) fn new(most: usize, since: Micros, runs: Arc<Runs>) -> Self {
        Self { known: BTreeMap::new(), unsealed: Vec::new(), runs, most, newest: 0, since }
    }

    /// Starts a segment: what is inserted from now on is there.
    pub(super) fn start(&mut self, home: Arc<Home>) {
        self.know(home, 0, 0);
        self.unsealed.retain(|home| !matches!(home.form(), Form::File(_) | Form::Forgotten));
        self.forget();
    }

    /// Takes in a segment with the ids it has. Segments come in order.
    pub(super) fn know(&mut self, home: Arc<Home>, ids: usize, newest: Micros) {
        if !matches!(home.form(), Form::File(_)) {
            self.unsealed.push(home.clone());
        }
        self.newest = self.newest.max(newest);
        self.known.insert(home.id, Known { home, ids, newest });
    }

    /// Lets go of segments that are of no use any more, and of those beyond the bound.
    fn forget(&mut self) {
        let now = self.newest;
        self.known.retain(|_, known| match known.home.form() {
            Form::File(index) => index.summary.dedup_until >= now,
            Form::Forgotten => false,
            Form::Writing | Form::Memory(_) => true,
        });
        let mut total: usize = self.known.values().map(|known| known.ids).sum();
        while total > self.most
            && self.known.len() > 1
            && let Some((_, oldest)) = self.known.pop_first()
        {
            total -= oldest.ids;
            self.since = self.since.max(oldest.newest);
            oldest.home.cut();
        }
    }

    /// Counts an id that was put into the segment that was started last.
    pub(super) fn insert(&mut self, accepted_at: Micros) {
        self.newest = self.newest.max(accepted_at);
        if let Some(mut last) = self.known.last_entry() {
            let last = last.get_mut();
            (last.ids, last.newest) = (last.ids + 1, last.newest.max(accepted_at));
        }
    }

    /// The newest event of this id that is remembered.
    pub(super) fn find(&self, hash: u128, damage: &Damage) -> Option<IdEntry> {
        let unsealed = self.unsealed.iter().rev().find_map(|home| home.ids().find(hash));
        // After damage an older segment can be unsealed among sealed ones.
        unsealed.into_iter().chain(self.find_sealed(hash, damage)).max_by_key(|found| found.offset)
    }

    fn find_sealed(&self, hash: u128, damage: &Damage) -> Option<IdEntry> {
        for run in self.runs.all().iter() {
            for segment in run.candidates(key_of(hash)) {
                let Some(known) = self.known.get(&segment) else { continue };
                match known.home.find_id(hash) {
                    Ok(Some(found)) => return Some(found),
                    Ok(None) => {}
                    Err(error) => damage.report(&super::segment::index_name(segment), &format!("a duplicate may be stored: {error}")),
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::{
        embedded::{
            index::MemoryIndex,
            run::Keys,
            sealed::{SealedIndex, write},
        },
        testing::SimDisk,
    };

    fn entry(number: u64) -> IdEntry {
        let hash = u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(number);
        IdEntry { hash, fingerprint: 0, offset: number, accepted_at: number, until: number + 1_000_000 }
    }

    /// Segments of `per_segment` ids, all but the last two sealed, with a run for every third one.
    fn fill(dedup: &mut Dedup, numbers: std::ops::Range<u64>, per_segment: usize) {
        let disk = SimDisk::new(1);
        let numbers: Vec<u64> = numbers.collect();
        let (mut waiting, mut lists): (Vec<Arc<Home>>, Vec<Keys>) = (Vec::new(), Vec::new());
        for (chunk, id) in numbers.chunks(per_segment).zip(1..) {
            let home = Arc::new(Home::writing(id));
            dedup.start(home.clone());
            for number in chunk {
                home.ids_mut().push(entry(*number));
                dedup.insert(*number);
            }
            waiting.push(home);
            if waiting.len() > 2 {
                let home = waiting.remove(0);
                lists.push(Keys { segment: home.id, keys: home.ids().keys() });
                let run = Run::build(lists[0].segment, home.id, u64::MAX, &lists);
                if lists.len() == 3 {
                    lists.clear();
                }
                dedup.runs.put(Arc::new(run), 0);
                home.become_form(Form::File(Arc::new(sealed(&disk, &home))));
            }
        }
    }

    fn sealed(disk: &SimDisk, home: &Home) -> SealedIndex {
        let mut memory = MemoryIndex::default();
        (memory.summary.id, memory.summary.dedup_until) = (home.id, u64::MAX);
        write(disk, &memory, &home.ids(), &Run::build(home.id, home.id, 0, &[])).unwrap()
    }

    #[test]
    fn p7_every_id_is_found_and_no_other() {
        let (mut dedup, damage) = (Dedup::new(100_000, 0, Arc::default()), Damage::default());
        fill(&mut dedup, 1..20_000, 700);
        assert_eq!((dedup.runs.all().len(), dedup.unsealed.len()), (9, 3), "of 29 segments");
        for number in 1..20_000 {
            assert_eq!(dedup.find(entry(number).hash, &damage), Some(entry(number)));
        }
        assert_eq!(dedup.find(entry(20_001).hash, &damage), None);
    }

    #[test]
    fn p7_the_bound_is_kept_and_told() {
        let (mut dedup, damage) = (Dedup::new(1_000, 0, Arc::default()), Damage::default());
        fill(&mut dedup, 1..5_001, 50);
        let since = dedup.since;
        assert!((3_900..=4_150).contains(&since), "{since}");
        for number in since + 1..5_001 {
            assert_eq!(dedup.find(entry(number).hash, &damage), Some(entry(number)));
        }
        assert_eq!(dedup.find(entry(100).hash, &damage), None);
    }
}
