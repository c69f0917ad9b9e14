//! The trait, on a disk in memory.
//!
//! Constraint: every write and claim goes through the queue of the disk; every read sees the durable state alone.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use super::{
    config::MemoryConfig,
    defect::Defect,
    disk::{Inner, MemoryDisk, Shared},
    state::{OnConflict, State},
};
use crate::{
    contract::{Appended, BoxFuture, Claimed, Commit, DiskState, EventStore, Micros, Offset, ReadBatch, ReadLimits, Row, Selection, Table},
    error::{AppendError, ClaimError, CommitError, ReadError},
    event::NewEvent,
    limits,
};

const CLOSED: &str = "the store was closed; open its disk again";

/// An [`EventStore`] in memory. It must be used inside a tokio runtime.
#[derive(Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
    instance: u64,
    tail: watch::Receiver<Offset>,
}

/// Why a change was not answered.
enum Unanswered {
    /// It was not even queued.
    Refused,
    /// The store died before it answered.
    Unknown,
}

impl MemoryStore {
    /// Opens a store on an empty disk of its own.
    #[must_use]
    pub fn open(config: MemoryConfig) -> Self {
        MemoryDisk::new(config).open()
    }

    pub(super) fn new(shared: Arc<Shared>, instance: u64, tail: watch::Receiver<Offset>) -> Self {
        Self { shared, instance, tail }
    }

    async fn change<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut State, &MemoryConfig) -> T + Send + 'static,
    ) -> Result<T, Unanswered> {
        let (answer, answered) = oneshot::channel();
        let work = Box::new(move |state: &mut State, config: &MemoryConfig| {
            // Nobody may be waiting any more: the write stands all the same.
            let _ = answer.send(change(state, config));
        });
        if !self.shared.submit(self.instance, work) {
            return Err(Unanswered::Refused);
        }
        answered.await.map_err(|_| Unanswered::Unknown)
    }

    async fn write(&self, now: Micros, commit: Commit, on_conflict: OnConflict) -> Result<Vec<Appended>, CommitError> {
        match self.change(move |state, config| state.write(config, now, commit, on_conflict)).await {
            Ok(answer) => answer,
            Err(Unanswered::Refused) => Err(AppendError::Unavailable(CLOSED.into()).into()),
            Err(Unanswered::Unknown) => Err(AppendError::Unknown("the store was closed before it answered".into()).into()),
        }
    }

    fn reading<T>(&self, read: impl FnOnce(&mut Inner, &MemoryConfig) -> T) -> Result<T, ReadError> {
        let mut inner = self.shared.alive(self.instance).ok_or_else(|| ReadError::Unavailable(CLOSED.into()))?;
        Ok(read(&mut inner, &self.shared.config))
    }
}

impl EventStore for MemoryStore {
    fn append(&self, now: Micros, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            limits::check_append(&events)?;
            let commit = Commit { events, ..Commit::default() };
            self.write(now, commit, OnConflict::Answer).await.map_err(|error| match error {
                CommitError::Append(error) => error,
                // Of a write without a claim that answers conflicts there is no other kind.
                other => AppendError::Unavailable(other.to_string()),
            })
        })
    }

    fn commit(&self, now: Micros, commit: Commit) -> BoxFuture<'_, Result<Vec<Appended>, CommitError>> {
        Box::pin(async move {
            limits::check_commit(&commit)?;
            self.write(now, commit, OnConflict::Refuse).await
        })
    }

    fn claim<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(async move {
            let owner = owner.to_owned();
            self.change(move |state, _| state.claim(&owner)).await.map_err(|_| ClaimError::Unavailable(CLOSED.into()))
        })
    }

    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>> {
        Box::pin(async move {
            self.reading(|inner, config| {
                let mut batch = inner.state.log.read(from, selection, limits, &mut inner.examined);
                if config.has(Defect::SilentGaps) {
                    batch.gaps.clear();
                }
                batch
            })
        })
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.tail.clone()
    }

    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move { self.reading(|inner, _| inner.state.log.offset_at(time)) })
    }

    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(async move { self.reading(|inner, _| inner.state.scan(table, from, limit)) })
    }

    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move { self.reading(|inner, config| inner.state.log.trim(before, usize::from(config.has(Defect::TrimTooFar)))) })
    }

    fn disk(&self) -> DiskState {
        self.shared.any().state.disk(&self.shared.config)
    }
}
