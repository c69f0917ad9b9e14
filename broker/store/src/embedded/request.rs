//! What callers ask of the writer.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{frame::HEADER, item::ITEM_OVERHEAD};
use crate::{
    contract::{Appended, Commit, Micros, Row, RowChange},
    error::{ClaimError, CommitError},
};

/// What to do with an event whose id is taken by other content.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OnConflict {
    Answer,
    Refuse,
}

/// One append or commit.
pub(super) struct Write {
    pub(super) now: Micros,
    pub(super) commit: Commit,
    pub(super) on_conflict: OnConflict,
    pub(super) answer: oneshot::Sender<Result<Vec<Appended>, CommitError>>,
    /// Its part of the bytes that may wait; given back when it is answered.
    pub(super) _permit: OwnedSemaphorePermit,
}

/// One call.
pub(super) enum Request {
    Write(Write),
    Claim { owner: Arc<str>, answer: oneshot::Sender<Result<u64, ClaimError>> },
    Close,
}

impl Request {
    /// The most bytes that it adds to a frame.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Write(write) => cost(&write.commit),
            Self::Claim { owner, .. } => (owner.len() + ITEM_OVERHEAD) as u64,
            Self::Close => 0,
        }
    }
}

/// The most bytes that a commit adds to a frame.
pub(super) fn cost(commit: &Commit) -> u64 {
    let records: usize = commit.records.iter().map(|record| record.len() + ITEM_OVERHEAD).sum();
    let events: usize = commit.events.iter().map(|event| event.head.encoded().len() + event.body.len() + ITEM_OVERHEAD).sum();
    let row = |change: &RowChange| match change {
        RowChange::Put(_, Row { key, value }) => key.len() + value.len() + ITEM_OVERHEAD,
        RowChange::Delete(_, key) => key.len() + ITEM_OVERHEAD,
    };
    let rows: usize = commit.rows.iter().map(row).sum();
    let owner = commit.claim.as_ref().map_or(0, |claim| claim.owner.len() + ITEM_OVERHEAD);
    (HEADER + records + events + rows + owner) as u64
}
