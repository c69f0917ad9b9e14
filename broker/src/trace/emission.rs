//! The span of an event that is made durable: from when it is taken to when it is safe. Its context is what the event came from.
//!
//! Constraint: the context of an event is, in this order, what its publisher wrote into it, that of the call, that of its cause, or a new
//! one; only the last begins a trace, and only it is sampled by chance: publishers are known, and their decision holds.

use opentelemetry::{KeyValue, trace::SpanKind};
use waypost_proto::wire;
use waypost_store::{Appended, EventHead};

use super::{
    Incoming, Tracer,
    span::{Begun, Ended, number, of_event},
    tracer,
};

/// How an event comes in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// By a webhook.
    Append,
    /// By somebody who publishes it.
    Publish,
}

/// An event on its way, whose trace is sampled.
#[derive(Clone, Debug)]
pub struct Emission {
    span: Begun,
    way: Way,
    head: EventHead,
    /// Which of the events that are appended together.
    index: usize,
}

impl Way {
    fn name(self) -> &'static str {
        match self {
            Self::Append => "append",
            Self::Publish => "publish",
        }
    }
}

impl Emission {
    pub(super) fn new(span: Begun, way: Way, head: EventHead, index: usize) -> Self {
        Self { span, way, head, index }
    }

    /// Which of the events that are appended together.
    #[must_use]
    pub fn index(&self) -> usize {
        self.index
    }
}

impl Tracer {
    /// Somebody publishes an event: it gets its place in a trace. Gives its span, if that is to be recorded.
    pub fn publishing(&self, event: &mut wire::Event, call: Option<&Incoming>, cause: Option<&Incoming>) -> Option<Begun> {
        let recorder = self.recorder()?;
        let own = Incoming::of_attributes(&event.attributes);
        let parent = own.as_ref().or(call).or(cause);
        let sampled = parent.map_or_else(|| recorder.chance(), |parent| parent.context.sampled);
        let at = if sampled { recorder.now() } else { 0 };
        let parent_is_remote = own.as_ref().or(call).is_some();
        let span = Begun { parent_is_remote, ..recorder.begin(parent.map(|parent| parent.context), sampled, at) };
        if own.is_none() {
            tracer::stamp(event, span.context, parent.map_or("", |parent| &parent.state));
        }
        sampled.then_some(span)
    }

    /// It was checked, and is the one with this index of those that are appended together; or it was refused for this reason.
    pub fn checked(&self, span: Option<Begun>, checked: Result<(&EventHead, usize), &'static str>) -> Option<Emission> {
        let (recorder, span) = (self.recorder()?, span?);
        match checked {
            Ok((head, index)) => Some(Emission::new(span, Way::Publish, head.clone(), index)),
            Err(reason) => {
                let attributes = vec![KeyValue::new("messaging.system", "waypost"), KeyValue::new("messaging.operation.name", "publish")];
                let name = Way::Publish.name().into();
                recorder.end(span, Ended { kind: SpanKind::Producer, name, attributes, error: Some(reason), at: recorder.now() });
                None
            }
        }
    }

    /// What became of events that were appended together: where each is, as far as it is known, or why none is.
    pub fn appended(&self, emissions: impl IntoIterator<Item = Emission>, places: Result<&[Appended], &'static str>) {
        let Some(recorder) = self.recorder() else { return };
        for Emission { span, way, head, index } in emissions {
            let mut attributes = of_event(&head, way.name(), "create");
            if let Some(place) = places.unwrap_or_default().get(index) {
                attributes.push(number("waypost.event.offset", place.offset));
                if place.duplicate.is_some() {
                    attributes.push(KeyValue::new("waypost.event.duplicate", true));
                }
            }
            let name = format!("{} {}", way.name(), head.event_type()).into();
            recorder.end(span, Ended { kind: SpanKind::Producer, name, attributes, error: places.err(), at: recorder.now() });
        }
    }
}
