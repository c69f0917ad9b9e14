//! What survives a store in memory: the durable state, and the queue of what is not durable yet.
//!
//! Constraints:
//! - One batch is in flight at a time: what queued up while the last one became durable.
//! - A batch becomes visible, and is answered, under one lock.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use super::{config::MemoryConfig, defect::Defect, rows::Rows, state::State, store::MemoryStore};
use crate::contract::Offset;

/// One queued change; it answers its caller itself. Dropping it undone leaves the caller without an answer.
pub(super) type Work = Box<dyn FnOnce(&mut State, &MemoryConfig) + Send>;

/// The disk of a [`MemoryStore`]: a handle to what is there when the store is gone.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    pub(super) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: MemoryConfig,
    inner: Mutex<Inner>,
}

pub(super) struct Inner {
    pub(super) state: State,
    queue: VecDeque<Work>,
    syncing: bool,
    /// Counts openings and crashes: a store of an earlier number is dead.
    instance: u64,
    tail: watch::Sender<Offset>,
    syncs: u64,
    pub(super) examined: u64,
    /// For [`Defect::AnswerBeforeDurable`]: what was there when the store was opened.
    at_open: Option<State>,
    /// For [`Defect::CommitInPart`]: the tables before the last batch.
    rows_before: Option<Rows>,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(config: MemoryConfig) -> Self {
        let inner = Inner {
            state: State::new(),
            queue: VecDeque::new(),
            syncing: false,
            instance: 0,
            tail: watch::channel(1).0,
            syncs: 0,
            examined: 0,
            at_open: None,
            rows_before: None,
        };
        Self { shared: Arc::new(Shared { config, inner: Mutex::new(inner) }) }
    }

    /// Opens the store that is on this disk. One that is still open on it dies as if its process had been killed: what it had queued
    /// is lost.
    #[must_use]
    pub fn open(&self) -> MemoryStore {
        let mut inner = self.shared.lock();
        inner.die();
        inner.rows_before = None;
        inner.state.reopened(&self.shared.config);
        inner.at_open = self.shared.config.has(Defect::AnswerBeforeDurable).then(|| inner.state.clone());
        MemoryStore::new(self.shared.clone(), inner.instance, inner.tail.subscribe())
    }

    /// Cuts the power. Of the writes that were not durable yet the oldest `keep` became so all the same, whether or not their callers
    /// hear of it; the others are lost. The store that was open answers "not available" from now on.
    pub fn crash(&self, keep: usize) {
        let mut inner = self.shared.lock();
        inner.run(keep, &self.shared.config);
        inner.die();
        if let Some(rows) = inner.rows_before.take() {
            *inner.state.rows_mut() = rows;
        }
        if let Some(state) = inner.at_open.take() {
            inner.state = state;
        }
    }

    /// How many writes and claims are not durable yet.
    #[must_use]
    pub fn queued(&self) -> usize {
        self.shared.lock().queue.len()
    }

    /// Turns a stored event into a gap, as a flipped bit does. Answers whether there was one.
    pub fn damage(&self, offset: Offset) -> bool {
        self.shared.lock().state.damage(offset)
    }

    /// How many batches became durable.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.shared.lock().syncs
    }

    /// How many index entries reads looked at, all together.
    #[must_use]
    pub fn examined(&self) -> u64 {
        self.shared.lock().examined
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under the lock; if something did, the state is that of a process that was killed.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state behind the lock, unless the store died.
    pub(super) fn alive(&self, instance: u64) -> Option<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        (inner.instance == instance).then_some(inner)
    }

    /// The state behind the lock, also of a store that died.
    pub(super) fn any(&self) -> MutexGuard<'_, Inner> {
        self.lock()
    }

    /// Queues work, and sees to it that it becomes durable. Whether the store is still alive to do so.
    pub(super) fn submit(self: &Arc<Self>, instance: u64, work: Work) -> bool {
        let Some(mut inner) = self.alive(instance) else { return false };
        inner.queue.push_back(work);
        if !std::mem::replace(&mut inner.syncing, true) {
            // A task of its own, so that a caller who gives up waiting does not stop the others.
            tokio::spawn(self.clone().sync(instance));
        }
        true
    }

    async fn sync(self: Arc<Self>, instance: u64) {
        loop {
            let batch = match self.alive(instance) {
                None => return,
                Some(mut inner) if inner.queue.is_empty() => {
                    inner.syncing = false;
                    return;
                }
                Some(inner) => inner.queue.len(),
            };
            if self.config.sync_delay.is_zero() {
                tokio::task::yield_now().await;
            } else {
                tokio::time::sleep(self.config.sync_delay).await;
            }
            let Some(mut inner) = self.alive(instance) else { return };
            inner.run(batch, &self.config);
        }
    }
}

impl Inner {
    /// Makes the oldest `count` of the queue durable.
    fn run(&mut self, count: usize, config: &MemoryConfig) {
        let count = count.min(self.queue.len());
        if count == 0 {
            return;
        }
        self.rows_before = config.has(Defect::CommitInPart).then(|| self.state.rows_mut().clone());
        let tail = self.tail.clone();
        for work in self.queue.drain(..count) {
            work(&mut self.state, config);
        }
        self.syncs += 1;
        let next = self.state.log.tail();
        tail.send_if_modified(|seen| std::mem::replace(seen, next) != next);
    }

    fn die(&mut self) {
        self.instance += 1;
        self.queue.clear();
        self.syncing = false;
        // Who waits for the tail of the dead store is told.
        self.tail = watch::channel(self.state.log.tail()).0;
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("instance", &self.instance)
            .field("queued", &self.queue.len())
            .field("next", &self.state.log.tail())
            .finish_non_exhaustive()
    }
}
