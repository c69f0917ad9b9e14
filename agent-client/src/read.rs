//! Replay: reading the log without touching any subscription.
//!
//! Constraints: after a broken stream the reader goes on after the last event it handed out; what is not read holds the
//! broker back, and costs bounded memory.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio_stream::Stream;
use tonic::Code;
use waypost_proto::v1::read_events_response::Response;
use waypost_proto::v1::start_position::Position;
use waypost_proto::v1::{Gap, ReadEventsRequest, ReadEventsResponse, ReadMode, StartPosition, StoredEvent};

use crate::failure::Failure;
use crate::filter::{Filter, Start};
use crate::limits::{HEARTBEAT, PATIENCE};
use crate::link::{Link, Step};
use crate::rpc::Rpc;

/// Why a reader cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// The start lies beyond the end of the log.
    #[error("the start lies beyond the end of the log: {0}")]
    OutOfRange(#[source] Failure),
    /// The broker refuses, and would again.
    #[error("the broker refuses to be read: {0}")]
    Refused(#[source] Failure),
}

/// A reader about to be opened.
#[must_use = "nothing is read until it is opened"]
pub struct ReadBuilder {
    rpc: Rpc,
    request: ReadEventsRequest,
    on_gap: Option<OnGap>,
}

type OnGap = Box<dyn Fn(Gap) + Send + Sync>;

impl ReadBuilder {
    pub(crate) fn new(rpc: Rpc) -> Self {
        let heartbeat = prost_types::Duration::try_from(HEARTBEAT).ok();
        let request = ReadEventsRequest {
            start_position: Some(Start::Earliest.into()),
            mode: ReadMode::Bounded.into(),
            heartbeat_interval: heartbeat,
            ..ReadEventsRequest::default()
        };
        Self { rpc, request, on_gap: None }
    }

    /// Where to begin. Default: [`Start::Earliest`].
    pub fn start_at(mut self, start: Start) -> Self {
        self.request.start_position = Some(start.into());
        self
    }

    /// Which events. Default: every one except the broker's own.
    pub fn filter(mut self, filter: impl Into<Filter>) -> Self {
        self.request.filter = Some(filter.into().into());
        self
    }

    /// Stops after this many events.
    pub fn limit(mut self, events: u64) -> Self {
        self.request.limit = Some(events);
        self
    }

    /// Stops before this offset.
    pub fn until(mut self, offset: u64) -> Self {
        self.request.end_offset = Some(offset);
        self
    }

    /// Goes on with new events as they become durable, instead of stopping at the end.
    pub fn follow(mut self) -> Self {
        self.request.mode = ReadMode::Follow.into();
        self
    }

    /// Calls this for events that are gone. They are logged in any case.
    pub fn on_gap(mut self, tell: impl Fn(Gap) + Send + Sync + 'static) -> Self {
        self.on_gap = Some(Box::new(tell));
        self
    }

    /// Opens the reader. It connects when it is first polled.
    ///
    /// # Panics
    ///
    /// Outside of a Tokio runtime.
    #[must_use]
    pub fn open(self) -> Reader {
        let link = Link::new(HEARTBEAT.saturating_mul(PATIENCE));
        Reader { rpc: self.rpc, request: self.request, link, ready: VecDeque::new(), on_gap: self.on_gap, done: false }
    }
}

impl fmt::Debug for ReadBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadBuilder").field("request", &self.request).finish_non_exhaustive()
    }
}

/// Events of the log, in offset order. Also a [`Stream`].
pub struct Reader {
    rpc: Rpc,
    /// What to ask for next: what was received is taken off.
    request: ReadEventsRequest,
    link: Link<ReadEventsResponse>,
    ready: VecDeque<StoredEvent>,
    on_gap: Option<OnGap>,
    done: bool,
}

impl Reader {
    /// The next event; `None` at the end. A broken connection is opened again, for ever, and the reader goes on where it
    /// was; the end is then that of the time of the new connection.
    ///
    /// # Errors
    ///
    /// When the broker refuses for good: see [`ReadError`].
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: an event that was not returned is the next call's.
    pub async fn try_next(&mut self) -> Result<Option<StoredEvent>, ReadError> {
        poll_fn(|cx| self.poll_event(cx)).await.transpose()
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<StoredEvent, ReadError>>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Poll::Ready(Some(Ok(event)));
            }
            if self.done || self.request.limit == Some(0) {
                return Poll::Ready(None);
            }
            match ready!(self.link.poll_next(cx)) {
                Step::Dial => {
                    let (mut rpc, request) = (self.rpc.clone(), self.request.clone());
                    self.link.dial(Box::pin(async move { rpc.read_events(request).await }));
                }
                Step::Message(message) => self.message(message),
                Step::Ended => self.done = true,
                Step::Broken(failure) if failure.is_transient() => tracing::debug!(%failure, "reading again"),
                Step::Broken(failure) => {
                    self.done = true;
                    return Poll::Ready(Some(Err(match failure.code {
                        Code::OutOfRange => ReadError::OutOfRange(failure),
                        _ => ReadError::Refused(failure),
                    })));
                }
            }
        }
    }

    fn message(&mut self, message: ReadEventsResponse) {
        match message.response {
            Some(Response::Events(events)) => {
                if let Some(last) = events.events.last() {
                    self.go_on_at(last.offset + 1);
                }
                if let Some(limit) = &mut self.request.limit {
                    *limit = limit.saturating_sub(events.events.len() as u64);
                }
                self.ready.extend(events.events);
            }
            Some(Response::Gap(gap)) => {
                tracing::warn!(from = gap.from_offset, to = gap.to_offset, reason = gap.reason().as_str_name(), "events are missing");
                self.go_on_at(gap.to_offset);
                if let Some(tell) = &self.on_gap {
                    tell(gap);
                }
            }
            Some(Response::Progress(progress)) => self.go_on_at(progress.next_offset),
            // Kinds may be added.
            None => {}
        }
    }

    fn go_on_at(&mut self, offset: u64) {
        self.request.start_position = Some(StartPosition { position: Some(Position::Offset(offset)) });
    }
}

impl Stream for Reader {
    type Item = Result<StoredEvent, ReadError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").field("request", &self.request).field("done", &self.done).finish_non_exhaustive()
    }
}
