//! The trait, around another store, with the faults of a plan.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::plan::{Call, Decision, Fault, Faults};
use crate::{
    contract::{Appended, BoxFuture, Claimed, Commit, DiskState, EventStore, Micros, Offset, ReadBatch, ReadLimits, Row, Selection, Table},
    error::{AppendError, ClaimError, CommitError, ReadError},
    event::NewEvent,
};

const INJECTED: &str = "injected";

/// A store with faults. See the [module](super).
pub struct FaultyStore {
    inner: Arc<dyn EventStore>,
    faults: Faults,
}

impl FaultyStore {
    /// Puts faults around a store. The plan is a handle: keep a clone, and hand it on to the next store after a crash.
    #[must_use]
    pub fn new(inner: Arc<dyn EventStore>, faults: Faults) -> Self {
        Self { inner, faults }
    }

    /// A write that is refused, or whose outcome is unknown, or that happens.
    async fn write<T, E: From<AppendError>>(&self, decision: Decision, work: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        wait(decision.before).await;
        let answer = match decision.fault {
            Some(Fault::Full) => Err(self.full().into()),
            Some(Fault::Unavailable) => Err(AppendError::Unavailable(INJECTED.into()).into()),
            Some(Fault::Lost) => Err(AppendError::Unknown(INJECTED.into()).into()),
            // What the store itself refuses is known not to have happened.
            Some(Fault::Done) => work.await.and(Err(AppendError::Unknown(INJECTED.into()).into())),
            Some(Fault::Slow { .. } | Fault::Short(_)) | None => work.await,
        };
        wait(decision.after).await;
        answer
    }

    /// A read, which can only be slow or unavailable.
    async fn read_with<T>(&self, decision: Decision, work: impl Future<Output = Result<T, ReadError>>) -> Result<T, ReadError> {
        wait(decision.before).await;
        if decision.fault == Some(Fault::Unavailable) {
            return Err(ReadError::Unavailable(INJECTED.into()));
        }
        let answer = work.await;
        wait(decision.after).await;
        answer
    }

    fn full(&self) -> AppendError {
        let disk = self.inner.disk();
        AppendError::Full { used: disk.used, cap: disk.cap, reserve: disk.reserve }
    }
}

async fn wait(delay: Duration) {
    if delay > Duration::ZERO {
        tokio::time::sleep(delay).await;
    }
}

impl EventStore for FaultyStore {
    fn append(&self, now: Micros, events: Vec<NewEvent>) -> BoxFuture<'_, Result<Vec<Appended>, AppendError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Append, false);
            self.write(decision, self.inner.append(now, events)).await
        })
    }

    fn commit(&self, now: Micros, commit: Commit) -> BoxFuture<'_, Result<Vec<Appended>, CommitError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Commit, commit.claim.is_some());
            self.write(decision, self.inner.commit(now, commit)).await
        })
    }

    fn claim<'a>(&'a self, owner: &'a str) -> BoxFuture<'a, Result<Claimed, ClaimError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Claim, false);
            wait(decision.before).await;
            let unavailable = Err(ClaimError::Unavailable(INJECTED.into()));
            let answer = match decision.fault {
                Some(Fault::Unavailable) => unavailable,
                Some(Fault::Done) => self.inner.claim(owner).await.and(unavailable),
                _ => self.inner.claim(owner).await,
            };
            wait(decision.after).await;
            answer
        })
    }

    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Read, false);
            let limits = match decision.fault {
                Some(Fault::Short(events)) => ReadLimits { events: limits.events.min(events), ..limits },
                _ => limits,
            };
            self.read_with(decision, self.inner.read(from, selection, limits)).await
        })
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.inner.tail()
    }

    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::OffsetAt, false);
            self.read_with(decision, self.inner.offset_at(time)).await
        })
    }

    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Scan, false);
            self.read_with(decision, self.inner.scan(table, from, limit)).await
        })
    }

    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let decision = self.faults.decide(Call::Trim, false);
            self.read_with(decision, self.inner.trim(before)).await
        })
    }

    fn disk(&self) -> DiskState {
        let disk = self.inner.disk();
        DiskState { full: disk.full || self.faults.is_full(), ..disk }
    }
}
