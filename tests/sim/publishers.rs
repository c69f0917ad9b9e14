//! Agents that publish: with ids and without, again, and with other content under an id that is taken.

use std::sync::Arc;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Response, Status};
use waypost_proto::{
    v1::{ErrorReason, PublishResponse, publish_result},
    wire::{self, agent_service_server::AgentService},
};

use crate::{
    coverage::Seen,
    ledger::{Ledger, SharedLedger, lock},
    life::{Life, WINDOW},
    pipeline::Pipeline,
    specs::PROMPT_TYPE,
};

/// The types of the simulation. The rare one is for subscriptions that are idle for long.
const TYPES: [&str; 9] =
    ["sim.a.One", "sim.a.One", "sim.a.Two", "sim.a.Two", "sim.b.One", "sim.b.One", "sim.b.Two", "sim.rare.One", PROMPT_TYPE];

/// An id that was used.
struct Sent {
    event: wire::Event,
    /// Where it is, by the latest answer.
    at: Option<u64>,
    /// A call with it was not answered.
    unknown: bool,
    in_flight: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Anonymous,
    Fresh,
    Again,
    Changed,
}

/// What is published, and which of the ids that were used it has.
type Item = (Manner, Option<usize>, wire::Event);

struct Call {
    items: Vec<Item>,
    handle: JoinHandle<Result<Response<PublishResponse>, Status>>,
}

pub(crate) struct Publisher {
    source: String,
    sent: Vec<Sent>,
    calls: Vec<Call>,
    /// It publishes in a stream.
    streams: bool,
    pipeline: Option<Pipeline<Vec<Item>>>,
}

impl Publisher {
    pub(crate) fn new(number: usize) -> Self {
        let source = format!("agents/p{number}");
        Self { source, sent: Vec::new(), calls: Vec::new(), streams: number == 2, pipeline: None }
    }

    /// An id that was used, for an output that must be refused.
    pub(crate) fn taken(&self, rng: &mut Rng, ledger: &Ledger) -> Option<(String, String)> {
        let recent = self.sent.len().saturating_sub(20);
        let index = (recent < self.sent.len()).then(|| rng.usize(recent..self.sent.len()))?;
        let sent = &self.sent[index];
        let stored = ledger.events.get(&sent.at?)?;
        (stored.accepted_at + WINDOW > ledger.now() + 1_000_000).then(|| (self.source.clone(), sent.event.id.clone()))
    }

    pub(crate) fn publish(&mut self, life: &Life, rng: &mut Rng) {
        if self.calls.len() + self.pipeline.as_ref().map_or(0, Pipeline::waiting) >= 6 {
            return;
        }
        let count = if rng.u8(0..10) == 0 { rng.usize(2..8) } else { 1 };
        let items: Vec<_> = (0..count).map(|_| self.item(rng)).collect();
        let request = items.iter().map(|(_, _, event)| wire::PublishItem { event: Some(event.clone()), cause_token: bytes::Bytes::new() });
        let request = wire::PublishRequest { items: request.collect() };
        if self.streams {
            return self.pipeline.get_or_insert_with(|| Pipeline::open(life)).send(request.items, items);
        }
        let agents = Arc::clone(&life.agents);
        let handle = tokio::spawn(async move { agents.publish(Request::new(request)).await });
        self.calls.push(Call { items, handle });
    }

    fn item(&mut self, rng: &mut Rng) -> Item {
        let again = rng.u8(0..100);
        let recent = self.sent.len().saturating_sub(40);
        let index = (recent < self.sent.len()).then(|| rng.usize(recent..self.sent.len())).filter(|&index| !self.sent[index].in_flight);
        match (again, index) {
            (0..10, Some(index)) => {
                self.sent[index].in_flight = true;
                (Manner::Again, Some(index), self.sent[index].event.clone())
            }
            (10..13, Some(index)) => {
                self.sent[index].in_flight = true;
                let event = self.sent[index].event.clone();
                let subject = format!("{}/changed", event.subject);
                (Manner::Changed, Some(index), wire::Event { subject, ..event })
            }
            (13..35, _) => (Manner::Anonymous, None, self.event(rng, String::new())),
            _ => {
                let event = self.event(rng, format!("id-{}", self.sent.len()));
                self.sent.push(Sent { event: event.clone(), at: None, unknown: false, in_flight: true });
                (Manner::Fresh, Some(self.sent.len() - 1), event)
            }
        }
    }

    fn event(&self, rng: &mut Rng, id: String) -> wire::Event {
        let ordering_key = if rng.u8(0..4) == 0 { format!("key-{}", rng.u8(0..6)) } else { String::new() };
        let data = wire::Any {
            type_url: "type.googleapis.com/waypost.v1.JsonPayload".to_owned(),
            value: prost::Message::encode_to_vec(&waypost_proto::v1::JsonPayload {
                json: format!("{:?}", "x".repeat(rng.usize(0..300))).into(),
            })
            .into(),
        };
        wire::Event {
            id,
            source: self.source.clone(),
            r#type: TYPES[rng.usize(..TYPES.len())].to_owned(),
            subject: format!("s{}", rng.u8(0..4)),
            data: Some(data),
            ordering_key,
            ..wire::Event::default()
        }
    }

    /// Takes in the answers that came.
    pub(crate) async fn collect(&mut self, ledger: &SharedLedger) {
        let (done, open) = std::mem::take(&mut self.calls).into_iter().partition(|call| call.handle.is_finished());
        self.calls = open;
        for Call { items, handle } in done {
            let Ok(answer) = handle.await else {
                lock(ledger).hold("P1", false, || "a publish call panicked".to_owned());
                continue;
            };
            self.answered(items, answer.map(Response::into_inner), &mut lock(ledger));
        }
        self.collect_stream(ledger);
    }

    /// In a stream what the store does not take is refused item by item.
    fn collect_stream(&mut self, ledger: &SharedLedger) {
        let Some(pipeline) = &mut self.pipeline else { return };
        let (answers, end) = pipeline.collect(ledger);
        let mut ledger = lock(ledger);
        for (items, results) in answers {
            ledger.hold("P4", results.len() == items.len(), || "a request of a stream was not answered item by item".to_owned());
            for ((manner, index, event), result) in items.into_iter().zip(results) {
                let refused = match &result.result {
                    Some(publish_result::Result::Refused(refusal)) => Some(refusal.reason()),
                    _ => None,
                };
                match refused {
                    Some(ErrorReason::StoreFull | ErrorReason::OutcomeUnknown) => {
                        ledger.hit(Seen::RefusedInStream);
                        self.unanswered(&[(manner, index, event)]);
                    }
                    _ => {
                        ledger.hit(Seen::PublishedInStream);
                        self.item_answered(manner, index, &event, result.result, &mut ledger);
                    }
                }
            }
        }
        if let Some(status) = end {
            ledger.hold("P1", false, || format!("a publish stream ended with {status:?}"));
        }
    }

    /// The process that was asked is gone.
    pub(crate) fn cut_off(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            self.unanswered(&call.items);
        }
        for items in self.pipeline.take().into_iter().flat_map(Pipeline::into_open) {
            self.unanswered(&items);
        }
    }

    fn unanswered(&mut self, items: &[Item]) {
        for &(_, index, _) in items {
            if let Some(sent) = index.map(|index| &mut self.sent[index]) {
                (sent.unknown, sent.in_flight) = (true, false);
            }
        }
    }

    fn answered(&mut self, items: Vec<Item>, answer: Result<PublishResponse, Status>, ledger: &mut Ledger) {
        let response = match answer {
            Ok(response) => response,
            Err(status) => {
                ledger.trace(&[1, status.code() as u8]);
                ledger.hit(if status.code() == Code::ResourceExhausted { Seen::PublishRefusedFull } else { Seen::PublishUnknown });
                let fits = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
                ledger.hold("P1", fits, || format!("a publish call failed with {status:?}"));
                return self.unanswered(&items);
            }
        };
        ledger.hold("P4", response.results.len() == items.len(), || "a publish call was not answered item by item".to_owned());
        for ((manner, index, event), result) in items.into_iter().zip(response.results) {
            self.item_answered(manner, index, &event, result.result, ledger);
        }
    }

    fn item_answered(
        &mut self,
        manner: Manner,
        index: Option<usize>,
        event: &wire::Event,
        result: Option<publish_result::Result>,
        ledger: &mut Ledger,
    ) {
        let now = ledger.now();
        let sent = index.map(|index| &mut self.sent[index]);
        let first = sent.as_ref().filter(|sent| !sent.unknown).and_then(|sent| sent.at);
        // The first is remembered for certain, by the time of the answer.
        let within = first.filter(|at| ledger.events.get(at).is_some_and(|stored| now < stored.accepted_at + WINDOW));
        match result {
            Some(publish_result::Result::Accepted(accepted)) => {
                ledger.trace(&accepted.offset.to_le_bytes());
                let (source, id) = (self.source.clone(), accepted.id);
                let is_there = ledger.events.get(&accepted.offset).is_some_and(|e| e.head.id() == id && e.head.source() == source);
                ledger.hold("P1", is_there, || format!("{id:?} was answered with offset {}, and is not there", accepted.offset));
                ledger.hold("P7", event.id.is_empty() || event.id == id, || format!("{:?} was answered as {id:?}", event.id));
                ledger.hit(if accepted.duplicate { Seen::Duplicate } else { Seen::Published });
                ledger.hold("P7", manner != Manner::Changed || within.is_none(), || format!("{id:?} with other content was accepted"));
                if manner == Manner::Again {
                    let expected = within.is_none_or(|at| accepted.duplicate && accepted.offset == at);
                    ledger.hold("P7", expected, || format!("{id:?} is at {within:?}, again it was answered with {}", accepted.offset));
                    if !accepted.duplicate && first.is_some() {
                        ledger.hit(Seen::WindowOver);
                    }
                }
                if manner == Manner::Fresh || manner == Manner::Anonymous {
                    ledger.hold("P7", !accepted.duplicate, || format!("{id:?} is new, and was answered as a duplicate"));
                }
                if let Some(sent) = sent {
                    if accepted.duplicate && sent.unknown {
                        ledger.hit(Seen::DuplicateAfterUnknown);
                    }
                    sent.in_flight = false;
                    sent.at = Some(accepted.offset);
                    if !accepted.duplicate {
                        (sent.event, sent.unknown) = (event.clone(), false);
                    }
                }
            }
            Some(publish_result::Result::Refused(refusal)) => {
                ledger.trace(&[2]);
                ledger.hit(Seen::Conflict);
                let fits = refusal.reason() == ErrorReason::IdConflict && (manner == Manner::Changed || first.is_none());
                ledger.hold("P7", fits && matches!(manner, Manner::Again | Manner::Changed), || {
                    format!("{:?} was refused: {refusal:?}", event.id)
                });
                if let Some(sent) = sent {
                    sent.in_flight = false;
                }
            }
            None => ledger.hold("P4", false, || "an item has no result".to_owned()),
        }
    }
}
