//! From one segment to the next: when it is full, and after a write that failed.
//!
//! Constraints:
//! - A file that may have failed to sync is never written again. A segment that was half made is no spare any more.
//! - Recovering needs no permission of the limits: without it nothing could be settled any more.

use std::{
    io,
    sync::{Arc, atomic::Ordering},
};

use super::{
    cache::CachedFrame,
    frame::{Frame, SECTOR},
    home::Home,
    ids::IdEntry,
    item::{Change, changes_in},
    keeper::Job,
    request::Request,
    salt::random,
    scan::frame_at,
    sealed,
    segment::{SegmentHeader, activate, bytes_for, create_spare, segment_name},
    view::{Writing, lock},
    writer::Writer,
};

impl Writer {
    /// Begins the next segment if a request does not fit and the limits allow it. If they do not, the request will not fit.
    pub(super) fn make_room(&mut self, request: &Request) {
        // A frame of a whole call always fits into a fresh segment, whatever size segments have.
        let needed = request.cost() + SECTOR;
        if needed <= self.active.room() {
            return;
        }
        let may_use_reserve = match request {
            Request::Write(write) => write.commit.claim.is_some(),
            Request::Claim { .. } | Request::Close => true,
        };
        let options = &self.shared.options;
        let limit = if may_use_reserve { options.cap } else { options.cap.saturating_sub(options.reserve) };
        let bytes = bytes_for(options.segment_bytes, needed);
        let was_full = self.shared.no_space.load(Ordering::Relaxed);
        match self.begin_segment(bytes, limit, None) {
            Err(error) if error.kind() == io::ErrorKind::QuotaExceeded => {}
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                if !was_full {
                    tracing::error!("the file system has no room for a segment; writes are refused until it has");
                }
            }
            Err(error) => {
                tracing::error!(%error, "no segment could be begun; the writer tries again");
                self.failed = Some(format!("no segment could be begun: {error}"));
            }
        }
    }

    /// Begins a new segment, with a frame that it must start with.
    fn begin_segment(&mut self, bytes: u64, limit: u64, carried: Option<&Frame>) -> io::Result<()> {
        self.shared.bound_unsealed()?;
        let (name, bytes) = self.take_spare(bytes, limit)?;
        let header = SegmentHeader {
            id: self.active.header.id + 1,
            salt: random(),
            first_sequence: self.active.next_sequence,
            first: self.next,
            seed: self.shared.seed.0,
            newest: self.newest,
            dedup_since: self.dedup.since,
        };
        let begun = activate(&*self.shared.disk, &name, header, carried);
        let (active, carried) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                // Half made: what it has become is not known. It is no spare any more, and recovery looks at what there is.
                self.abandon(&name, header.id, bytes);
                return Err(error);
            }
        };
        let home = Arc::new(Home::writing(header.id));
        let segment = {
            let mut view = self.shared.view_mut();
            let before = std::mem::replace(&mut view.writing, Writing::of(&active, home.clone()));
            let segment = Arc::new(before.into_segment());
            view.segments.push(segment.clone());
            segment
        };
        self.active = active;
        self.home = home.clone();
        self.dedup.start(home);
        self.shared.dedup_since.store(self.dedup.since, Ordering::Relaxed);
        let _ = self.keeper.send(Job::Seal(segment));
        if let Some(frame) = carried {
            self.carry_on(&frame);
        }
        Ok(())
    }

    /// Takes in the frame that a segment began with.
    fn carry_on(&mut self, frame: &Frame) {
        let position = SECTOR;
        let (seed, mut scratch, mut entries) = (self.shared.seed, Vec::new(), Vec::new());
        let cached = CachedFrame::new(frame, seed, |offset, item| entries.push(IdEntry::of(seed, offset, item, &mut scratch)));
        entries.into_iter().for_each(|entry| self.remember(entry));
        self.advance(position, frame);
        self.newest = self.newest.max(frame.header.newest);
        let changes = changes_in(frame);
        for change in &changes {
            if let Change::Claimed { owner, epoch } = change {
                self.epochs.insert(owner.clone(), *epoch);
            }
        }
        self.show(position, frame, cached, changes);
    }

    /// A file for the next segment: a spare one, or a new one. It counts from then on, and so does the index of the segment that ends.
    fn take_spare(&self, bytes: u64, limit: u64) -> io::Result<(String, u64)> {
        let index = {
            let view = self.shared.view();
            sealed::size_of(&view.writing.index, &self.home.ids())
        };
        {
            let mut spares = lock(&self.shared.spares);
            if let Some(place) = spares.iter().position(|(_, spare)| *spare >= bytes) {
                let is_allowed = self.shared.take_space(index, limit);
                return if is_allowed { Ok(spares.swap_remove(place)) } else { Err(io::ErrorKind::QuotaExceeded.into()) };
            }
        }
        if !self.shared.take_space(bytes + index, limit) {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let name = format!("{:016x}.spare", self.shared.number());
        let made = create_spare(&*self.shared.disk, &name, bytes);
        let is_full = matches!(&made, Err(error) if error.kind() == io::ErrorKind::StorageFull);
        self.shared.no_space.store(is_full, Ordering::Relaxed);
        if let Err(error) = made {
            self.shared.shrink(bytes + index);
            return Err(error);
        }
        Ok((name, bytes))
    }

    /// Gets rid of a file that was to become a segment, under either of its names.
    fn abandon(&self, spare: &str, id: u64, bytes: u64) {
        let disk = &self.shared.disk;
        let gone = disk.remove(spare).is_ok() | disk.remove(&segment_name(id)).is_ok();
        if gone && disk.sync_names().is_ok() {
            self.shared.shrink(bytes);
        }
    }

    /// Goes on after a failed write: in a new segment, with the frame that failed if it can be read back whole.
    pub(super) fn recover(&mut self) {
        match self.try_recover() {
            Ok(()) => {
                self.failed = None;
                tracing::warn!(segment = self.active.header.id, "the log goes on in a new segment");
            }
            Err(error) => self.failed = Some(format!("the log cannot go on in a new segment: {error}")),
        }
    }

    fn try_recover(&mut self) -> io::Result<()> {
        let disk = self.shared.disk.clone();
        let file = disk.open(&segment_name(self.active.header.id))?;
        let found = frame_at(&*file, self.active.header.salt, self.active.position, file.len()?)?;
        let carried = found.filter(|frame| frame.is_whole() && frame.header.sequence == self.active.next_sequence);
        let bytes = carried.as_ref().map_or(0, |frame| frame.bytes.len() as u64);
        // Recovering needs no permission: without it nothing could be settled any more.
        self.begin_segment(bytes_for(self.shared.options.segment_bytes, bytes), u64::MAX, carried.as_ref())
    }
}
