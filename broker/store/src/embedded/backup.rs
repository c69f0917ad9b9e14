//! A consistent copy of a store in use: what is copied, and in which order.
//!
//! Constraints:
//! - The log is taken hold of first, then the tables are copied, then the log is taken hold of again. So every frame that the copy of
//!   the tables lacks is in what is held, and none that it has is missing behind the end.
//! - Segments are append-only up to their durable end, and one that is held is not reused: copying takes its time.
//! - What the copy shall have otherwise stands in a frame of its own, behind the last one.
//! - Nobody is stopped: what is written meanwhile is in the store, and not in the copy.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::Path,
    sync::{Arc, PoisonError},
};

use bytes::{Bytes, BytesMut};
use rusqlite::Connection;

use super::{
    disk::DiskFile,
    format,
    frame::FrameBuilder,
    home::{Form, Home},
    index::Summary,
    item::push_changes,
    segment::{index_name, segment_name},
    table_file::{PATIENCE, Watermark, read_watermark},
    tables::{self, Condition},
    view::{Segment, Shared, lock},
    wire::index,
};
use crate::{
    contract::{Commit, Offset, RowChange},
    upkeep::{Backup, BackupFile, UpkeepError},
};

/// How often it is tried again when the log was trimmed while the tables were copied.
const ATTEMPTS: usize = 5;

/// The log as it was at one moment.
struct Held {
    segments: Vec<Part>,
    /// Indexes of segments that are gone, kept for their ids.
    gone: Vec<Arc<Home>>,
    first: Offset,
    next: Offset,
    next_sequence: u64,
}

/// A segment, as far as it was durable.
#[derive(Clone)]
struct Part {
    summary: Summary,
    file: Arc<dyn DiskFile>,
    home: Arc<Home>,
}

impl Held {
    fn of(shared: &Shared) -> Self {
        let (mut segments, first, next) = {
            let view = shared.view();
            let part = |segment: &Arc<Segment>| Part { summary: segment.summary, file: segment.file.clone(), home: segment.home.clone() };
            let mut segments: Vec<Part> = view.segments.iter().map(part).collect();
            let writing = &view.writing;
            segments.push(Part { summary: writing.index.summary, file: writing.file.clone(), home: writing.home.clone() });
            (segments, view.first(), view.next)
        };
        let next_sequence = segments.last().map_or(1, |last| last.summary.next_sequence);
        segments.sort_by_key(|part| part.summary.id);
        // After the view: what leaves it is here before.
        let gone = lock(&shared.gone).clone();
        Self { segments, gone, first, next, next_sequence }
    }

    /// Together with what was held before. `None` if the tables are ahead of it, or something went missing in between.
    fn joined(mut self, before: Self, tables: Watermark) -> Option<Self> {
        if tables.sequence > self.next_sequence {
            return None;
        }
        let first_id = self.segments.first()?.summary.id;
        let mut segments: Vec<Part> = before.segments.into_iter().filter(|part| part.summary.id < first_id).collect();
        segments.append(&mut self.segments);
        let follows = |pair: &[Part]| pair[1].summary.first_sequence <= pair[0].summary.next_sequence;
        let reaches_back = segments.first()?.summary.first_sequence <= tables.sequence;
        (reaches_back && segments.windows(2).all(follows)).then(|| Self { first: segments[0].summary.first, segments, ..self })
    }
}

impl Shared {
    /// Takes hold of a consistent state; the copy has these changes as well.
    pub(super) fn hold(&self, changes: Vec<RowChange>) -> Result<Backup, UpkeepError> {
        for _ in 0..ATTEMPTS {
            let before = Held::of(self);
            let (tables, watermark) = self.copy_tables()?;
            if let Some(held) = Held::of(self).joined(before, watermark) {
                return Ok(self.files(held, tables, changes)?);
            }
        }
        Err(UpkeepError::Busy)
    }

    /// The tables as they are committed now, in a file that has no name any more: whatever happens, nothing of it stays.
    fn copy_tables(&self) -> Result<(File, Watermark), UpkeepError> {
        let repair = self.tables.repair.read().unwrap_or_else(PoisonError::into_inner);
        if repair.condition != Condition::Good {
            return Err(UpkeepError::Tables { doing: "copied", why: "they are damaged and not repaired yet; try again".to_owned() });
        }
        let directory = &self.options.dir;
        let copy = directory.join(format!("{:016x}.tmp", self.number()));
        let copied = copy_into(&directory.join(tables::FILE), &copy);
        let opened = File::open(&copy);
        // If it was not made, there is nothing to remove.
        let _ = std::fs::remove_file(&copy);
        let watermark = copied.map_err(|error| UpkeepError::Tables { doing: "copied", why: error.to_string() })?;
        Ok((opened?, watermark))
    }

    fn files(&self, held: Held, tables: File, changes: Vec<RowChange>) -> io::Result<Backup> {
        let mut changes = Some(changes).filter(|changes| !changes.is_empty());
        let format = Bytes::from(format::encode(format::VERSION, self.seed.0));
        let mut files = vec![in_memory(format::FILE, format)];
        let length = tables.metadata()?.len();
        let read = move |at, length| {
            let mut bytes = vec![0; length];
            tables.read_exact_at(&mut bytes, at)?;
            Ok(bytes.into())
        };
        files.push(BackupFile::new(tables::FILE, length, Box::new(read)));
        let homes: BTreeMap<u64, &Arc<Home>> =
            held.gone.iter().chain(held.segments.iter().map(|part| &part.home)).map(|home| (home.id, home)).collect();
        for (id, home) in homes {
            // One that is not sealed yet is scanned when the copy is opened.
            if let Form::File(index) = home.form() {
                files.push(on_disk(index_name(id), index.bytes(), index.file().clone(), Bytes::new()));
            }
        }
        for part in held.segments {
            let Part { summary, file, .. } = part;
            let last = (summary.next_sequence == held.next_sequence).then(|| changes.take()).flatten();
            let frame = last.map(|rows| closing(&summary, rows)).unwrap_or_default();
            files.push(on_disk(segment_name(summary.id), summary.end, file, frame));
        }
        Ok(Backup { files, first: held.first, next: held.next })
    }
}

/// Copies the tables as they are committed. Answers how far they are.
fn copy_into(from: &Path, to: &Path) -> rusqlite::Result<Watermark> {
    let source = Connection::open(from)?;
    source.busy_timeout(PATIENCE)?;
    source.execute("VACUUM INTO ?1", [to.to_string_lossy()])?;
    Ok(read_watermark(&Connection::open(to)?)?.unwrap_or(Watermark { sequence: 1, next: 1 }))
}

fn in_memory(name: &str, content: Bytes) -> BackupFile {
    let length = content.len() as u64;
    let read = move |at, length| Ok(content.slice(index(at)..index(at) + length));
    BackupFile::new(name, length, Box::new(read))
}

/// So many bytes of a file, and what follows them in the copy.
fn on_disk(name: String, bytes: u64, file: Arc<dyn DiskFile>, more: Bytes) -> BackupFile {
    let length = bytes + more.len() as u64;
    let read = move |at: u64, length: usize| {
        let Some(left) = bytes.checked_sub(at).filter(|left| *left > 0) else {
            let start = index(at - bytes);
            return Ok(more.slice(start..start + length));
        };
        let mut read = vec![0; length.min(index(left))];
        file.read_at(&mut read, at)?;
        Ok(read.into())
    };
    BackupFile::new(name, length, Box::new(read))
}

/// The frame that the copy ends with: the changes that only it has.
fn closing(summary: &Summary, rows: Vec<RowChange>) -> Bytes {
    let mut frame = FrameBuilder::new(summary.salt, BytesMut::new());
    frame.start_call();
    push_changes(&mut frame, &Commit { rows, ..Commit::default() });
    frame.finish(summary.next_sequence, summary.next, summary.newest).bytes
}
