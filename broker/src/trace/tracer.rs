//! Begins traces, decides what is sampled, and hands finished spans over.
//!
//! Constraints: cheap to copy; nothing here waits; whether a trace is sampled is decided once, where it begins, and goes with it in the
//! `traceparent` of its events, so that a story is recorded whole or not at all.

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use opentelemetry::InstrumentationScope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use tokio::sync::mpsc;
use waypost_proto::wire;
use waypost_store::Micros;

use super::{
    Collector, Export, Incoming, TraceContext,
    context::{TRACEPARENT, TRACESTATE},
    span::{Begun, Ended},
};
use crate::{access::rate::Rate, clock::Clock, entropy::Entropy, envelope, limits};

/// Records spans, or does nothing.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Recorder>>);

/// Where spans go.
pub(super) struct Recorder {
    clock: Clock,
    entropy: Entropy,
    /// The share of traces that is sampled, of those that begin here.
    ratio: f64,
    /// The sources whose senders decide that for the traces that they bring.
    pub(super) trusted: BTreeSet<String>,
    queue: mpsc::Sender<SpanData>,
    scope: InstrumentationScope,
    pub(super) counts: Arc<SpanCounts>,
    /// Of requests that anybody can make.
    pub(super) refusals: Rate,
}

/// What became of spans.
#[derive(Debug, Default)]
pub struct SpanCounts {
    /// The collector has them.
    pub exported: AtomicU64,
    /// The queue was full.
    pub dropped: AtomicU64,
    /// The collector could not be reached in time, or did not take them.
    pub failed: AtomicU64,
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_on() { "Tracer(on)" } else { "Tracer(off)" })
    }
}

impl Tracer {
    /// Does nothing.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// Records for a collector, once what it gives back runs.
    #[must_use]
    pub fn to(collector: Collector, clock: Clock) -> (Self, Export) {
        let entropy = Entropy::from_os();
        let (queue, spans) = mpsc::channel(limits::SPAN_QUEUE);
        let counts = Arc::new(SpanCounts::default());
        let recorder = Recorder {
            clock,
            ratio: collector.sample_ratio,
            trusted: collector.trusted_sources.clone(),
            queue,
            scope: InstrumentationScope::builder("waypost").with_version(env!("CARGO_PKG_VERSION")).build(),
            counts: Arc::clone(&counts),
            refusals: Rate::new(limits::REFUSED_SPANS_PER_SECOND),
            entropy,
        };
        let export = Export::new(collector, spans, counts, clock);
        (Self(Some(Arc::new(recorder))), export)
    }

    /// Whether it does anything.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// What became of spans so far: exported, dropped, failed.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 3] {
        let get = |of: fn(&SpanCounts) -> &AtomicU64| self.0.as_ref().map_or(0, |recorder| of(&recorder.counts).load(Relaxed));
        [("exported", get(|counts| &counts.exported)), ("dropped", get(|counts| &counts.dropped)), ("failed", get(|counts| &counts.failed))]
    }

    /// The context of a call, from its metadata.
    #[must_use]
    pub fn of_call(&self, metadata: &tonic::metadata::MetadataMap) -> Option<Incoming> {
        self.0.as_ref().and_then(|_| Incoming::of_headers(metadata.as_ref()))
    }

    pub(super) fn recorder(&self) -> Option<&Recorder> {
        self.0.as_deref()
    }
}

impl Recorder {
    pub(super) fn now(&self) -> Micros {
        self.clock.now()
    }

    /// Whether a trace that begins here is sampled. By chance alone: a sender who chooses the id of its trace has no say in it.
    pub(super) fn chance(&self) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "the 53 bits that are left have an exact float")]
        let drawn = (self.entropy.number() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < self.ratio
    }

    /// A span id.
    pub(super) fn span(&self) -> u64 {
        self.entropy.number().max(1)
    }

    /// Begins a span in a trace, or a trace.
    pub(super) fn begin(&self, parent: Option<TraceContext>, sampled: bool, at: Micros) -> Begun {
        let trace = parent.map_or_else(|| self.trace(), |parent| parent.trace);
        let context = TraceContext { trace, span: self.span(), sampled };
        Begun { context, parent: parent.map_or(0, |parent| parent.span), parent_is_remote: parent.is_some(), at }
    }

    /// A trace id.
    pub(super) fn trace(&self) -> u128 {
        (u128::from(self.entropy.number()) << 64 | u128::from(self.entropy.number())).max(1)
    }

    /// Hands a span over, if there is room.
    pub(super) fn end(&self, span: Begun, ended: Ended) {
        if self.queue.try_send(span.end(ended, &self.scope)).is_err() {
            self.counts.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Makes a span what an event came from, unless the event has no room for it.
pub(super) fn stamp(event: &mut wire::Event, context: TraceContext, state: &str) {
    let room = event.encoded_len() + envelope::ADDED_BYTES + limits::MAX_TRACESTATE_BYTES <= limits::MAX_EVENT_BYTES;
    if !room || event.attributes.len() + 2 > limits::MAX_ATTRIBUTES {
        return;
    }
    event.attributes.insert(TRACEPARENT.to_owned(), context.to_string());
    // That of another context is none of this one.
    if state.is_empty() {
        event.attributes.remove(TRACESTATE);
    } else {
        event.attributes.insert(TRACESTATE.to_owned(), state.to_owned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use opentelemetry_sdk::Resource;
    use tonic::{metadata::MetadataMap, transport::Endpoint};

    use super::*;

    fn tracer(sample_ratio: f64) -> (Tracer, Export) {
        let endpoint = Endpoint::from_static("http://127.0.0.1:1");
        let collector = Collector {
            endpoint,
            headers: MetadataMap::new(),
            resource: Resource::builder_empty().build(),
            sample_ratio,
            trusted_sources: ["ours".to_owned()].into(),
        };
        Tracer::to(collector, Clock::starting_at(1))
    }

    fn event() -> wire::Event {
        wire::Event { source: "agents/a".into(), r#type: "t".into(), ..wire::Event::default() }
    }

    #[tokio::test]
    async fn what_the_queue_has_no_room_for_is_dropped_and_counted() {
        let (tracer, _nobody_exports) = tracer(1.0);
        for _ in 0..limits::SPAN_QUEUE + 5 {
            let span = tracer.publishing(&mut event(), None, None);
            assert!(span.is_some() && tracer.checked(span, Err("EVENT_TOO_LARGE")).is_none());
        }
        assert_eq!(tracer.counts(), [("exported", 0), ("dropped", 5), ("failed", 0)]);
    }

    #[tokio::test]
    async fn chance_decides_where_a_trace_begins_and_nowhere_else() {
        let (tracer, _export) = tracer(0.25);
        let sampled = (0..4_000).filter(|_| tracer.publishing(&mut event(), None, None).is_some()).count();
        assert!((800..1_200).contains(&sampled), "a quarter of 4,000, and not {sampled}");
        for sampled in [true, false] {
            let parent = Incoming { context: TraceContext { trace: 1, span: 2, sampled }, state: "a=1".into() };
            let mut event = event();
            let begun = tracer.publishing(&mut event, None, Some(&parent));
            assert_eq!(begun.map(|begun| (begun.context.trace, begun.parent)), sampled.then_some((1, 2)));
            let goes_on = Incoming::of_attributes(&event.attributes).unwrap();
            assert_eq!((goes_on.context.trace, goes_on.context.sampled, &*goes_on.state), (1, sampled, "a=1"));
        }
    }

    #[tokio::test]
    async fn an_event_is_not_refused_for_want_of_room_for_its_trace() {
        let (tracer, _export) = tracer(1.0);
        let full = (0..limits::MAX_ATTRIBUTES).map(|number| (format!("a{number}"), String::new())).collect();
        let data = wire::Any { type_url: "t/x".into(), value: vec![0; limits::MAX_EVENT_BYTES - 600].into() };
        for before in [wire::Event { attributes: full, ..event() }, wire::Event { data: Some(data), ..event() }] {
            let mut event = before.clone();
            assert!(tracer.publishing(&mut event, None, None).is_some());
            assert_eq!(event, before);
        }
    }

    #[test]
    fn off_it_touches_nothing() {
        let (tracer, mut event) = (Tracer::off(), event());
        assert_eq!(tracer.publishing(&mut event, None, None), None);
        assert!(event.attributes.is_empty() && tracer.arrival("carrier", &http::HeaderMap::new(), 1).is_none());
    }
}
