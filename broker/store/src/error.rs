//! What can go wrong in a store: one enum per operation.
//!
//! Constraint: a write error says whether the write may have happened. "Refused" certainly did not; "unknown" may have.

use crate::contract::Offset;

/// Why events were not appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// There is no room outside the reserve. Nothing was written; try again once retention or settling made room.
    #[error("the store is full: {used} of {cap} bytes are in use, {reserve} of them reserved for settling")]
    Full {
        /// Bytes in use.
        used: u64,
        /// Bytes that may be used.
        cap: u64,
        /// Bytes kept for settling.
        reserve: u64,
    },
    /// More items or bytes than one write may hold. Nothing was written; split it.
    #[error("the write is too large: {what} is {value}, the most is {max}")]
    TooLarge {
        /// What is too large.
        what: &'static str,
        /// How large it is.
        value: usize,
        /// How large it may be.
        max: usize,
    },
    /// The disk or the cluster did not confirm: it may or may not be stored. Publishing again under the same id is safe.
    #[error("the outcome of the write is unknown: {0}")]
    Unknown(String),
    /// The store is recovering from a failed write, or closed. Nothing was written; try again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// Why a commit did not happen, or may not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// As for an append.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// The commit holds records, or supersedes them, and says no owner. Nothing was written.
    #[error("the commit holds {records} records (supersede: {supersede}) without a claim; records need one, from EventStore::claim")]
    Unclaimed {
        /// How many records it holds.
        records: usize,
        /// Whether it supersedes.
        supersede: bool,
    },
    /// The claim is not the latest one of its owner: somebody else claimed the name since. Nothing was written.
    #[error("claim {epoch} of {owner:?} was superseded")]
    Fenced {
        /// The name.
        owner: String,
        /// The epoch of the claim that is no longer valid.
        epoch: u64,
    },
    /// An event's source and id are taken by an event of other content. Nothing was written.
    #[error("event {index} has the id of the event at offset {first} (0: of the same commit), but other content")]
    Conflict {
        /// Which of the commit's events.
        index: usize,
        /// Where the event that came first is; 0 if it is an earlier one of the same commit, which has no offset.
        first: Offset,
    },
}

impl CommitError {
    /// Whether the commit may have happened in spite of the error.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Append(AppendError::Unknown(_)))
    }
}

/// Why a name could not be claimed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    /// The claim could not be made durable, or its records could not be read. Try again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}

/// Why something could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The disk or the cluster did not answer. Damage is not an error but a gap.
    #[error("the store is not available: {0}")]
    Unavailable(String),
}
