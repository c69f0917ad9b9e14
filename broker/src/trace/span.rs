//! What a span says, by OpenTelemetry's conventions for HTTP, messaging and CloudEvents where they fit, and under `waypost.` where they do not.
//!
//! Constraint: names of spans come from few values: routes, event types and subscriptions. Ids are attributes.

use std::{
    borrow::Cow,
    time::{Duration, UNIX_EPOCH},
};

use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{SpanId, SpanKind, Status},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use waypost_store::{EventHead, Micros};

use super::TraceContext;

/// A span that has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Begun {
    /// Itself.
    pub context: TraceContext,
    /// Its parent's id; 0 if it begins its trace.
    pub parent: u64,
    /// Whether the parent is somebody else's.
    pub parent_is_remote: bool,
    /// Since when.
    pub at: Micros,
}

/// What it turned out to be.
pub(super) struct Ended {
    pub(super) kind: SpanKind,
    pub(super) name: Cow<'static, str>,
    pub(super) attributes: Vec<KeyValue>,
    /// What it failed by, of few values; `None` if it did not.
    pub(super) error: Option<&'static str>,
    pub(super) at: Micros,
}

impl Begun {
    /// The whole span.
    pub(super) fn end(self, ended: Ended, scope: &InstrumentationScope) -> SpanData {
        let Ended { kind, name, mut attributes, error, at } = ended;
        attributes.extend(error.map(|error| KeyValue::new("error.type", error)));
        SpanData {
            span_context: self.context.exported(),
            parent_span_id: SpanId::from(self.parent),
            parent_span_is_remote: self.parent_is_remote,
            span_kind: kind,
            name,
            start_time: UNIX_EPOCH + Duration::from_micros(self.at),
            end_time: UNIX_EPOCH + Duration::from_micros(at.max(self.at)),
            attributes,
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: error.map_or(Status::Unset, |error| Status::Error { description: Cow::Borrowed(error) }),
            instrumentation_scope: scope.clone(),
        }
    }
}

/// What is said of every event: which it is, and what is done with it.
pub(super) fn of_event(head: &EventHead, operation: &'static str, operation_type: &'static str) -> Vec<KeyValue> {
    let mut attributes = Vec::with_capacity(16);
    attributes.extend([
        KeyValue::new("messaging.system", "waypost"),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", operation_type),
        KeyValue::new("messaging.destination.name", head.event_type().to_owned()),
        KeyValue::new("messaging.message.id", head.id().to_owned()),
        KeyValue::new("messaging.message.conversation_id", head.correlation_id().to_owned()),
        KeyValue::new("cloudevents.event_source", head.source().to_owned()),
    ]);
    attributes
}

/// A number that fits, as all of ours do in practice.
pub(super) fn number(key: &'static str, value: u64) -> KeyValue {
    KeyValue::new(key, i64::try_from(value).unwrap_or(i64::MAX))
}
