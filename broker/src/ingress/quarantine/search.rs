//! Looking into the quarantine, and letting go of what is old.

use std::collections::BTreeSet;

use waypost_proto::v1::{GetQuarantinedWebhookResponse, QuarantinedWebhook};
use waypost_store::{Commit, CommitError, EventStore, Micros, ReadError, RowChange, Table};

use super::{
    Reason,
    row::{decode, key},
};
use crate::limits::QUARANTINE_SCAN_ROWS;

/// One page of the quarantine.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Newest first.
    pub webhooks: Vec<QuarantinedWebhook>,
    /// For the next page; empty when this is the last.
    pub next_page_token: String,
}

/// Why the quarantine could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuarantineError {
    /// The page token is not one of this list's.
    #[error("page_token: {0:?} is not one that this list gave; start over without")]
    PageToken(String),
    /// The store does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why old webhooks could not be let go.
#[derive(Debug, thiserror::Error)]
pub enum ExpireError {
    /// The store does not answer.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The store refuses.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// Which webhooks of the quarantine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// Of this source; empty for any.
    pub source: &'a str,
    /// For this reason; unspecified for any.
    pub reason: Reason,
    /// Of this fingerprint; empty for any.
    pub fingerprint: &'a str,
}

impl Which<'_> {
    fn holds(&self, webhook: &QuarantinedWebhook) -> bool {
        (self.source.is_empty() || webhook.source == self.source)
            && (self.reason == Reason::Unspecified || webhook.reason() == self.reason)
            && (self.fingerprint.is_empty() || webhook.fingerprint == self.fingerprint)
    }
}

/// A page of at most `size` quarantined webhooks, newest first. Reads on until the page is full or all was read.
///
/// # Errors
/// [`QuarantineError`] when the token is wrong or the store does not answer.
pub async fn list(store: &dyn EventStore, size: usize, page_token: &str, which: Which<'_>) -> Result<Page, QuarantineError> {
    let mut from = from_token(page_token)?;
    let mut page = Page::default();
    loop {
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let last = rows.len() < QUARANTINE_SCAN_ROWS;
        for row in rows {
            if page.webhooks.len() >= size {
                page.next_page_token = hex::encode(&row.key);
                return Ok(page);
            }
            from = [&*row.key, &[0]].concat();
            let found = decode(&row).and_then(|row| row.webhook);
            page.webhooks.extend(found.filter(|webhook| which.holds(webhook)));
        }
        if last {
            return Ok(page);
        }
    }
}

/// At most `count` ids of those that there are of a fingerprint, the oldest first, and the token for those after them; empty if there are
/// no more. All of the quarantine is read for it.
///
/// # Errors
/// [`QuarantineError`] when the token is wrong or the store does not answer.
pub async fn oldest(
    store: &dyn EventStore,
    fingerprint: &str,
    count: usize,
    page_token: &str,
) -> Result<(Vec<String>, String), QuarantineError> {
    let after = from_token(page_token)?;
    let which = Which { fingerprint, ..Which::default() };
    let mut oldest = BTreeSet::new();
    let (mut from, mut are_more) = (Vec::new(), false);
    loop {
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let last = rows.len() < QUARANTINE_SCAN_ROWS;
        for row in rows {
            from = [&*row.key, &[0]].concat();
            let is_due =
                (after.is_empty() || row.key < after) && decode(&row).and_then(|row| row.webhook).is_some_and(|it| which.holds(&it));
            if is_due {
                // The older, the greater the key.
                oldest.insert(row.key);
                are_more |= oldest.len() > count && oldest.pop_first().is_some();
            }
        }
        if last {
            let ids: Vec<String> = oldest.iter().rev().map(hex::encode).collect();
            let next = ids.last().filter(|_| are_more).cloned().unwrap_or_default();
            return Ok((ids, next));
        }
    }
}

/// One quarantined webhook with its body; `None` if there is none of this id.
///
/// # Errors
/// When the store does not answer.
pub async fn get(store: &dyn EventStore, id: &str) -> Result<Option<GetQuarantinedWebhookResponse>, ReadError> {
    let Some(key) = key(id) else { return Ok(None) };
    let rows = store.scan(Table::Quarantine, &key, 1).await?;
    Ok(rows.first().filter(|row| *row.key == *key).and_then(decode))
}

/// Lets go of every webhook that came before a time. Answers how many there were.
///
/// # Errors
/// When the store does not answer or refuses; some may be gone by then.
pub async fn expire(store: &dyn EventStore, now: Micros, before: Micros) -> Result<usize, ExpireError> {
    let from = (!before).to_be_bytes();
    let mut gone = 0;
    loop {
        // The older, the greater the key.
        let rows = store.scan(Table::Quarantine, &from, QUARANTINE_SCAN_ROWS).await?;
        let is_last = rows.len() < QUARANTINE_SCAN_ROWS;
        gone += rows.len();
        let rows: Vec<_> = rows.into_iter().map(|row| RowChange::Delete(Table::Quarantine, row.key)).collect();
        if !rows.is_empty() {
            store.commit(now, Commit { rows, ..Commit::default() }).await?;
        }
        if is_last {
            return Ok(gone);
        }
    }
}

/// Where a list goes on.
fn from_token(page_token: &str) -> Result<Vec<u8>, QuarantineError> {
    if page_token.is_empty() {
        return Ok(Vec::new());
    }
    key(page_token).ok_or_else(|| QuarantineError::PageToken(page_token.to_owned()))
}
