//! The agent's end of a publish stream.
//!
//! Constraints: what is in flight is bounded, in events and in bytes; whoever publishes beyond that waits.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use prost::Message;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use waypost_proto::v1::PublishItem;

use super::outcome::{PublishError, Published, prepare};
use super::stream;
use crate::observe::Watch;
use crate::rpc::Rpc;

const MAX_IN_FLIGHT: usize = 1_024;
const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;
/// Bytes are counted in this unit, rounded up.
const UNIT: usize = 1_024;

/// An event on its way.
pub(super) struct Submission {
    pub(super) item: PublishItem,
    pub(super) bytes: usize,
    answer: oneshot::Sender<Result<Published, PublishError>>,
    began: Instant,
    _room: [OwnedSemaphorePermit; 2],
}

impl Submission {
    /// Tells whoever waits, and the observer.
    pub(super) fn finish(self, outcome: Result<Published, PublishError>, watch: &Watch) {
        let Self { item, answer, began, .. } = self;
        tell(watch, &item, &outcome, began);
        let _nobody_waits = answer.send(outcome);
    }
}

fn tell(watch: &Watch, item: &PublishItem, outcome: &Result<Published, PublishError>, began: Instant) {
    let event = item.event.as_ref();
    watch.tell(|observer| event.map_or((), |event| observer.published(event, outcome.as_ref(), began.elapsed())));
}

/// Settings of a [`Publisher`].
#[must_use = "nothing happens until it is started"]
pub struct PublisherBuilder {
    rpc: Rpc,
    watch: Watch,
    events: usize,
    bytes: usize,
}

impl PublisherBuilder {
    pub(crate) fn new(rpc: Rpc, watch: Watch) -> Self {
        Self { rpc, watch, events: MAX_IN_FLIGHT, bytes: MAX_IN_FLIGHT_BYTES }
    }

    /// How many events may wait for their answer. Default: 1,024.
    pub fn max_in_flight(mut self, events: usize) -> Self {
        self.events = events.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// How many bytes of events may wait for their answer. At least one event fits. Default: 16 MiB.
    pub fn max_in_flight_bytes(mut self, bytes: usize) -> Self {
        self.bytes = bytes;
        self
    }

    /// Starts the publisher.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn start(self) -> Publisher {
        let (submissions, inbox) = mpsc::unbounded_channel();
        tokio::spawn(stream::run(self.rpc, inbox, self.watch.clone()));
        // One event of the largest size always fits.
        let units = self.bytes.div_ceil(UNIT).clamp(UNIT + 1, u32::MAX as usize);
        let (events, bytes) = (Arc::new(Semaphore::new(self.events)), Arc::new(Semaphore::new(units)));
        Publisher { submissions, watch: self.watch, events, bytes }
    }
}

impl fmt::Debug for PublisherBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PublisherBuilder").field("events", &self.events).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Publishes events over one stream, many in flight at a time. Cheap to clone; clones share the stream.
///
/// It connects when it is first used, reconnects for ever, and sends again what has no answer: every event has an id, so
/// that this is harmless. Events of one publisher are stored in the order in which they were submitted, unless the broker
/// asks to send one again.
#[derive(Clone, Debug)]
pub struct Publisher {
    submissions: mpsc::UnboundedSender<Submission>,
    watch: Watch,
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
}

impl Publisher {
    /// Publishes an event and resolves when it is durable. It waits as long as the broker cannot be reached or its store
    /// is full; set a timeout around it where that matters.
    ///
    /// # Errors
    ///
    /// When the broker refuses the event: see [`PublishError`].
    ///
    /// # Cancel safety
    ///
    /// Not cancel safe: dropped before it resolves, either nothing is on its way, as it waited for room, or the event is stored sooner
    /// or later, and only its answer is lost. [`submit`](Self::submit) tells the two apart.
    pub async fn publish(&self, item: impl Into<PublishItem>) -> Result<Published, PublishError> {
        self.submit(item).await?.await
    }

    /// Puts an event on its way, as soon as there is room, and returns the receipt to be awaited later. Dropping the
    /// receipt does not call the event back.
    ///
    /// # Errors
    ///
    /// When the event is too large.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: dropped before it resolves, nothing is on its way; only its place among those who wait for room is lost.
    pub async fn submit(&self, item: impl Into<PublishItem>) -> Result<Receipt, PublishError> {
        let mut item = item.into();
        if let Err(error) = prepare(&mut item) {
            let refused = Err(error.clone());
            tell(&self.watch, &item, &refused, Instant::now());
            return Err(error);
        }
        let bytes = item.encoded_len();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let event = Arc::clone(&self.events).acquire_owned().await.map_err(|_| PublishError::Closed)?;
        let size = Arc::clone(&self.bytes).acquire_many_owned(units).await.map_err(|_| PublishError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let submission = Submission { item, bytes, answer, began: Instant::now(), _room: [event, size] };
        self.submissions.send(submission).map_err(|_| PublishError::Closed)?;
        Ok(Receipt { answered })
    }
}

/// Resolves when the event is durable, or refused.
#[derive(Debug)]
#[must_use = "without it nobody learns whether the event is durable"]
pub struct Receipt {
    answered: oneshot::Receiver<Result<Published, PublishError>>,
}

impl Future for Receipt {
    type Output = Result<Published, PublishError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(ready!(Pin::new(&mut self.answered).poll(cx)).unwrap_or(Err(PublishError::Closed)))
    }
}
