//! Opening: from whatever is in the directory to a log that can be written.
//!
//! Constraints:
//! - Only segments without an index are scanned: those that were not sealed yet.
//! - What is damaged is reported and contained: the rest is served.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, AtomicU64},
    },
};

use tokio::sync::watch;

use super::{
    begin::{Begun, Last},
    cache::{Cache, CachedFrame},
    dedup::Dedup,
    disk::Disk,
    frame::SECTOR,
    home::{Damage, Form, Home},
    ids::{IdEntry, Seed},
    index::{Lookup, LookupError, Summary},
    inventory::{Found, Remembered, find_segments, remember, seed, spares},
    item::changes_in,
    options::{EmbeddedOptions, OpenError},
    rebuild::{Rebuilt, start_of},
    repair::changed_frame,
    salt::random,
    scan::{End, scan},
    sealed::{SealedIndex, size_of},
    segment::{Active, index_name, read_bytes, segment_name},
    tables::{self, Tables},
    view::{Segment, Shared, View, Writing, torn_name},
};
use crate::contract::{Micros, Offset};

/// What opening leads to.
pub(super) struct Opened {
    pub(super) shared: Shared,
    pub(super) active: Active,
    pub(super) home: Arc<Home>,
    pub(super) dedup: Dedup,
    pub(super) epochs: HashMap<Arc<str>, u64>,
    pub(super) newest: Micros,
    pub(super) unsealed: Vec<Arc<Segment>>,
    /// Why nothing can be written yet, if so.
    pub(super) failed: Option<String>,
}

/// Opening, step by step.
pub(super) struct Recovery {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) options: EmbeddedOptions,
    damage: Arc<Damage>,
    tables: Tables,
    pub(super) seed: Seed,
    segments: Vec<Arc<Segment>>,
    unsealed: Vec<Arc<Segment>>,
    pub(super) last: Option<Last>,
    pub(super) next_sequence: u64,
    pub(super) next: Offset,
    pub(super) newest: Micros,
    pub(super) dedup_since: Micros,
    pub(super) spares: Vec<(String, u64)>,
}

/// Opens a directory.
pub(super) fn recover(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Opened, OpenError> {
    let dir = options.dir.clone();
    let failed = |doing: &'static str| {
        let dir = dir.clone();
        move |source: io::Error| OpenError::Disk { dir, doing, source }
    };
    let tables_failed = |source| OpenError::Tables { dir: dir.clone(), source };
    let damage = Arc::new(Damage::default());
    let found = find_segments(&*disk, &damage).map_err(failed("looking for segments"))?;
    let seed = seed(&*disk, &options, &found, &damage)?;
    if !found.is_empty() && !options.dir.join(tables::FILE).exists() {
        damage.report(tables::FILE, "the tables are missing; what the log still has is folded again");
    }
    let spares = spares(&*disk, &options).map_err(failed("looking for spare segments"))?;
    let tables = Tables::open(&options.dir, options.fold_bytes, damage.clone()).map_err(tables_failed)?;
    let mut recovery = Recovery {
        disk,
        options,
        damage,
        tables,
        seed,
        segments: Vec::new(),
        unsealed: Vec::new(),
        last: None,
        next_sequence: 1,
        next: 1,
        newest: 0,
        dedup_since: 0,
        spares,
    };
    recovery.read_log(found).map_err(failed("reading the log"))?;
    recovery.check_tables();
    let begun = recovery.begin().map_err(failed("beginning a segment"))?;
    recovery.finish(begun).map_err(|error| match error {
        Trouble::Disk(error) => failed("restoring ids")(error),
        Trouble::Tables(error) => tables_failed(error),
    })
}

enum Trouble {
    Disk(io::Error),
    Tables(rusqlite::Error),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Disk(error)
    }
}

impl Recovery {
    fn read_log(&mut self, found: Vec<Found>) -> io::Result<()> {
        let nexts: Vec<Option<(u64, Offset)>> =
            found.iter().skip(1).map(|next| Some((next.header.first_sequence, next.header.first))).chain([None]).collect();
        if let Some(first) = found.first() {
            (self.next_sequence, self.next) = (first.header.first_sequence, first.header.first);
            let watermark = self.tables.watermark();
            if watermark.sequence < self.next_sequence {
                self.damage.report(tables::FILE, "what was folded from segments that are gone is lost: older records and rows are missing");
                self.tables.base_is_lost(true);
            }
        }
        for (found, next) in found.into_iter().zip(nexts) {
            let (is_first, header) = (self.segments.is_empty(), &found.header);
            if !is_first && (header.first_sequence > self.next_sequence || header.first > self.next) {
                let cost = format!("segments are missing: offsets {} to {} cannot be served", self.next, header.first);
                self.damage.report("the log", &cost);
            }
            self.newest = self.newest.max(found.header.newest);
            self.dedup_since = self.dedup_since.max(found.header.dedup_since);
            match self.sealed(&found, next) {
                Some(index) => self.take_sealed(&found, index, next)?,
                None => self.take_scanned(&found, next)?,
            }
        }
        Ok(())
    }

    /// The index of a segment, if it is there and good. The last segment's is not asked: it was being written.
    fn sealed(&self, found: &Found, next: Option<(u64, Offset)>) -> Option<SealedIndex> {
        let (sequence, _) = next?;
        let name = index_name(found.header.id);
        let file = self.disk.open(&name).ok()?;
        let index = SealedIndex::open(file, found.header.id).ok();
        let fits = |index: &SealedIndex| {
            let summary = &index.summary;
            summary.salt == found.header.salt && summary.first_sequence == found.header.first_sequence && summary.next_sequence <= sequence
        };
        let index = index.filter(fits);
        if index.is_none() {
            self.damage.report(&name, "the index is made again from its segment");
        }
        index
    }

    fn take_sealed(&mut self, found: &Found, index: SealedIndex, next: Option<(u64, Offset)>) -> io::Result<()> {
        let summary = index.summary;
        let watermark = self.tables.watermark().sequence;
        if summary.next_sequence > watermark {
            match index.frames(0, usize::MAX) {
                Ok(frames) => self.replay(found, &frames, watermark)?,
                Err(LookupError::Damaged) => {
                    self.damage.report(&index_name(summary.id), "the index is made again from its segment");
                    return self.take_scanned(found, next);
                }
                Err(LookupError::Disk(error)) => return Err(error),
            }
        }
        self.tables.apply([], summary.next_sequence, summary.next);
        self.go_on_after(&summary);
        let home = Arc::new(Home::sealed(index));
        self.segments.push(Arc::new(Segment { summary, bytes: found.file.len()?, file: found.file.clone(), home }));
        Ok(())
    }

    /// Takes in a segment that gets no more frames and has no index yet.
    pub(super) fn take_unsealed(&mut self, written: Writing) {
        let segment = Arc::new(written.into_segment());
        self.segments.push(segment.clone());
        self.unsealed.push(segment);
    }

    fn go_on_after(&mut self, summary: &Summary) {
        (self.next_sequence, self.next) = (summary.next_sequence, summary.next);
        self.newest = self.newest.max(summary.newest);
    }

    /// Applies the changes of the frames that the tables do not have.
    fn replay(&self, found: &Found, frames: &[super::index::FrameSpot], watermark: u64) -> io::Result<()> {
        for spot in frames.iter().filter(|spot| spot.changes && spot.sequence >= watermark) {
            if let Some(frame) = changed_frame(&self.damage, &*found.file, (found.header.id, found.header.salt), spot)? {
                self.tables.apply(changes_in(&frame), frame.header.sequence + 1, frame.header.next());
            }
        }
        Ok(())
    }

    fn take_scanned(&mut self, found: &Found, next: Option<(u64, Offset)>) -> io::Result<()> {
        let end = next.map_or(End::Tail, |(sequence, offset)| End::Next { sequence, offset });
        let damage = self.damage.clone();
        let mut rebuilt = Rebuilt::new(&found.header, self.seed, &damage, Some(&self.tables));
        let scanned = scan(&*found.file, &found.header, start_of(&found.header), end, &mut rebuilt)?;
        let mut frame = None;
        if next.is_none() {
            if scanned.torn {
                self.set_torn_aside(found, scanned.position);
            }
            // If the tables know of later frames, this one was synced long ago.
            if self.tables.watermark().sequence <= scanned.next_sequence {
                frame = rebuilt.last.take();
            }
        }
        rebuilt.settle();
        let Rebuilt { mut index, ids, .. } = rebuilt;
        if frame.is_none() {
            index.summary.next_sequence = index.summary.next_sequence.max(scanned.next_sequence);
            index.summary.next = index.summary.next.max(scanned.next);
        }
        self.go_on_after(&index.summary);
        let home = Arc::new(Home::writing(found.header.id));
        home.ids_mut().extend(ids);
        let writing = Writing { file: found.file.clone(), bytes: found.file.len()?, home, index };
        match next {
            Some(_) => self.take_unsealed(writing),
            None => self.last = Some(Last { header: found.header, writing, frame }),
        }
        Ok(())
    }

    /// Keeps the bytes of a torn write for a human to look at.
    fn set_torn_aside(&self, found: &Found, position: u64) {
        let name = torn_name(found.header.id, position);
        let length = found.file.len().unwrap_or(position).saturating_sub(position).min(super::frame::MAX_FRAME);
        let kept = read_bytes(&*found.file, position, length).and_then(|bytes| {
            let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            Shared::set_aside(&*self.disk, &name, &bytes[..end])
        });
        if let Err(error) = kept {
            tracing::warn!(%error, name, "the bytes of a torn write could not be set aside");
        }
        let place = format!("{} at {position}", segment_name(found.header.id));
        self.damage.report(&place, &format!("the last write was cut; it is set aside as {name}"));
    }

    /// What the tables know and the log does not is lost: offsets must not be given out twice all the same.
    fn check_tables(&mut self) {
        let watermark = self.tables.watermark();
        let (sequence, next) = match self.last.as_ref().and_then(|last| last.frame.as_ref()) {
            Some((_, frame)) => (frame.header.sequence + 1, frame.header.next()),
            None => (self.next_sequence, self.next),
        };
        if watermark.sequence > sequence || watermark.next > next {
            let cost = format!("the end of the log is lost: offsets {next} to {} cannot be served", watermark.next);
            self.damage.report("the log", &cost);
            self.next_sequence = watermark.sequence.max(sequence);
            self.next = watermark.next.max(next);
        }
    }

    fn finish(mut self, begun: Begun) -> Result<Opened, Trouble> {
        let Begun { active, mut writing, carried, failed } = begun;
        let home = writing.home.clone();
        let times = (self.dedup_since, self.newest);
        let Remembered { mut dedup, runs, gone } = remember(&*self.disk, &self.options, &self.segments, times, &self.damage)?;
        dedup.start(home.clone());
        home.ids().entries().iter().filter(|id| id.is_remembered()).for_each(|id| dedup.insert(id.accepted_at));
        let mut cache = Cache::new(self.options.cache_bytes, self.next);
        let mut next = self.next;
        if let Some(frame) = carried {
            let (seed, mut scratch) = (self.seed, Vec::new());
            let cached = CachedFrame::new(&frame, seed, |offset, item| {
                let entry = IdEntry::of(seed, offset, item, &mut scratch);
                if entry.is_remembered() {
                    dedup.insert(entry.accepted_at);
                }
                home.ids_mut().push(entry);
            });
            let cached = Arc::new(cached);
            writing.index.add(SECTOR, &frame, &cached);
            self.tables.apply(changes_in(&frame), frame.header.sequence + 1, frame.header.next());
            self.newest = self.newest.max(frame.header.newest);
            next = cached.next;
            cache.push(cached);
        }
        self.tables.base_is_lost(false);
        let used = self.measure()?;
        let since = AtomicU64::new(dedup.since);
        let shared = Shared {
            options: self.options,
            disk: self.disk,
            seed: self.seed,
            view: RwLock::new(View { segments: self.segments, writing, cache, next }),
            tail: watch::channel(next).0,
            tables: self.tables,
            damage: self.damage,
            used: AtomicU64::new(used),
            spares: Mutex::new(self.spares),
            gone: Mutex::new(gone),
            dedup_since: since,
            runs,
            sealing: Mutex::default(),
            no_space: AtomicBool::new(failed.is_some()),
            reported: Mutex::default(),
            numbers: AtomicU64::new(random() >> 16),
        };
        let epochs = newest_epochs(shared.with_tables(Tables::epochs).map_err(Trouble::Tables)?);
        Ok(Opened { shared, active, home, dedup, epochs, newest: self.newest, unsealed: self.unsealed, failed })
    }

    /// Bytes of everything in the directory.
    fn measure(&self) -> io::Result<u64> {
        let mut used = self.tables.bytes();
        // An index that is made again counts as the new one.
        let is_replaced = |name: &str| self.unsealed.iter().any(|segment| index_name(segment.summary.id) == name);
        for name in self
            .disk
            .names()?
            .iter()
            .filter(|name| !name.starts_with(tables::FILE) && !name.starts_with(crate::JOURNAL_FILE) && !is_replaced(name))
        {
            used += self.disk.open(name)?.len()?;
        }
        // The indexes that are yet to be written count from the end of their segments on.
        let unsealed = self.unsealed.iter().map(|segment| match segment.home.form() {
            Form::Memory(index) => size_of(&index, &segment.home.ids()),
            _ => 0,
        });
        Ok(used + unsealed.sum::<u64>())
    }
}

fn newest_epochs(all: Vec<(Arc<str>, u64)>) -> HashMap<Arc<str>, u64> {
    let mut epochs = HashMap::with_capacity(all.len());
    for (owner, epoch) in all {
        let newest = epochs.entry(owner).or_insert(epoch);
        *newest = epoch.max(*newest);
    }
    epochs
}
