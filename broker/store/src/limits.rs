//! How large one write may be.
//!
//! Constraints:
//! - Every implementation checks with the functions here, before it looks at anything else, so that all refuse the same.
//! - What counts is what the caller handed over (records, encoded heads, bodies, keys and values), not what an engine adds to it.

use crate::{
    contract::{Commit, Row, RowChange},
    error::{AppendError, CommitError},
    event::NewEvent,
};

/// The most items (records, events and row changes together) in one append or commit.
pub const MAX_ITEMS_PER_WRITE: usize = 1_000;

/// The most bytes in one append or commit, all items together. A frame of the log holds this much and its own headers.
pub const MAX_BYTES_PER_WRITE: usize = 4 * 1024 * 1024 - 64 * 1024;

/// The most bytes of one event, head and body: 1 MiB as an agent counts it, and room for what the broker adds.
pub const MAX_EVENT_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// The most bytes of a row's key.
pub const MAX_ROW_KEY_BYTES: usize = 1024;

/// The most bytes of a row's value: an event, its head and its history.
pub const MAX_ROW_VALUE_BYTES: usize = 1024 * 1024 + 512 * 1024;

/// Checks an append.
///
/// # Errors
/// [`AppendError::TooLarge`] names the first thing that is.
pub fn check_append(events: &[NewEvent]) -> Result<(), AppendError> {
    at_most("items in one write", events.len(), MAX_ITEMS_PER_WRITE)?;
    let bytes = event_bytes(events)?;
    at_most("bytes in one write", bytes, MAX_BYTES_PER_WRITE)
}

/// Checks a commit, and that its records have an owner.
///
/// # Errors
/// [`AppendError::TooLarge`] names the first thing that is; [`CommitError::Unclaimed`] if records or `supersede` come without a claim.
pub fn check_commit(commit: &Commit) -> Result<(), CommitError> {
    at_most("items in one write", commit.records.len() + commit.events.len() + commit.rows.len(), MAX_ITEMS_PER_WRITE)?;
    let records: usize = commit.records.iter().map(bytes::Bytes::len).sum();
    let bytes = records + event_bytes(&commit.events)? + row_bytes(&commit.rows)?;
    at_most("bytes in one write", bytes, MAX_BYTES_PER_WRITE)?;
    if commit.claim.is_none() && (commit.supersede || !commit.records.is_empty()) {
        return Err(CommitError::Unclaimed { records: commit.records.len(), supersede: commit.supersede });
    }
    Ok(())
}

fn event_bytes(events: &[NewEvent]) -> Result<usize, AppendError> {
    let mut sum = 0;
    for event in events {
        let bytes = event.head.encoded().len() + event.body.len();
        at_most("bytes of one event", bytes, MAX_EVENT_BYTES)?;
        sum += bytes;
    }
    Ok(sum)
}

fn row_bytes(rows: &[RowChange]) -> Result<usize, AppendError> {
    let mut sum = 0;
    for row in rows {
        let (key, value) = match row {
            RowChange::Put(_, Row { key, value }) => (key.len(), value.len()),
            RowChange::Delete(_, key) => (key.len(), 0),
        };
        at_most("bytes of a row's key", key, MAX_ROW_KEY_BYTES)?;
        at_most("bytes of a row's value", value, MAX_ROW_VALUE_BYTES)?;
        sum += key + value;
    }
    Ok(sum)
}

fn at_most(what: &'static str, value: usize, max: usize) -> Result<(), AppendError> {
    if value > max { Err(AppendError::TooLarge { what, value, max }) } else { Ok(()) }
}
