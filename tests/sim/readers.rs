//! Who reads the log without a subscription: from anywhere, in any filter, to an end, and at any pace.
//!
//! Constraints:
//! - What a reader was sent, or told as lost, is all that is stored and matches, in order (P14).
//! - None follows the log: several who wait for one watch channel are woken in an order by chance, so a seed would not replay (P13).

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use fastrand::Rng;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tonic::{Code, Request, Response, Status};
use waypost_broker::grpc;
use waypost_proto::{
    v1::{self, ReadMode, start_position::Position},
    wire::{agent_service_server::AgentService, read_events_response::Response as Read},
};

use crate::{
    coverage::Seen,
    interest::wants,
    ledger::{Ledger, SharedLedger, lock},
    life::Life,
    specs::{self, NAMES},
};

type ReadStream = <grpc::Agent as AgentService>::ReadEventsStream;

/// One reader, and its read if it has one.
#[derive(Default)]
pub(crate) struct Reader {
    opening: Option<JoinHandle<Result<Response<ReadStream>, Status>>>,
    stream: Option<Pin<Box<ReadStream>>>,
    filter: v1::Filter,
    /// Everything before it was sent, told as lost, or did not match.
    at: u64,
    /// Told as lost, and not passed yet.
    gaps: Vec<(u64, u64)>,
}

impl Reader {
    /// Begins a read, takes something, or goes away.
    pub(crate) fn act(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger) {
        match &mut self.stream {
            None if self.opening.is_none() => self.begin(life, rng),
            Some(_) if rng.u8(0..40) == 0 => self.stream = None,
            Some(_) => (0..rng.u8(1..4)).for_each(|_| self.take(&mut lock(ledger))),
            None => {}
        }
    }

    fn begin(&mut self, life: &Life, rng: &mut Rng) {
        let tail = *life.broker.store.tail().borrow();
        self.at = rng.u64(tail.saturating_sub(300).max(1)..=tail);
        self.filter = specs::filter(NAMES[rng.usize(..NAMES.len())], rng.u8(0..2));
        self.gaps.clear();
        let request = v1::ReadEventsRequest {
            start_position: Some(v1::StartPosition { position: Some(Position::Offset(self.at)) }),
            filter: Some(self.filter.clone()),
            mode: ReadMode::Bounded.into(),
            limit: rng.bool().then(|| rng.u64(1..60)),
            end_offset: (rng.u8(0..4) == 0).then(|| self.at + rng.u64(0..80)),
            heartbeat_interval: Some(prost_types::Duration { seconds: 1, nanos: 0 }),
        };
        let agents = Arc::clone(&life.agents);
        self.opening = Some(tokio::spawn(async move { agents.read_events(Request::new(request)).await }));
    }

    /// Takes in whether the read began.
    pub(crate) async fn collect(&mut self, ledger: &SharedLedger) {
        let Some(handle) = self.opening.take_if(|handle| handle.is_finished()) else { return };
        match handle.await {
            Ok(Ok(response)) => self.stream = Some(Box::pin(response.into_inner())),
            Ok(Err(status)) => {
                lock(ledger).hold("P14", status.code() == Code::Unavailable, || format!("a read could not begin: {status:?}"));
            }
            Err(_) => lock(ledger).hold("P14", false, || "a read panicked".to_owned()),
        }
    }

    fn take(&mut self, ledger: &mut Ledger) {
        let Some(stream) = &mut self.stream else { return };
        let message = match stream.as_mut().poll_next(&mut Context::from_waker(Waker::noop())) {
            Poll::Pending => return,
            Poll::Ready(message) => message,
        };
        match message {
            Some(Ok(message)) => match message.response {
                Some(Read::Events(events)) => events.events.into_iter().for_each(|stored| self.event(&stored, ledger)),
                Some(Read::Gap(gap)) => {
                    ledger.hit(Seen::ReadGap);
                    self.gaps.push((gap.from_offset, gap.to_offset));
                }
                Some(Read::Progress(progress)) => self.pass(progress.next_offset, ledger),
                None => ledger.hold("P14", false, || "a read brought an empty message".to_owned()),
            },
            Some(Err(status)) => {
                ledger.hit(Seen::ReadCutOff);
                ledger.hold("P14", status.code() == Code::Unavailable, || format!("a read ended with {status:?}"));
                self.stream = None;
            }
            None => {
                ledger.hit(Seen::ReadBounded);
                self.stream = None;
            }
        }
    }

    fn event(&mut self, stored: &waypost_proto::wire::StoredEvent, ledger: &mut Ledger) {
        let offset = stored.offset;
        ledger.trace(&offset.to_le_bytes());
        self.pass(offset, ledger);
        let same = stored.event.as_ref().map(|event| &event.0) == ledger.event_bytes(offset).as_ref();
        ledger.hold("P14", same, || format!("event {offset} is read with other bytes, or twice"));
        let fits = ledger.events.get(&offset).is_some_and(|stored| wants(&self.filter, &stored.head));
        ledger.hold("P14", fits, || format!("event {offset} is read, and does not match"));
        self.at = offset + 1;
    }

    /// Everything before `next` is accounted for.
    fn pass(&mut self, next: u64, ledger: &mut Ledger) {
        let at = self.at;
        ledger.hold("P14", next >= at, || format!("a read goes back from {at} to {next}"));
        let told = |offset: u64| self.gaps.iter().any(|&(from, to)| (from..to).contains(&offset));
        let mut span = ledger.events.range(at..next.max(at)).filter(|(_, stored)| wants(&self.filter, &stored.head));
        let wrong = span.find(|(offset, stored)| !(stored.lost && told(**offset))).map(|(&offset, stored)| (offset, stored.lost));
        ledger.hold("P14", wrong.is_none(), || format!("a read passes from {at} to {next} over {wrong:?} (event, whether it is lost)"));
        self.at = next.max(at);
        self.gaps.retain(|&(_, to)| to > next);
    }

    /// The broker is gone.
    pub(crate) fn cut_off(&mut self) {
        (self.opening, self.stream) = (None, None);
    }
}
