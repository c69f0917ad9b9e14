//! The log as readers see it, and what all parts of the store share.
//!
//! Constraints:
//! - The view shows durable frames only. The writer changes it once per frame, under a short lock.
//! - Nothing waits for the disk under the lock.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    cache::{Cache, CachedFrame},
    dedup::Runs,
    disk::{Disk, DiskFile},
    frame::Frame,
    home::{Damage, Form, Home},
    ids::Seed,
    index::{MemoryIndex, Summary},
    options::EmbeddedOptions,
    sealed,
    segment::{Active, segment_name},
    tables::Tables,
};
use crate::{
    contract::{DiskState, Micros, Offset, SegmentState},
    limits::MAX_EVENT_BYTES,
};

/// Bytes by which the tables may grow without asking.
const SLACK: u64 = 64 * 1024;

/// A segment that gets no more frames.
pub(super) struct Segment {
    pub(super) summary: Summary,
    pub(super) bytes: u64,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) home: Arc<Home>,
}

/// The segment that is being written, as far as it is durable.
pub(super) struct Writing {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) bytes: u64,
    pub(super) home: Arc<Home>,
    pub(super) index: MemoryIndex,
}

impl Writing {
    pub(super) fn of(active: &Active, home: Arc<Home>) -> Self {
        let header = &active.header;
        let summary = Summary {
            id: header.id,
            salt: header.salt,
            first: header.first,
            next: header.first,
            first_sequence: header.first_sequence,
            next_sequence: header.first_sequence,
            newest: header.newest,
            dedup_until: 0,
            end: active.position,
        };
        Self { file: active.file.clone(), bytes: active.bytes, home, index: MemoryIndex { summary, ..MemoryIndex::default() } }
    }

    /// What it becomes when the next one starts.
    pub(super) fn into_segment(self) -> Segment {
        let summary = self.index.summary;
        self.home.become_form(Form::Memory(Arc::new(self.index)));
        Segment { summary, bytes: self.bytes, file: self.file, home: self.home }
    }
}

/// The durable log.
pub(super) struct View {
    /// Oldest first.
    pub(super) segments: Vec<Arc<Segment>>,
    pub(super) writing: Writing,
    pub(super) cache: Cache,
    pub(super) next: Offset,
}

impl View {
    /// The first offset that may be read.
    pub(super) fn first(&self) -> Offset {
        self.segments.first().map_or(self.writing.index.summary.first, |segment| segment.summary.first)
    }
}

/// What all parts of a store share.
pub(super) struct Shared {
    pub(super) options: EmbeddedOptions,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) seed: Seed,
    pub(super) view: RwLock<View>,
    pub(super) tail: watch::Sender<Offset>,
    pub(super) tables: Tables,
    pub(super) damage: Arc<Damage>,
    /// Bytes of the whole directory.
    pub(super) used: AtomicU64,
    /// Names of files that can become segments, with their sizes.
    pub(super) spares: Mutex<Vec<(String, u64)>>,
    /// Indexes of segments that are gone, which are kept for their ids.
    pub(super) gone: Mutex<Vec<Arc<Home>>>,
    pub(super) dedup_since: AtomicU64,
    /// The ids of sealed segments.
    pub(super) runs: Arc<Runs>,
    /// Held while a segment is sealed.
    pub(super) sealing: Mutex<()>,
    /// Set while the file system has no room for a segment.
    pub(super) no_space: AtomicBool,
    /// Places whose damage was reported: segment and position.
    pub(super) reported: Mutex<HashSet<(u64, u64)>>,
    /// The next number for a name that nobody has.
    pub(super) numbers: AtomicU64,
}

/// A lock that nothing panics under; if something did, what it protects is still whole.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(super) fn view(&self) -> RwLockReadGuard<'_, View> {
        self.view.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn view_mut(&self) -> RwLockWriteGuard<'_, View> {
        self.view.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    pub(super) fn grow(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Takes bytes for something that is about to be made, if `limit` allows it.
    pub(super) fn take_space(&self, bytes: u64, limit: u64) -> bool {
        let take = |used: u64| (used.saturating_add(bytes).saturating_add(SLACK) <= limit).then_some(used.saturating_add(bytes));
        self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    pub(super) fn shrink(&self, bytes: u64) {
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| Some(used.saturating_sub(bytes)));
    }

    /// A number that no name of a spare or a set-aside file has yet.
    pub(super) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows a durable frame to readers.
    pub(super) fn publish(&self, position: u64, frame: &Frame, cached: CachedFrame) {
        let cached = Arc::new(cached);
        let gone;
        {
            let mut view = self.view_mut();
            view.writing.index.add(position, frame, &cached);
            view.next = cached.next;
            gone = view.cache.push(cached);
        }
        drop(gone);
    }

    /// Wakes those who wait for events.
    pub(super) fn wake(&self) {
        let next = self.view().next;
        self.tail.send_if_modified(|seen| std::mem::replace(seen, next) != next);
    }

    /// Runs something that changes the size of the tables, and counts the change.
    pub(super) fn with_tables<T>(&self, run: impl Fn(&Tables) -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let before = self.tables.bytes();
        let result = self.repairing(run);
        self.grow(self.tables.bytes());
        self.shrink(before);
        result
    }

    pub(super) fn newest(&self) -> Micros {
        self.view().writing.index.summary.newest
    }

    /// Where the bytes of a file that cannot be served are kept for a human to look at. Best effort: it must not stop recovery.
    pub(super) fn set_aside(disk: &dyn Disk, name: &str, bytes: &[u8]) -> io::Result<u64> {
        let file = match disk.create(name, 0) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => disk.open(name)?,
            other => other?,
        };
        file.write_at(bytes, 0)?;
        file.sync()?;
        Ok(bytes.len() as u64)
    }

    pub(super) fn state(&self) -> DiskState {
        let (used, options) = (self.used(), &self.options);
        let view = self.view();
        let spare = !lock(&self.spares).is_empty();
        let writing = &view.writing;
        let has_room = writing.bytes.saturating_sub(writing.index.summary.end) >= MAX_EVENT_BYTES as u64 + 512;
        let needed = if has_room || spare { 0 } else { super::segment::bytes_for(options.segment_bytes, MAX_EVENT_BYTES as u64 + 512) };
        let needed = if has_room { 0 } else { needed + sealed::size_of(&writing.index, &writing.home.ids()) + SLACK };
        let full = used + needed > options.cap.saturating_sub(options.reserve) || self.no_space.load(Ordering::Relaxed);
        let state = |summary: &Summary, bytes| SegmentState { first: summary.first, next: summary.next, bytes, newest: summary.newest };
        let mut segments: Vec<_> = view.segments.iter().map(|segment| state(&segment.summary, segment.bytes)).collect();
        segments.push(SegmentState { next: view.next, ..state(&writing.index.summary, writing.bytes) });
        DiskState {
            used,
            cap: options.cap,
            reserve: options.reserve,
            full,
            first: view.first(),
            next: view.next,
            segments,
            dedup_since: self.dedup_since.load(Ordering::Relaxed),
            damage: self.damage.count(),
        }
    }
}

/// Where the bytes of a torn write are set aside.
pub(super) fn torn_name(id: u64, position: u64) -> String {
    format!("{}.{position:x}.torn", segment_name(id))
}
