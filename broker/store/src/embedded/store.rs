//! The trait, on the log: every call goes to the writer, to the keeper, or to a reader.
//!
//! Constraints:
//! - Reads that memory can answer do not leave the calling task; the others run where blocking is allowed.
//! - What waits for the writer is bounded by its bytes: callers beyond the bound wait.

use std::{
    fs::File,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread::JoinHandle,
};

use bytes::BytesMut;
use tokio::sync::{Semaphore, oneshot, watch};

use super::{
    check::Check,
    disk::Disk,
    keeper::{Job, Keeper},
    options::{EmbeddedOptions, OpenError},
    os_disk::OsDisk,
    recovery::{Opened, recover},
    request::{OnConflict, Request, Write, cost},
    tables::explain,
    view::Shared,
    writer::Writer,
};
use crate::{
    contract::{
        Appended, BoxFuture, Claim, Claimed, Commit, DiskState, EventStore, Micros, Offset, ReadBatch, ReadLimits, Row, RowChange,
        Selection, Table,
    },
    error::{AppendError, ClaimError, CommitError, ReadError},
    event::NewEvent,
    limits,
    upkeep::{Backup, Finding, Upkeep, UpkeepError, Verified},
};

const CLOSED: &str = "the store is closed";

/// Bytes that one permit of the queue stands for.
const PERMIT: u64 = 1024;

/// An [`EventStore`] in a directory of its own. It must be used inside a tokio runtime; dropping it waits until what was queued is
/// written and what is durable is folded.
pub struct EmbeddedStore {
    pub(super) shared: Arc<Shared>,
    queue: Sender<Request>,
    jobs: Sender<Job>,
    room: Arc<Semaphore>,
    threads: Vec<JoinHandle<()>>,
    /// The lock of the directory, as long as the store is open.
    _lock: Option<File>,
}

impl std::fmt::Debug for EmbeddedStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedStore").field("dir", &self.shared.options.dir).finish_non_exhaustive()
    }
}

impl EmbeddedStore {
    /// Opens the store of a directory, and makes one if there is none. Blocks: call it where that is allowed.
    ///
    /// # Errors
    /// [`OpenError`] says what is in the way. Damage is not: it is reported, counted in [`DiskState::damage`], and the rest is served.
    pub fn open(options: EmbeddedOptions) -> Result<Self, OpenError> {
        options.check()?;
        let failed = |source| OpenError::Disk { dir: options.dir.clone(), doing: "opening it", source };
        let Some(lock) = OsDisk::lock(&options.dir).map_err(failed)? else {
            return Err(OpenError::InUse { dir: options.dir.clone() });
        };
        let disk = Arc::new(OsDisk::open(&options.dir).map_err(failed)?.observed(options.syncs.clone()));
        Self::start(disk, options, Some(lock))
    }

    /// Opens a store whose log is on a disk of the caller's; the tables are in the directory. For tests that cut the power.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(any(test, feature = "testing"))]
    pub fn open_on(disk: Arc<dyn Disk>, options: EmbeddedOptions) -> Result<Self, OpenError> {
        options.check()?;
        Self::start(disk, options, None)
    }

    fn start(disk: Arc<dyn Disk>, options: EmbeddedOptions, lock: Option<File>) -> Result<Self, OpenError> {
        let dir = options.dir.clone();
        let room = Arc::new(Semaphore::new(options.queue_bytes / 1024));
        let Opened { shared, active, home, dedup, epochs, newest, unsealed, failed } = recover(disk, options)?;
        let shared = Arc::new(shared);
        let (queue, requests) = channel();
        let (jobs, kept) = channel();
        let next = shared.view().next;
        let writer = Writer {
            shared: shared.clone(),
            queue: requests,
            keeper: jobs.clone(),
            active,
            home,
            dedup,
            epochs,
            next,
            newest,
            held: None,
            failed,
            scratch: Vec::new(),
            buffer: BytesMut::new(),
        };
        let check = shared.tables.is_unchecked().then(|| Check::new(writer.epochs.keys().cloned()));
        let keeper = Keeper { shared: shared.clone(), jobs: kept, unsealed, check };
        let failed = |source| OpenError::Disk { dir: dir.clone(), doing: "starting a thread", source };
        let mut store = Self { shared, queue, jobs, room, threads: Vec::new(), _lock: lock };
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        store.threads.push(named("waypost-writer").spawn(move || writer.run()).map_err(failed)?);
        store.threads.push(named("waypost-keeper").spawn(move || keeper.run()).map_err(failed)?);
        Ok(store)
    }

    async fn write(&self, now: Micros, commit: Commit, on_conflict: OnConflict) -> Result<Vec<Appended>, CommitError> {
        let closed = || AppendError::Unavailable(CLOSED.into());
        let permits = u32::try_from(cost(&commit).div_ceil(PERMIT)).unwrap_or(u32::MAX);
        let permit = self.room.clone().acquire_many_owned(permits).await.map_err(|_| closed())?;
        let (answer, answered) = oneshot::channel();
        let write = Write { now, commit, on_conflict, answer, _permit: permit };
        self.queue.send(Request::Write(write)).map_err(|_| closed())?;
        // The writer answers everything it takes, unless it dies.
        answered.await.unwrap_or_else(|_| Err(AppendError::Unknown("the store was closed before it answered".into()).into()))
    }

    /// Runs something that may wait for the disk.
    async fn blocking<T: Send + 'static>(&self, run: impl FnOnce(&Shared) -> Result<T, String> + Send + 'static) -> Result<T, String> {
        let shared = self.shared.clone();
        tokio::task::spawn_blocking(move || run(&shared)).await.unwrap_or_else(|error| Err(format!("a read was given up: {error}")))
    }
}

impl EventStore for EmbeddedStore {
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
            let owner: Arc<str> = owner.into();
            let closed = || ClaimError::Unavailable(CLOSED.into());
            let (answer, answered) = oneshot::channel();
            self.queue.send(Request::Claim { owner: owner.clone(), answer }).map_err(|_| closed())?;
            let epoch = answered.await.map_err(|_| closed())??;
            let name = owner.clone();
            let records = self.blocking(move |shared| shared.repairing(|tables| tables.records(&name)).map_err(|error| explain(&error)));
            let records = records.await.map_err(ClaimError::Unavailable)?;
            Ok(Claimed { claim: Claim { owner, epoch }, records })
        })
    }

    fn read<'a>(&'a self, from: Offset, selection: &'a Selection, limits: ReadLimits) -> BoxFuture<'a, Result<ReadBatch, ReadError>> {
        Box::pin(async move {
            if let Some(batch) = self.shared.read_memory(from, selection, limits) {
                return Ok(batch);
            }
            let selection = selection.clone();
            let read = self
                .blocking(move |shared| shared.read_disk(from, &selection, limits).map_err(|error| format!("reading the log: {error}")));
            read.await.map_err(ReadError::Unavailable)
        })
    }

    fn tail(&self) -> watch::Receiver<Offset> {
        self.shared.tail.subscribe()
    }

    fn offset_at(&self, time: Micros) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let found = self.blocking(move |shared| shared.offset_at(time).map_err(|error| format!("reading the log: {error}")));
            found.await.map_err(ReadError::Unavailable)
        })
    }

    fn scan<'a>(&'a self, table: Table, from: &'a [u8], limit: usize) -> BoxFuture<'a, Result<Vec<Row>, ReadError>> {
        Box::pin(async move {
            let from = from.to_vec();
            let rows =
                self.blocking(move |shared| shared.repairing(|tables| tables.scan(table, &from, limit)).map_err(|error| explain(&error)));
            rows.await.map_err(ReadError::Unavailable)
        })
    }

    fn trim(&self, before: Offset) -> BoxFuture<'_, Result<Offset, ReadError>> {
        Box::pin(async move {
            let closed = || ReadError::Unavailable(CLOSED.into());
            let (answer, answered) = oneshot::channel();
            self.jobs.send(Job::Trim { before, answer }).map_err(|_| closed())?;
            answered.await.map_err(|_| closed())?
        })
    }

    fn disk(&self) -> DiskState {
        self.shared.state()
    }

    fn upkeep(&self) -> Option<Arc<dyn Upkeep>> {
        Some(self.shared.clone())
    }
}

impl Upkeep for Shared {
    fn verify(&self, tell: &mut dyn FnMut(Finding)) -> Result<Verified, UpkeepError> {
        self.verify_live(tell)
    }

    fn backup(&self, changes: Vec<RowChange>) -> Result<Backup, UpkeepError> {
        self.hold(changes)
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        // The writer first: what it still writes is then folded too.
        let _ = self.queue.send(Request::Close);
        for (thread, is_writer) in self.threads.drain(..).zip([true, false]) {
            let _ = thread.join();
            if is_writer {
                let _ = self.jobs.send(Job::Close);
            }
        }
    }
}
