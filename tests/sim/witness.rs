//! A store that tells the ledger what became durable.
//!
//! Constraints: it stands below all faults, so it sees the truth; it changes nothing. Each write goes on when its caller gives up, as
//! the contract says, so that its outcome is seen all the same.

use std::sync::Arc;

use tokio::sync::watch;
use waypost_store::{
    AppendError, Appended, BoxFuture, ClaimError, Claimed, Commit, CommitError, DiskState, EventStore, Micros, NewEvent, Offset, ReadBatch,
    ReadError, ReadLimits, Row, Selection, Table,
};

use crate::ledger::{SharedLedger, lock};

pub(crate) struct Witness {
    inner: Arc<dyn EventStore>,
    ledger: SharedLedger,
}

impl Witness {
    pub(crate) fn new(inner: Arc<dyn EventStore>, ledger: SharedLedger) -> Self {
        Self { inner, ledger }
    }
}

impl EventStore for Witness {
    fn append(&self, now: Micros, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            let (inner, ledger) = (Arc::clone(&self.inner), Arc::clone(&self.ledger));
            let work = tokio::spawn(async move {
                let answer = inner.append(now, events.clone()).await;
                let mut ledger = lock(&ledger);
                let is_new = |place: &&Appended| place.duplicate.is_none();
                ledger.appended(answer.as_ref().map(|places| places.iter().filter(is_new).count()));
                for (event, place) in events.iter().zip(answer.as_deref().unwrap_or_default()) {
                    if place.duplicate.is_none() {
                        ledger.stored(place.offset, place.accepted_at, event);
                    }
                }
                answer
            });
            work.await.unwrap_or_else(|_| Err(AppendError::Unknown("the process ends".into())))
        })
    }

    fn commit(&self, now: Micros, commit: Commit) -> BoxFuture<'_, Result<Vec<Appended>, CommitError>> {
        Box::pin(async move {
            let (inner, ledger) = (Arc::clone(&self.inner), Arc::clone(&self.ledger));
            lock(&ledger).begun(&commit);
            let work = tokio::spawn(async move {
                let answer = inner.commit(now, commit.clone()).await;
                let mut ledger = lock(&ledger);
                ledger.reserved(&commit, answer.as_ref().err());
                ledger.committed(&commit, answer.as_deref().ok());
                drop(ledger);
                answer
            });
            work.await.unwrap_or_else(|_| Err(AppendError::Unknown("the process ends".into()).into()))
        })
    }

    fn claim<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(async move {
            let (inner, ledger, owner) = (Arc::clone(&self.inner), Arc::clone(&self.ledger), owner.to_owned());
            let work = tokio::spawn(async move {
                let answer = inner.claim(&owner).await;
                if let Ok(claimed) = &answer {
                    lock(&ledger).claimed(&owner, claimed);
                }
                answer
            });
            work.await.unwrap_or_else(|_| Err(ClaimError::Unavailable("the process ends".into())))
        })
    }

    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>> {
        self.inner.read(from, selection, limits)
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.inner.tail()
    }

    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        self.inner.offset_at(time)
    }

    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        self.inner.scan(table, from, limit)
    }

    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let answer = self.inner.trim(before).await;
            if let Ok(first) = answer {
                lock(&self.ledger).trimmed(first);
            }
            answer
        })
    }

    fn disk(&self) -> DiskState {
        self.inner.disk()
    }
}
