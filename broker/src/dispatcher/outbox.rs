//! What waits for one stream, and the stream that takes it.
//!
//! Constraints:
//! - Bounded by what the machine has leased, and by bytes: a stream that does not drain is reported full and is handed nothing more, so
//!   a slow agent holds up nobody (P12).
//! - One lock, held for as long as it takes to move a message; never across an await.
//! - All deliveries that are ready go into one message, up to [`limits::DELIVERIES_TARGET_BYTES`]; a larger one goes alone.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::{Sleep, sleep_until},
};
use tokio_stream::Stream;
use tonic::Status;
use waypost_delivery::{SessionId, StreamId, Time};
use waypost_proto::{v1, wire, wire::subscribe_response::Response};
use waypost_store::Offset;

use crate::{clock::Clock, envelope::timestamp, error::Fault, limits};

/// What the streams of a subscription tell its dispatcher.
#[derive(Debug, Default)]
pub struct Signals {
    list: Mutex<Vec<Signal>>,
    wake: Notify,
}

/// One thing that a stream tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// It can take more.
    Writable(SessionId, StreamId),
    /// It is gone.
    Gone(SessionId, StreamId),
}

impl Signals {
    fn send(&self, signal: Signal) {
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(signal);
        self.wake.notify_one();
    }

    /// Waits until there are some.
    pub async fn ready(&self) {
        self.wake.notified().await;
    }

    /// Takes all that there are. Each stream has at most one of a kind.
    pub fn take(&self) -> Vec<Signal> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The most bytes that the numbers, times, tags and lengths of a delivery take.
const DELIVERY_NUMBERS: usize = 112;

/// Tag and length of a traceparent, where there is one.
const TRACEPARENT_NUMBERS: usize = 2;

/// Deliveries that a message has room for from the start.
const FIRST_ROOM: usize = 256;

/// The sending half, held by the dispatcher.
#[derive(Debug, Default)]
pub struct Outbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<Item>,
    /// Of the deliveries in the queue.
    bytes: usize,
    deliveries: usize,
    waker: Option<Waker>,
    end: Option<Fault>,
    full: bool,
    gone: bool,
}

#[derive(Debug)]
enum Item {
    Delivery(wire::Delivery, usize),
    Other(Box<Response>),
}

impl Outbox {
    /// An empty one.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Queues deliveries. Answers whether the stream can take more after them; if not, it signals when it can.
    pub fn deliver(&self, deliveries: impl IntoIterator<Item = wire::Delivery>) -> bool {
        let mut state = self.lock();
        for delivery in deliveries {
            let bytes = weight(&delivery);
            state.bytes += bytes;
            state.deliveries += 1;
            state.queue.push_back(Item::Delivery(delivery, bytes));
        }
        state.full |= state.bytes >= limits::STREAM_QUEUE_BYTES || state.deliveries >= limits::STREAM_QUEUE_DELIVERIES;
        let writable = !state.full;
        wake(state);
        writable
    }

    /// Queues anything else.
    pub fn send(&self, response: Response) {
        let mut state = self.lock();
        state.queue.push_back(Item::Other(Box::new(response)));
        wake(state);
    }

    /// Ends the stream with a fault, after what is queued.
    pub fn end(&self, fault: Fault) {
        let mut state = self.lock();
        state.end.get_or_insert(fault);
        wake(state);
    }

    /// Whether nobody takes from it any more.
    pub fn is_gone(&self) -> bool {
        self.lock().gone
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a delivery takes in a message at the most, without encoding it: all that is not counted here are numbers.
fn weight(delivery: &wire::Delivery) -> usize {
    let traceparent = if delivery.traceparent.is_empty() { 0 } else { delivery.traceparent.len() + TRACEPARENT_NUMBERS };
    delivery.event.as_ref().map_or(0, |event| event.0.len()) + delivery.token.len() + traceparent + DELIVERY_NUMBERS
}

fn wake(mut state: MutexGuard<'_, State>) {
    let waker = state.waker.take();
    drop(state);
    if let Some(waker) = waker {
        waker.wake();
    }
}

impl State {
    /// The next message, if there is one.
    fn pop(&mut self) -> Option<Response> {
        if let Some(Item::Other(_)) = self.queue.front() {
            return match self.queue.pop_front() {
                Some(Item::Other(response)) => Some(*response),
                _ => None,
            };
        }
        let (mut deliveries, mut size) = (Vec::with_capacity(self.deliveries.min(FIRST_ROOM)), 0);
        while let Some(Item::Delivery(_, bytes)) = self.queue.front() {
            if !deliveries.is_empty() && size + bytes > limits::DELIVERIES_TARGET_BYTES {
                break;
            }
            size += bytes;
            if let Some(Item::Delivery(delivery, bytes)) = self.queue.pop_front() {
                self.bytes -= bytes;
                self.deliveries -= 1;
                deliveries.push(delivery);
            }
        }
        (!deliveries.is_empty()).then_some(Response::Deliveries(wire::Deliveries { deliveries }))
    }

    /// Whether a full stream has room again: told once.
    fn has_drained(&mut self) -> bool {
        let drained = self.full && self.bytes <= limits::STREAM_QUEUE_BYTES / 2 && self.deliveries <= limits::STREAM_QUEUE_DELIVERIES / 2;
        if drained {
            self.full = false;
        }
        drained
    }
}

/// What a heartbeat tells.
#[derive(Clone, Debug)]
pub struct Pulse {
    /// At least one message in this time.
    pub interval: Duration,
    /// The end of the log.
    pub tail: watch::Receiver<Offset>,
    /// How far the subscription is.
    pub frontier: Arc<AtomicU64>,
    /// For the time.
    pub clock: Clock,
}

impl Pulse {
    fn beat(&self) -> Response {
        let end = *self.tail.borrow();
        let frontier = self.frontier.load(Ordering::Relaxed);
        let lag = (frontier > 0).then(|| end.saturating_sub(frontier));
        Response::Heartbeat(v1::Heartbeat { durable_end_offset: end, lag, server_time: Some(timestamp(self.clock.now())) })
    }
}

/// The receiving half: the stream of one Subscribe call. Dropping it is what a broken stream looks like.
#[derive(Debug)]
pub struct SubscribeStream {
    outbox: Arc<Outbox>,
    signals: Arc<Signals>,
    session: SessionId,
    stream: StreamId,
    pulse: Pulse,
    last: Time,
    timer: Pin<Box<Sleep>>,
    ended: bool,
}

impl SubscribeStream {
    /// The stream that takes from an outbox.
    #[must_use]
    pub fn new(outbox: Arc<Outbox>, signals: Arc<Signals>, session: SessionId, stream: StreamId, pulse: Pulse) -> Self {
        let last = pulse.clock.time();
        let timer = Box::pin(sleep_until(pulse.clock.instant(last + pulse.interval)));
        Self { outbox, signals, session, stream, pulse, last, timer, ended: false }
    }

    /// A heartbeat if one is due. The timer is set again only when it fires, so that a busy stream does not touch it.
    fn poll_pulse(&mut self, context: &mut Context<'_>) -> Poll<Response> {
        while self.timer.as_mut().poll(context).is_ready() {
            let now = self.pulse.clock.time();
            let is_due = self.last + self.pulse.interval <= now;
            let next = if is_due { now } else { self.last } + self.pulse.interval;
            self.timer.as_mut().reset(self.pulse.clock.instant(next));
            if is_due {
                return Poll::Ready(self.pulse.beat());
            }
        }
        Poll::Pending
    }
}

impl Stream for SubscribeStream {
    type Item = Result<wire::SubscribeResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.ended {
            return Poll::Ready(None);
        }
        let (response, drained, end) = {
            let mut state = this.outbox.lock();
            let response = state.pop();
            let drained = state.has_drained();
            let end = if response.is_none() { state.end.take() } else { None };
            if response.is_none() && end.is_none() {
                state.waker = Some(context.waker().clone());
            }
            (response, drained, end)
        };
        if drained {
            this.signals.send(Signal::Writable(this.session, this.stream));
        }
        if let Some(fault) = end {
            this.ended = true;
            return Poll::Ready(Some(Err(fault.into())));
        }
        let response = match response {
            Some(response) => response,
            None => match this.poll_pulse(context) {
                Poll::Ready(beat) => beat,
                Poll::Pending => return Poll::Pending,
            },
        };
        this.last = this.pulse.clock.time();
        Poll::Ready(Some(Ok(wire::SubscribeResponse { response: Some(response) })))
    }
}

impl Drop for SubscribeStream {
    fn drop(&mut self) {
        // Before the signal: a dispatcher that opens the stream after it took the signal sees this.
        self.outbox.lock().gone = true;
        self.signals.send(Signal::Gone(self.session, self.stream));
    }
}
