//! Making an index from its segment: of one that was never sealed, and of one that is damaged.

use std::{io, sync::Arc};

use super::{
    cache::CachedFrame,
    frame::Frame,
    home::{Damage, Form, disk_error},
    ids::{IdEntry, Seed},
    index::{Lookup, LookupError, MemoryIndex},
    item::changes_in,
    scan::{End, Scanned, Visit, scan},
    sealed,
    sealing::seal_alone,
    segment::{SegmentHeader, segment_name},
    tables::Tables,
    view::{Segment, Shared, lock},
};
use crate::contract::Offset;

/// Builds the index of a segment from its frames, one behind: the last frame is not in it, nor in the tables, until [`Rebuilt::settle`].
pub(super) struct Rebuilt<'a> {
    seed: Seed,
    damage: &'a Damage,
    /// Where changes go that the tables do not have.
    tables: Option<&'a Tables>,
    id: u64,
    pub(super) index: MemoryIndex,
    pub(super) ids: Vec<IdEntry>,
    scratch: Vec<u8>,
    /// The newest frame.
    pub(super) last: Option<(u64, Frame)>,
}

impl<'a> Rebuilt<'a> {
    pub(super) fn new(header: &SegmentHeader, seed: Seed, damage: &'a Damage, tables: Option<&'a Tables>) -> Self {
        let mut index = MemoryIndex::default();
        index.summary.id = header.id;
        index.summary.salt = header.salt;
        index.summary.first = header.first;
        index.summary.next = header.first;
        index.summary.first_sequence = header.first_sequence;
        index.summary.next_sequence = header.first_sequence;
        index.summary.newest = header.newest;
        index.summary.end = super::frame::SECTOR;
        Self { seed, damage, tables, id: header.id, index, ids: Vec::new(), scratch: Vec::new(), last: None }
    }

    /// Takes the newest frame in.
    pub(super) fn settle(&mut self) {
        let Some((position, frame)) = self.last.take() else { return };
        if let Some(tables) = self.tables {
            tables.apply(changes_in(&frame), frame.header.sequence + 1, frame.header.next());
        }
        let (seed, scratch, ids) = (self.seed, &mut self.scratch, &mut self.ids);
        let cached = CachedFrame::new(&frame, seed, |offset, item| ids.push(IdEntry::of(seed, offset, item, scratch)));
        self.index.add(position, &frame, &cached);
    }

    fn report(&self, position: u64, what: &str, from: Offset, to: Offset) {
        let place = format!("{} at {position}", segment_name(self.id));
        self.damage.report(&place, &format!("{what}; offsets {from} to {to} are affected"));
    }
}

impl Visit for Rebuilt<'_> {
    fn frame(&mut self, position: u64, frame: &Frame) {
        self.settle();
        if !frame.is_whole() {
            self.report(position, "a frame is damaged, what is good of it is kept", frame.header.first, frame.header.next());
        }
        self.last = Some((position, frame.clone()));
    }

    fn lost(&mut self, position: u64, from: Offset, to: Offset) {
        self.settle();
        self.report(position, "frames are lost", from, to);
        self.index.lose(from, to);
    }
}

/// Where scanning a segment starts.
pub(super) fn start_of(header: &SegmentHeader) -> Scanned {
    Scanned { position: super::frame::SECTOR, next_sequence: header.first_sequence, next: header.first, torn: false }
}

impl Shared {
    /// Asks the index of a segment that is not being written. A damaged one is made again first.
    pub(super) fn ask_index<T>(&self, segment: &Segment, ask: impl Fn(&dyn Lookup) -> Result<T, LookupError>) -> io::Result<T> {
        let look = || segment.home.lookup().map_or(Err(LookupError::Damaged), |index| ask(&*index));
        let answer = match look() {
            Err(LookupError::Damaged) => {
                self.rebuild(segment)?;
                look()
            }
            answer => answer,
        };
        answer.map_err(disk_error)
    }

    /// Makes the index of a segment again, because the file that has it is damaged.
    fn rebuild(&self, segment: &Segment) -> io::Result<()> {
        let summary = &segment.summary;
        let Form::File(damaged) = segment.home.form() else { return Ok(()) };
        let one_at_a_time = lock(&self.sealing);
        // Who else found it damaged has mended it meanwhile.
        if !matches!(segment.home.form(), Form::File(now) if Arc::ptr_eq(&now, &damaged)) {
            return Ok(());
        }
        let name = super::segment::index_name(summary.id);
        self.damage.report(&name, "the index is made again from its segment");
        let header = SegmentHeader {
            id: summary.id,
            salt: summary.salt,
            first_sequence: summary.first_sequence,
            first: summary.first,
            seed: self.seed.0,
            newest: 0,
            dedup_since: 0,
        };
        let mut rebuilt = Rebuilt::new(&header, self.seed, &self.damage, None);
        let end = End::Next { sequence: summary.next_sequence, offset: summary.next };
        scan(&*segment.file, &header, start_of(&header), end, &mut rebuilt)?;
        rebuilt.settle();
        let Rebuilt { mut index, ids, .. } = rebuilt;
        index.summary = *summary;
        self.shrink(damaged.bytes());
        segment.home.ids_mut().extend(ids);
        self.grow(sealed::size_of(&index, &segment.home.ids()));
        segment.home.become_form(Form::Memory(Arc::new(index)));
        if let Err(error) = seal_alone(self, segment, &one_at_a_time) {
            tracing::warn!(name, %error, "the index stays in memory until a later segment begins");
        }
        Ok(())
    }
}
