//! What the subscribers of one measurement got, all together.
//!
//! Constraint: it ends as soon as everything is settled or one subscriber failed; it never hangs.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{
            AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    time::Duration,
};

use tokio::sync::Notify;

use crate::{Error, measure, measure::Latencies};

/// How long the last deliveries may take after everything is published.
const PATIENCE: Duration = Duration::from_secs(180);

#[derive(Default)]
pub(crate) struct Tally {
    delivered: AtomicU64,
    settled: AtomicU64,
    redelivered: AtomicU64,
    messages: AtomicU64,
    wanted: AtomicU64,
    changed: Notify,
    latencies: Mutex<Vec<u64>>,
    failure: Mutex<Option<String>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        let tally = Self::default();
        tally.wanted.store(u64::MAX, Relaxed);
        tally
    }

    /// One delivery, of an event that was sent at `stamp`.
    pub(crate) fn delivered(&self, stamp: u64, again: bool) {
        self.delivered.fetch_add(1, Relaxed);
        if again {
            self.redelivered.fetch_add(1, Relaxed);
        }
        if stamp != 0 {
            let took = measure::now().saturating_sub(stamp);
            self.latencies.lock().unwrap_or_else(PoisonError::into_inner).push(took);
        }
    }

    /// One message of a stream, with any number of deliveries.
    pub(crate) fn message(&self) {
        self.messages.fetch_add(1, Relaxed);
    }

    /// Events that are settled for good: counted once for each subscription.
    pub(crate) fn settled(&self, count: u64) {
        let before = self.settled.fetch_add(count, SeqCst);
        if before + count >= self.wanted.load(SeqCst) {
            self.changed.notify_one();
        }
    }

    pub(crate) fn fail(&self, reason: impl ToString) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason.to_string());
        self.changed.notify_one();
    }

    /// Waits until so many are settled.
    pub(crate) async fn wait_settled(&self, wanted: u64) -> Result<(), Error> {
        // In one order with `settled`: either this sees the count, or that sees what is wanted and wakes.
        self.wanted.store(wanted, SeqCst);
        let all = async {
            loop {
                if let Some(reason) = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
                    return Err(Error::from(reason));
                }
                if self.settled.load(SeqCst) >= wanted {
                    return Ok(());
                }
                self.changed.notified().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, all).await;
        waited.unwrap_or_else(|_| {
            let (delivered, settled) = (self.delivered.load(Relaxed), self.settled.load(Relaxed));
            Err(format!("after {PATIENCE:?}: {delivered} delivered, {settled} of {wanted} settled").into())
        })
    }

    pub(crate) fn redelivered(&self) -> f64 {
        self.redelivered.load(Relaxed) as f64
    }

    /// Deliveries in one message of a stream, on average.
    pub(crate) fn batch(&self) -> f64 {
        self.delivered.load(Relaxed) as f64 / self.messages.load(Relaxed) as f64
    }

    pub(crate) fn latencies(&self) -> Latencies {
        Latencies::of(std::mem::take(&mut *self.latencies.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
