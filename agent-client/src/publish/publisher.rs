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
use waypost_proto::v1::PublishItem;

use super::outcome::{PublishError, Published, prepare};
use super::stream;
use crate::rpc::Rpc;

const MAX_IN_FLIGHT: usize = 1_024;
const MAX_IN_FLIGHT_BYTES: usize = 16 << 20;
/// Bytes are counted in this unit, rounded up.
const UNIT: usize = 1_024;

/// An event on its way.
pub(super) struct Submission {
    pub(super) item: PublishItem,
    pub(super) bytes: usize,
    pub(super) answer: oneshot::Sender<Result<Published, PublishError>>,
    _room: [OwnedSemaphorePermit; 2],
}

/// Settings of a [`Publisher`].
#[must_use = "nothing happens until it is started"]
pub struct PublisherBuilder {
    rpc: Rpc,
    events: usize,
    bytes: usize,
}

impl PublisherBuilder {
    pub(crate) fn new(rpc: Rpc) -> Self {
        Self { rpc, events: MAX_IN_FLIGHT, bytes: MAX_IN_FLIGHT_BYTES }
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

    /// Starts the publisher. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn start(self) -> Publisher {
        let (submissions, inbox) = mpsc::unbounded_channel();
        tokio::spawn(stream::run(self.rpc, inbox));
        // One event of the largest size always fits.
        let units = self.bytes.div_ceil(UNIT).clamp(UNIT + 1, u32::MAX as usize);
        Publisher { submissions, events: Arc::new(Semaphore::new(self.events)), bytes: Arc::new(Semaphore::new(units)) }
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
    /// Not cancel safe: dropped before it resolves, the event may be stored or not.
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
    /// Cancel safe: until it resolves, nothing is on its way.
    pub async fn submit(&self, item: impl Into<PublishItem>) -> Result<Receipt, PublishError> {
        let mut item = item.into();
        prepare(&mut item)?;
        let bytes = item.encoded_len();
        let units = u32::try_from(bytes.div_ceil(UNIT)).unwrap_or(u32::MAX);
        let event = Arc::clone(&self.events).acquire_owned().await.map_err(|_| PublishError::Closed)?;
        let size = Arc::clone(&self.bytes).acquire_many_owned(units).await.map_err(|_| PublishError::Closed)?;
        let (answer, answered) = oneshot::channel();
        let submission = Submission { item, bytes, answer, _room: [event, size] };
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
