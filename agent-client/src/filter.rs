//! Which events are wanted, and from where on.
//!
//! Constraint: thin words for the contract's messages; the broker checks the values.

use std::time::SystemTime;

use prost::Name;
use waypost_proto::v1;
use waypost_proto::v1::start_position::Position;

/// Which events a subscription or a reader wants. All that is set must hold; nothing set means every event except the
/// broker's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Filter(v1::Filter);

impl Filter {
    /// Every event except the broker's own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Also events of this type: exact, or a prefix that ends in `.*`, such as `logistics.v1.*`.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.0.types.push(event_type.into());
        self
    }

    /// Also events that carry an `M` under its own name.
    #[must_use]
    pub fn of<M: Name>(self) -> Self {
        self.event_type(M::full_name())
    }

    /// Also events of this source: exact, or a prefix that ends in `.*`.
    #[must_use]
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.0.sources.push(source.into());
        self
    }

    /// Only events whose subject starts with this.
    #[must_use]
    pub fn subject_prefix(mut self, prefix: impl Into<String>) -> Self {
        self.0.subject_prefix = prefix.into();
        self
    }

    /// Only events with exactly this attribute.
    #[must_use]
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.attributes.insert(name.into(), value.into());
        self
    }

    pub(crate) fn has_types(&self) -> bool {
        !self.0.types.is_empty()
    }
}

impl From<v1::Filter> for Filter {
    fn from(filter: v1::Filter) -> Self {
        Self(filter)
    }
}

impl From<Filter> for v1::Filter {
    fn from(filter: Filter) -> Self {
        filter.0
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Start {
    /// After the last durable event.
    New,
    /// At the earliest event that is kept.
    Earliest,
    /// At this offset.
    Offset(u64),
    /// At the first event accepted at or after this time.
    Time(SystemTime),
}

impl From<Start> for v1::StartPosition {
    fn from(start: Start) -> Self {
        let position = match start {
            Start::New => Position::Point(v1::StartPoint::New.into()),
            Start::Earliest => Position::Point(v1::StartPoint::Earliest.into()),
            Start::Offset(offset) => Position::Offset(offset),
            Start::Time(time) => Position::Time(time.into()),
        };
        Self { position: Some(position) }
    }
}
