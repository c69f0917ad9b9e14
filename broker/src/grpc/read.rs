//! ReadEvents: the log, from disk, in bounded memory.
//!
//! Constraints: at most one message waits for the client beyond the one being read; nothing is leased or settled; everything below
//! `next_offset` was sent, told as a gap, or did not match.

use std::{sync::Arc, time::Duration};

use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use waypost_proto::{
    v1,
    wire::{self, read_events_response::Response},
};
use waypost_store::{GapCause, Offset, ReadBatch, ReadLimits, Selection};

use super::{convert::stored_event, subscribe::heartbeat};
use crate::{
    access::{Act, Caller},
    broker::Broker,
    defect::{self, Defect},
    error::{Fault, Violation},
    filter::Filter,
    limits,
};

/// The events of one ReadEvents call.
pub(super) type ReadStream = ReceiverStream<Result<wire::ReadEventsResponse, Status>>;

/// A reader of the log.
struct Reader {
    broker: Arc<Broker>,
    filter: Filter,
    selection: Selection,
    at: Offset,
    /// Where to stop; `None` to follow.
    end: Option<Offset>,
    left: u64,
    heartbeat: Duration,
    out: mpsc::Sender<Result<wire::ReadEventsResponse, Status>>,
}

pub(super) async fn read(broker: &Arc<Broker>, caller: &Caller, request: v1::ReadEventsRequest) -> Result<ReadStream, Fault> {
    let wrong = |wrong: Vec<Violation>| {
        let wrong = wrong.into_iter().map(|violation| violation.within("filter")).collect();
        Fault::fields(v1::ErrorReason::InvalidField, wrong)
    };
    let filter = Filter::compile(&request.filter.unwrap_or_default()).map_err(wrong)?;
    caller.may(&Act::Read { filter: &filter })?;
    if request.limit == Some(0) {
        return Err(Fault::invalid("limit", "is 0; leave it out to read without a limit"));
    }
    let tail = *broker.store.tail().borrow();
    let follow = match v1::ReadMode::try_from(request.mode) {
        Ok(v1::ReadMode::Unspecified | v1::ReadMode::Bounded) => false,
        Ok(v1::ReadMode::Follow) => true,
        Err(_) => return Err(Fault::unknown_enum("mode", request.mode, "ReadMode")),
    };
    let heartbeat = heartbeat(request.heartbeat_interval)?;
    let at = match &request.start_position {
        None => broker.store.disk().first,
        Some(position) if position.position.is_none() => {
            return Err(Fault::invalid("start_position", "one of point, offset and time must be set"));
        }
        position => broker.registry.position(position.as_ref(), "start_position").await?,
    };
    let end = if follow { request.end_offset } else { Some(request.end_offset.map_or(tail, |end| end.min(tail))) };
    let (out, responses) = mpsc::channel(1);
    let selection = filter.selection();
    let left = request.limit.unwrap_or(u64::MAX);
    let reader = Reader { broker: Arc::clone(broker), filter, selection, at, end, left, heartbeat, out };
    broker.spawn(reader.run());
    Ok(ReceiverStream::new(responses))
}

/// Nobody takes what is read any more, or the store does not answer.
struct Ended;

impl Reader {
    async fn run(mut self) {
        let stop = self.broker.stopping();
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                let fault = Fault::new(v1::ErrorReason::Draining, "the broker is draining; go on from where you are");
                let _ = self.out.try_send(Err(fault.into()));
                return;
            }
            ended = self.read() => ended,
        };
        if ended.is_ok() {
            let _ = self.send(self.progress()).await;
        }
    }

    async fn read(&mut self) -> Result<(), Ended> {
        // So that the client knows at once that it is being served, even if nothing matches for long.
        self.send(self.progress()).await?;
        let mut tail = self.broker.store.tail();
        while self.left > 0 && self.end.is_none_or(|end| self.at < end) {
            let known = *tail.borrow_and_update();
            if self.at >= known {
                match timeout(self.heartbeat, tail.changed()).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => return Ok(()),
                    Err(_) => self.send(self.progress()).await?,
                }
                continue;
            }
            let limits = ReadLimits { events: limits::READ_EVENTS, bytes: limits::READ_BYTES };
            match self.broker.store.read(self.at, &self.selection, limits).await {
                Ok(batch) => self.batch(batch).await?,
                Err(error) => {
                    let _ = self.out.send(Err(Fault::from(error).into())).await;
                    return Err(Ended);
                }
            }
        }
        Ok(())
    }

    /// Sends the gaps and events of a batch in their order.
    async fn batch(&mut self, batch: ReadBatch) -> Result<(), Ended> {
        let end = self.end.unwrap_or(Offset::MAX);
        let lost: Vec<_> = batch.gaps.iter().copied().filter(|gap| gap.from < end).collect();
        let mut gaps = lost.into_iter().peekable();
        let (mut events, mut bytes) = (Vec::new(), 0);
        for event in batch.events.iter().take_while(|event| event.offset < end) {
            while let Some(gap) = gaps.next_if(|gap| gap.from < event.offset) {
                self.flush(&mut events).await?;
                self.gap(&gap, end).await?;
            }
            if self.left == 0 {
                break;
            }
            if self.filter.matches(event) {
                bytes += event.body.len();
                events.push(stored_event(event));
                self.left -= 1;
                if bytes >= limits::DELIVERIES_TARGET_BYTES {
                    bytes = 0;
                    self.flush(&mut events).await?;
                }
            }
            self.at = event.offset + 1;
        }
        self.flush(&mut events).await?;
        if self.left > 0 {
            for gap in gaps {
                self.gap(&gap, end).await?;
            }
            self.at = batch.next.min(end).max(self.at);
        }
        Ok(())
    }

    async fn gap(&self, gap: &waypost_store::Gap, end: Offset) -> Result<(), Ended> {
        if defect::is_on(Defect::ReadSilent) {
            return Ok(());
        }
        let reason = match gap.cause {
            GapCause::Trimmed => v1::GapReason::BeforeEarliest,
            GapCause::Damaged => v1::GapReason::Corruption,
        };
        let gap = v1::Gap { from_offset: gap.from, to_offset: gap.to.min(end), reason: reason.into() };
        self.send(Response::Gap(gap)).await
    }

    async fn flush(&self, events: &mut Vec<wire::StoredEvent>) -> Result<(), Ended> {
        if events.is_empty() {
            return Ok(());
        }
        self.send(Response::Events(wire::StoredEvents { events: std::mem::take(events) })).await
    }

    fn progress(&self) -> Response {
        let durable_end_offset = *self.broker.store.tail().borrow();
        Response::Progress(v1::ReadProgress { next_offset: self.at, durable_end_offset })
    }

    async fn send(&self, response: Response) -> Result<(), Ended> {
        self.out.send(Ok(wire::ReadEventsResponse { response: Some(response) })).await.map_err(|_| Ended)
    }
}
