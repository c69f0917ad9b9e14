//! The keeper: one thread for the work that nobody waits for. It seals segments, folds tables, makes spares, and lets segments go.
//!
//! Constraints:
//! - A segment goes only after the tables cover it, in their file and not only in SQLite's log, and after its index is sealed.
//! - Names are durable before a file is used for anything else.
//! - What fails is tried again with the next job: nothing here is given up, and nothing here stops a write.

use std::{
    io,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, TryRecvError},
    },
};

use tokio::sync::oneshot;

use super::{
    check::Check,
    home::{Form, Home},
    sealing::seal,
    segment::{create_spare, index_name, segment_name},
    tables::{Tables, explain},
    view::{Segment, Shared, lock},
};
use crate::{contract::Offset, error::ReadError};

/// What the keeper is asked for.
pub(super) enum Job {
    /// The index of this segment is to get its file.
    Seal(Arc<Segment>),
    Fold,
    Trim {
        before: Offset,
        answer: oneshot::Sender<Result<Offset, ReadError>>,
    },
    Close,
}

/// The state of the keeper.
pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    pub(super) jobs: Receiver<Job>,
    /// Segments whose index has no file yet.
    pub(super) unsealed: Vec<Arc<Segment>>,
    /// What is left to look at of tables that were too large to do so at opening.
    pub(super) check: Option<Check>,
}

impl Keeper {
    /// Runs until the store is closed; then folds what is left, so that the next opening has nothing to do.
    pub(super) fn run(mut self) {
        self.seal_all();
        self.make_spare();
        while let Some(job) = self.next_job() {
            if self.handle(job) {
                break;
            }
        }
        self.seal_all();
        self.fold();
    }

    /// The next job. Until it comes, large tables are looked at, a slice at a time.
    fn next_job(&mut self) -> Option<Job> {
        while let Some(check) = &mut self.check {
            match self.jobs.try_recv() {
                Err(TryRecvError::Empty) if self.shared.check_slice(check) => {}
                Err(TryRecvError::Empty) => self.check = None,
                job => return job.ok(),
            }
        }
        self.jobs.recv().ok()
    }

    /// Does a job and those that came meanwhile. Whether the store closes.
    fn handle(&mut self, first: Job) -> bool {
        let (mut fold, mut rolled) = (false, false);
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Job::Seal(segment)) => {
                    self.unsealed.push(segment);
                    (fold, rolled) = (true, true);
                }
                Ok(Job::Fold) => fold = true,
                Ok(Job::Trim { before, answer }) => {
                    let trimmed = self.trim(before);
                    drop(answer.send(trimmed));
                }
                Ok(Job::Close) | Err(TryRecvError::Disconnected) => return true,
                Err(TryRecvError::Empty) => break,
            }
            next = self.jobs.try_recv();
        }
        if rolled {
            // A spare first: the writer may need it soon.
            self.make_spare();
            self.seal_all();
        }
        if fold {
            self.fold();
        }
        false
    }

    fn fold(&self) {
        if let Err(error) = self.shared.with_tables(Tables::fold) {
            tracing::error!(error = explain(&error), "folding into the tables failed; it is tried again");
        }
    }

    fn seal_all(&mut self) {
        // In order: a segment may take the ids of older ones into its index.
        while let Some(oldest) = self.unsealed.first() {
            if let Err(error) = seal(&self.shared, oldest) {
                tracing::error!(segment = oldest.summary.id, %error, "sealing a segment failed; it is tried again");
                return;
            }
            self.unsealed.remove(0);
        }
    }

    /// Makes a spare segment, unless there is one or the limits forbid it.
    fn make_spare(&self) {
        let (shared, options) = (&self.shared, &self.shared.options);
        let bytes = super::segment::bytes_for(options.segment_bytes, 0);
        let is_wanted = options.spare_segments > 0 && lock(&shared.spares).is_empty();
        if !is_wanted || !shared.take_space(bytes, options.cap.saturating_sub(options.reserve)) {
            return;
        }
        let name = format!("{:016x}.spare", shared.number());
        match create_spare(&*shared.disk, &name, bytes) {
            Ok(()) => {
                shared.no_space.store(false, Ordering::Relaxed);
                lock(&shared.spares).push((name, bytes));
            }
            Err(error) => {
                shared.shrink(bytes);
                tracing::warn!(%error, "no spare segment could be made");
            }
        }
    }

    fn trim(&mut self, before: Offset) -> Result<Offset, ReadError> {
        let shared = self.shared.clone();
        let going: Vec<Arc<Segment>> = {
            let view = shared.view();
            view.segments.iter().take_while(|segment| segment.summary.next <= before).cloned().collect()
        };
        if let Some(last) = going.last() {
            self.prepare(&going, last.summary.next_sequence).map_err(ReadError::Unavailable)?;
            // Here first: whoever collects the ids of all segments must not miss one.
            lock(&shared.gone).extend(going.iter().map(|segment| segment.home.clone()));
            shared.view_mut().segments.drain(..going.len());
            self.remove(going).map_err(|error| ReadError::Unavailable(format!("letting segments go: {error}")))?;
        }
        self.forget().map_err(|error| ReadError::Unavailable(format!("letting indexes go: {error}")))?;
        Ok(shared.view().first())
    }

    /// Sees to it that nothing depends on these segments any more.
    fn prepare(&mut self, going: &[Arc<Segment>], sequence: u64) -> Result<(), String> {
        self.seal_all();
        if going.iter().any(|segment| !matches!(segment.home.form(), Form::File(_))) {
            return Err("the index of a segment could not be written".into());
        }
        let folded = self.shared.with_tables(|tables| {
            if tables.watermark().sequence < sequence {
                tables.fold()?;
            }
            tables.checkpoint()
        });
        folded.map_err(|error| explain(&error))
    }

    /// Turns the files of segments into spares, or removes them.
    fn remove(&self, going: Vec<Arc<Segment>>) -> io::Result<()> {
        let (shared, disk) = (&self.shared, &self.shared.disk);
        let whole = super::segment::bytes_for(shared.options.segment_bytes, 0);
        let mut spares = Vec::new();
        for segment in going {
            let (name, bytes) = (segment_name(segment.summary.id), segment.bytes);
            // A reader may still hold the file: then its bytes must stay what they are.
            let is_free = Arc::strong_count(&segment) == 1 && Arc::strong_count(&segment.file) == 1 && bytes == whole;
            if is_free && lock(&shared.spares).len() + spares.len() < shared.options.spare_segments {
                let spare = format!("{:016x}.spare", shared.number());
                disk.rename(&name, &spare)?;
                spares.push((spare, bytes));
            } else {
                disk.remove(&name)?;
                shared.shrink(bytes);
            }
        }
        disk.sync_names()?;
        lock(&shared.spares).extend(spares);
        shared.no_space.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the indexes that were kept for their ids, once nobody can ask for those any more.
    fn forget(&self) -> io::Result<()> {
        let now = self.shared.newest();
        let is_over = |home: &Home| match home.form() {
            Form::File(index) => home.is_cut() || index.summary.dedup_until < now,
            _ => true,
        };
        let over: Vec<Arc<Home>> = {
            let mut gone = lock(&self.shared.gone);
            let (over, kept) = gone.drain(..).partition(|home| is_over(home));
            *gone = kept;
            over
        };
        for home in &over {
            if let Form::File(index) = home.form() {
                home.become_form(Form::Forgotten);
                self.shared.disk.remove(&index_name(home.id))?;
                self.shared.shrink(index.bytes());
            }
        }
        if over.is_empty() { Ok(()) } else { self.shared.disk.sync_names() }
    }
}
