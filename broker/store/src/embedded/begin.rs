//! Opening: the segment that will be written.
//!
//! Constraints:
//! - Nothing is written into a segment that was found. The last frame found may be in no more than the operating system's memory, so it
//!   begins the new segment: what is served after opening is durable.
//! - Without room for a segment the log is as after a failed write: all but its last frame is served, and the writer goes on once there is
//!   room.

use std::{io, sync::Arc};

use super::{
    frame::{Frame, SECTOR},
    home::Home,
    inventory::next_id,
    recovery::Recovery,
    salt::random,
    segment::{Active, SegmentHeader, activate, bytes_for, create_spare, segment_name},
    view::Writing,
};

/// The last segment found.
pub(super) struct Last {
    pub(super) header: SegmentHeader,
    /// With all but the last frame.
    pub(super) writing: Writing,
    /// The last frame, to begin the new segment with, and where it is.
    pub(super) frame: Option<(u64, Frame)>,
}

/// How the log goes on.
pub(super) struct Begun {
    pub(super) active: Active,
    pub(super) writing: Writing,
    /// The frame that the segment was begun with.
    pub(super) carried: Option<Frame>,
    /// Why there is no new segment: then the active one is the last one found, without room for anything.
    pub(super) failed: Option<String>,
}

impl Recovery {
    /// Begins a segment. The last one found is then over; if it is left without any frame, it goes.
    pub(super) fn begin(&mut self) -> io::Result<Begun> {
        let last = self.last.take();
        let frame = last.as_ref().and_then(|last| last.frame.as_ref()).map(|(_, frame)| frame);
        match (self.begin_segment(frame), last) {
            (Ok((active, carried)), last) => {
                if let Some(Last { writing, .. }) = last {
                    self.end(writing)?;
                }
                let home = Arc::new(Home::writing(active.header.id));
                Ok(Begun { writing: Writing::of(&active, home), active, carried, failed: None })
            }
            (Err(error), Some(last)) if error.kind() == io::ErrorKind::StorageFull => {
                tracing::error!("the file system has no room for a segment; what there is is served, writes are refused until it has");
                Ok(self.wait_for_room(last, &error))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn begin_segment(&mut self, frame: Option<&Frame>) -> io::Result<(Active, Option<Frame>)> {
        let bytes = bytes_for(self.options.segment_bytes, frame.map_or(0, |frame| frame.bytes.len() as u64));
        let spare = self.spares.iter().position(|(_, spare)| *spare >= bytes);
        let name = match spare {
            Some(place) => self.spares.swap_remove(place).0,
            None => {
                let name = format!("{:016x}.spare", random());
                create_spare(&*self.disk, &name, bytes)?;
                name
            }
        };
        let header = SegmentHeader {
            id: next_id(&*self.disk)?,
            salt: random(),
            first_sequence: self.next_sequence,
            first: self.next,
            seed: self.seed.0,
            newest: self.newest,
            dedup_since: self.dedup_since,
        };
        activate(&*self.disk, &name, header, frame)
    }

    fn end(&mut self, last: Writing) -> io::Result<()> {
        let summary = &last.index.summary;
        if summary.end == SECTOR && summary.first == summary.next {
            // Its only frame went on into the new one.
            self.disk.remove(&segment_name(summary.id))?;
            return self.disk.sync_names();
        }
        self.take_unsealed(last);
        Ok(())
    }

    fn wait_for_room(&self, last: Last, error: &io::Error) -> Begun {
        let Last { header, mut writing, frame } = last;
        let position = frame.map_or(writing.index.summary.end, |(position, _)| position);
        // What the tables know and the log does not.
        writing.index.lose(writing.index.summary.next, self.next);
        let (file, log) = (writing.file.clone(), writing.file.clone());
        let active = Active { header, file, log, bytes: position, position, next_sequence: self.next_sequence };
        Begun { active, writing, carried: None, failed: Some(format!("no segment could be begun: {error}")) }
    }
}
