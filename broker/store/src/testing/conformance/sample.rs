//! Events to store, as short as a check can say them.

use bytes::Bytes;

use super::Broken;
use crate::{
    contract::{Appended, Micros, Selection, TypeSet},
    event::{EventHead, NewEvent, StoredEvent},
};

/// When the checks begin: some day in 2023.
pub(super) const T0: Micros = 1_700_000_000_000_000;

/// The usual dedup window.
pub(super) const WINDOW: Micros = 1_000_000;

/// An event in the making. Its body says what it is.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    source: String,
    id: String,
    event_type: String,
    correlation: String,
    content: u64,
    body_bytes: usize,
    window: Micros,
}

impl Sample {
    pub(super) fn new(id: impl ToString) -> Self {
        Self {
            source: "suite".into(),
            id: id.to_string(),
            event_type: "suite.v1.Thing".into(),
            correlation: String::new(),
            content: 0,
            body_bytes: 0,
            window: WINDOW,
        }
    }

    pub(super) fn source(self, source: &str) -> Self {
        Self { source: source.into(), ..self }
    }

    pub(super) fn event_type(self, event_type: &str) -> Self {
        Self { event_type: event_type.into(), ..self }
    }

    pub(super) fn correlation(self, correlation: &str) -> Self {
        Self { correlation: correlation.into(), ..self }
    }

    /// Other content has another fingerprint and another body.
    pub(super) fn content(self, content: u64) -> Self {
        Self { content, ..self }
    }

    /// At least so many bytes of body.
    pub(super) fn body_bytes(self, body_bytes: usize) -> Self {
        Self { body_bytes, ..self }
    }

    pub(super) fn window(self, window: Micros) -> Self {
        Self { window, ..self }
    }

    pub(super) fn build(&self) -> Result<NewEvent, Broken> {
        let head = EventHead::new(&self.source, &self.id, &self.event_type, "subject", "key", &self.correlation)?;
        let mut body = format!("{} {} {}", self.source, self.id, self.content).into_bytes();
        if body.len() < self.body_bytes {
            body.resize(self.body_bytes, b'.');
        }
        Ok(NewEvent { head, body: Bytes::from(body), fingerprint: u128::from(self.content), dedup_window: self.window })
    }
}

/// Several samples at once.
pub(super) fn build_all(samples: impl IntoIterator<Item = Sample>) -> Result<Vec<NewEvent>, Broken> {
    samples.into_iter().map(|sample| sample.build()).collect()
}

/// What a new event is once it is stored.
pub(super) fn stored(event: &NewEvent, place: Appended) -> StoredEvent {
    StoredEvent { offset: place.offset, accepted_at: place.accepted_at, head: event.head.clone(), body: event.body.clone() }
}

pub(super) fn types(names: &[&str], prefixes: &[&str]) -> Selection {
    let all = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
    Selection::Types(TypeSet { names: all(names), prefixes: all(prefixes) })
}

/// Whether an event belongs to a selection, said naively.
pub(super) fn matches(selection: &Selection, head: &EventHead) -> bool {
    match selection {
        Selection::All => true,
        Selection::Types(set) => set.contains(head.event_type()),
        Selection::Correlation(id) => head.correlation_id() == &**id,
        Selection::Id { source, id } => head.source() == &**source && head.id() == &**id,
    }
}
