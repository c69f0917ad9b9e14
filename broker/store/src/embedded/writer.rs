//! The writer: one thread that owns the segment being written, and with it the order of everything.
//!
//! Constraints:
//! - What queued up while the last sync ran becomes one frame. It never lingers: an idle queue is written at once.
//! - Every decision (duplicate, fenced, full, which offset) falls here, in order. What is decided for a frame that then fails is undone.
//! - After a failed write or sync the outcome is unknown. The file is never written or synced again: a new segment begins, with the
//!   frame in it if it can be read back whole, and without it if not.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use bytes::BytesMut;
use tokio::sync::oneshot;

use super::{
    cache::CachedFrame,
    dedup::Dedup,
    frame::{Frame, FrameBuilder, MAX_FRAME},
    home::Home,
    ids::IdEntry,
    item::{Change, changes_of, push_changes, push_claim, push_event},
    keeper::Job,
    request::{OnConflict, Request, Write},
    segment::Active,
    view::Shared,
};
use crate::{
    contract::{Appended, Duplicate, Micros, Offset},
    error::{AppendError, ClaimError, CommitError},
};

/// How long the writer waits before it tries again to recover by itself.
const RETRY: Duration = Duration::from_millis(200);

/// The most calls in a frame.
const MAX_CALLS: u16 = 60_000;

/// The state of the writer.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) queue: Receiver<Request>,
    pub(super) keeper: Sender<Job>,
    pub(super) active: Active,
    pub(super) home: Arc<Home>,
    pub(super) dedup: Dedup,
    pub(super) epochs: HashMap<Arc<str>, u64>,
    pub(super) next: Offset,
    pub(super) newest: Micros,
    /// What did not fit into the last frame.
    pub(super) held: Option<Request>,
    /// Set from a failed write until recovery succeeded: why.
    pub(super) failed: Option<String>,
    pub(super) scratch: Vec<u8>,
    /// What frames are put together in.
    pub(super) buffer: BytesMut,
}

/// An answer that waits for the frame to be durable.
enum Answer {
    Write(oneshot::Sender<Result<Vec<Appended>, CommitError>>, Vec<Appended>),
    Claim(oneshot::Sender<Result<u64, ClaimError>>, u64),
}

/// A frame being put together, and who waits for it.
struct Batch {
    frame: FrameBuilder,
    answers: Vec<Answer>,
    changes: Vec<Change>,
    /// Who was claimed, and the epoch before.
    claimed: Vec<(Arc<str>, Option<u64>)>,
    /// How many ids the segment had before.
    ids: usize,
    newest: Micros,
}

impl Writer {
    /// Runs until the store is closed.
    pub(super) fn run(mut self) {
        while let Some(request) = self.next_request() {
            if self.failed.is_some() {
                self.recover();
            }
            if self.failed.is_none() {
                self.make_room(&request);
            }
            if let Some(why) = &self.failed {
                refuse(&self.shared, request, why);
                continue;
            }
            let batch = self.assemble(request);
            self.finish(batch);
        }
    }

    fn next_request(&mut self) -> Option<Request> {
        match self.held.take() {
            Some(Request::Close) => return None,
            Some(held) => return Some(held),
            None => {}
        }
        loop {
            let received = if self.failed.is_some() {
                self.queue.recv_timeout(RETRY)
            } else {
                self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match received {
                Ok(Request::Close) | Err(RecvTimeoutError::Disconnected) => return None,
                Ok(request) => return Some(request),
                Err(RecvTimeoutError::Timeout) => self.recover(),
            }
        }
    }

    /// Makes a frame of a request and of what queued up behind it.
    fn assemble(&mut self, first: Request) -> Batch {
        let limit = self.active.room().min(MAX_FRAME);
        let mut batch = Batch {
            frame: FrameBuilder::new(self.active.header.salt, std::mem::take(&mut self.buffer)),
            answers: Vec::new(),
            changes: Vec::new(),
            claimed: Vec::new(),
            ids: self.home.ids().entries().len(),
            newest: self.newest,
        };
        let mut request = first;
        loop {
            match request {
                Request::Write(write) => self.admit(write, &mut batch),
                Request::Claim { owner, answer } => self.claim(owner, answer, &mut batch),
                Request::Close => {
                    self.held = Some(Request::Close);
                    return batch;
                }
            }
            match self.queue.try_recv() {
                Err(_) => return batch,
                Ok(next) if batch.frame.bytes() + next.cost() > limit || batch.frame.calls() >= MAX_CALLS => {
                    self.held = Some(next);
                    return batch;
                }
                Ok(next) => request = next,
            }
        }
    }

    fn claim(&mut self, owner: Arc<str>, answer: oneshot::Sender<Result<u64, ClaimError>>, batch: &mut Batch) {
        let mark = batch.frame.start_call();
        // Higher than every earlier one, also of a store that lost its tables: sequences never go back.
        let epoch = (self.active.next_sequence << 16) + batch.claimed.len() as u64;
        push_claim(&mut batch.frame, &owner, epoch);
        if batch.frame.bytes() > self.active.room() {
            batch.frame.undo(mark);
            let _ = answer.send(Err(ClaimError::Unavailable("the store is full".into())));
            return;
        }
        let before = self.epochs.insert(owner.clone(), epoch);
        batch.claimed.push((owner.clone(), before));
        batch.changes.push(Change::Claimed { owner, epoch });
        batch.answers.push(Answer::Claim(answer, epoch));
    }

    fn admit(&mut self, write: Write, batch: &mut Batch) {
        let (ids, newest) = (self.home.ids().entries().len(), self.newest);
        let mark = batch.frame.start_call();
        match self.place(&write, batch) {
            Ok(answers) => {
                batch.changes.extend(changes_of(write.commit));
                batch.answers.push(Answer::Write(write.answer, answers));
            }
            Err(error) => {
                batch.frame.undo(mark);
                self.home.ids_mut().truncate(ids);
                self.newest = newest;
                // The caller may have given up.
                let _ = write.answer.send(Err(error));
            }
        }
    }

    /// Decides about a write, and puts it into the frame.
    fn place(&mut self, write: &Write, batch: &mut Batch) -> Result<Vec<Appended>, CommitError> {
        let commit = &write.commit;
        if let Some(claim) = &commit.claim
            && self.epochs.get(&claim.owner) != Some(&claim.epoch)
        {
            return Err(CommitError::Fenced { owner: claim.owner.to_string(), epoch: claim.epoch });
        }
        let before = batch.frame.bytes();
        let now = write.now.max(self.newest);
        let begin = self.next + u64::from(batch.frame.events());
        let mut answers = Vec::with_capacity(commit.events.len());
        for (index, event) in commit.events.iter().enumerate() {
            let hash = self.shared.seed.id(event.head.source(), event.head.id(), &mut self.scratch);
            let first = if event.dedup_window > 0 { self.dedup.find(hash, &self.shared.damage) } else { None };
            let is_recent = |first: &IdEntry| now <= first.until && now.saturating_sub(first.accepted_at) <= event.dedup_window;
            if let Some(first) = first.filter(is_recent) {
                let duplicate = if first.fingerprint == event.fingerprint { Duplicate::SameContent } else { Duplicate::OtherContent };
                if duplicate == Duplicate::OtherContent && write.on_conflict == OnConflict::Refuse {
                    let first = if first.offset < begin { first.offset } else { 0 };
                    return Err(CommitError::Conflict { index, first });
                }
                answers.push(Appended { offset: first.offset, accepted_at: first.accepted_at, duplicate: Some(duplicate) });
                continue;
            }
            let offset = self.next + u64::from(batch.frame.events());
            push_event(&mut batch.frame, event, now);
            let until = now.saturating_add(event.dedup_window);
            self.remember(IdEntry { hash, fingerprint: event.fingerprint, offset, accepted_at: now, until });
            self.newest = now;
            answers.push(Appended { offset, accepted_at: now, duplicate: None });
        }
        push_changes(&mut batch.frame, commit);
        let is_claimed = commit.claim.is_some();
        if batch.frame.bytes() > before && self.is_full(batch.frame.bytes(), is_claimed) {
            return Err(full(&self.shared).into());
        }
        if is_claimed || !commit.rows.is_empty() {
            self.bound_lag()?;
        }
        Ok(answers)
    }

    pub(super) fn remember(&mut self, entry: IdEntry) {
        if entry.is_remembered() {
            self.dedup.insert(entry.accepted_at);
        }
        self.home.ids_mut().push(entry);
    }

    fn is_full(&self, frame: u64, is_claimed: bool) -> bool {
        let options = &self.shared.options;
        frame > self.active.room() || (!is_claimed && self.shared.used() > options.cap.saturating_sub(options.reserve))
    }

    /// Changes that are not folded yet are bounded: beyond the bound, the writer folds before it goes on.
    fn bound_lag(&self) -> Result<(), AppendError> {
        if self.shared.tables.unfolded() <= self.shared.options.fold_bytes.saturating_mul(4) {
            return Ok(());
        }
        let folded = self.shared.with_tables(super::tables::Tables::fold);
        folded.map_err(|error| AppendError::Unavailable(super::tables::explain(&error)))
    }

    /// Makes a frame durable, shows it, and answers.
    fn finish(&mut self, batch: Batch) {
        let Batch { frame, answers, changes, claimed, ids, newest } = batch;
        if frame.is_empty() {
            // Nothing new: what the answers speak of is durable already.
            self.buffer = frame.into_buffer();
            answers.into_iter().for_each(|answer| answer.send());
            return;
        }
        let position = self.active.position;
        let (frame, padded) = frame.finish_at(position, self.active.next_sequence, self.next, self.newest);
        let room = super::wire::index(self.active.room()).min(padded.len());
        let written = self.active.log.write_durably(&padded[..room], position);
        self.buffer = padded;
        if let Err(error) = written {
            let why = format!("writing the log failed: {error}");
            tracing::error!(%error, "writing the log failed; the log goes on in a new segment");
            self.home.ids_mut().truncate(ids);
            self.newest = newest;
            for (owner, before) in claimed.into_iter().rev() {
                match before {
                    Some(epoch) => self.epochs.insert(owner, epoch),
                    None => self.epochs.remove(&owner),
                };
            }
            answers.into_iter().for_each(|answer| answer.unknown(&why));
            self.failed = Some(why);
            self.recover();
            return;
        }
        self.advance(position, &frame);
        let cached = CachedFrame::new(&frame, self.shared.seed, |_, _| {});
        self.show(position, &frame, cached, changes);
        answers.into_iter().for_each(|answer| answer.send());
    }

    pub(super) fn advance(&mut self, position: u64, frame: &Frame) {
        self.active.position = position + frame.header.stride();
        self.active.next_sequence = frame.header.sequence + 1;
        self.next = frame.header.next();
    }

    pub(super) fn show(&self, position: u64, frame: &Frame, cached: CachedFrame, changes: Vec<Change>) {
        self.shared.tables.apply(changes, frame.header.sequence + 1, frame.header.next());
        self.shared.publish(position, frame, cached);
        self.shared.wake();
        if self.shared.tables.unfolded() > self.shared.options.fold_bytes {
            // A keeper that is gone means that the store closes.
            let _ = self.keeper.send(Job::Fold);
        }
    }
}

impl Answer {
    /// Answers; the caller may have given up.
    fn send(self) {
        match self {
            Self::Write(answer, appended) => drop(answer.send(Ok(appended))),
            Self::Claim(answer, epoch) => drop(answer.send(Ok(epoch))),
        }
    }

    fn unknown(self, why: &str) {
        match self {
            Self::Write(answer, _) => drop(answer.send(Err(AppendError::Unknown(why.to_owned()).into()))),
            Self::Claim(answer, _) => drop(answer.send(Err(ClaimError::Unavailable(why.to_owned())))),
        }
    }
}

fn full(shared: &Shared) -> AppendError {
    let options = &shared.options;
    AppendError::Full { used: shared.used(), cap: options.cap, reserve: options.reserve }
}

fn refuse(shared: &Shared, request: Request, why: &str) {
    match request {
        Request::Write(write) if shared.no_space.load(Ordering::Relaxed) => drop(write.answer.send(Err(full(shared).into()))),
        Request::Write(write) => drop(write.answer.send(Err(AppendError::Unavailable(why.to_owned()).into()))),
        Request::Claim { answer, .. } => drop(answer.send(Err(ClaimError::Unavailable(why.to_owned())))),
        Request::Close => {}
    }
}
