//! The span of a request at the edge.
//!
//! Constraints:
//! - A verified sender's trace goes on, under its id, but whether it is sampled is decided here, unless its source is trusted: a sender
//!   outside must not be able to have everything recorded, nor to hide.
//! - A request that is refused is in no trace but its own, and only so many of them a second are recorded: anybody can make them.

use http::HeaderMap;
use opentelemetry::{KeyValue, trace::SpanKind};
use waypost_proto::wire;
use waypost_store::{EventHead, Micros};

use super::{
    Emission, Incoming, Tracer,
    emission::Way,
    span::{Begun, Ended, number},
    tracer,
};
use crate::ingress::{Outcome, Source};

/// A request that has come.
#[derive(Clone, Debug)]
pub struct Arrival {
    span: Begun,
    /// The span of its event's append.
    append: u64,
    state: String,
}

impl Tracer {
    /// A request comes. What it says of its trace counts once it is verified.
    #[must_use]
    pub fn arrival(&self, source: &str, headers: &HeaderMap, at: Micros) -> Option<Arrival> {
        let recorder = self.recorder()?;
        let incoming = Incoming::of_headers(headers);
        let decided = incoming.as_ref().filter(|_| recorder.trusted.contains(source)).map(|incoming| incoming.context.sampled);
        let sampled = decided.unwrap_or_else(|| recorder.chance());
        let span = recorder.begin(incoming.as_ref().map(|incoming| incoming.context), sampled, at);
        Some(Arrival { span, append: recorder.span(), state: incoming.map(|incoming| incoming.state).unwrap_or_default() })
    }

    /// It is answered.
    pub fn answered(&self, arrival: Option<&Arrival>, source: &Source, outcome: Outcome, id: &str) {
        let (Some(recorder), Some(arrival)) = (self.recorder(), arrival.filter(|arrival| arrival.span.context.sampled)) else { return };
        let (mut span, now) = (arrival.span, recorder.now());
        let is_refused = outcome.kind() == "refused";
        if is_refused {
            if recorder.refusals.spend(now, 1).is_err() {
                return;
            }
            span = recorder.begin(None, true, span.at);
        }
        let status = outcome.status();
        let mut attributes = Vec::with_capacity(10);
        attributes.extend([
            KeyValue::new("http.request.method", "POST"),
            KeyValue::new("http.route", source.path.clone()),
            number("http.response.status_code", status.as_u16().into()),
            KeyValue::new("waypost.source", source.name.clone()),
            KeyValue::new("waypost.webhook.outcome", outcome.kind()),
        ]);
        if !outcome.reason().is_empty() {
            attributes.push(KeyValue::new("waypost.webhook.reason", outcome.reason()));
        }
        if !id.is_empty() {
            attributes.push(KeyValue::new("messaging.message.id", id.to_owned()));
        }
        // By the conventions the sender's fault is no error of a server.
        let error = status.is_server_error().then(|| outcome.reason());
        recorder.end(span, Ended { kind: SpanKind::Server, name: format!("POST {}", source.path).into(), attributes, error, at: now });
    }
}

impl Tracer {
    /// Its event is to be made durable now.
    #[must_use]
    pub fn append(&self, arrival: &Arrival, head: &EventHead) -> Option<Emission> {
        let Begun { context, .. } = arrival.span;
        let recorder = self.recorder().filter(|_| context.sampled)?;
        let span = Begun { context: context.with_span(arrival.append), parent: context.span, parent_is_remote: false, at: recorder.now() };
        Some(Emission::new(span, Way::Append, head.clone(), 0))
    }
}

impl Arrival {
    /// Makes the append what the event came from.
    pub fn stamp(&self, event: &mut wire::Event) {
        tracer::stamp(event, self.span.context.with_span(self.append), &self.state);
    }
}
