//! The event that led to another, and what that makes of the other's lineage (P10).
//!
//! Constraint: what follows from a cause is made of the cause alone; an event that says otherwise of itself is refused.

use waypost_proto::{
    v1::{ErrorReason, Lineage},
    wire,
};
use waypost_store::StoredEvent;

use crate::{
    defect::{self, Defect},
    envelope,
    error::Fault,
    trace::Incoming,
};

/// The event that led to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    id: String,
    correlation_id: String,
    hops: u32,
    pub(super) trace: Option<Incoming>,
}

impl Cause {
    /// From an event as it is stored.
    ///
    /// # Errors
    /// When its bytes are not an event, which the checksums of the store rule out.
    pub fn of(event: &StoredEvent) -> Result<Self, Fault> {
        let decoded = envelope::event(&event.body).decode_event();
        let decoded = decoded.map_err(|error| Fault::new(ErrorReason::DataCorrupted, format!("event {}: {error}", event.offset)))?;
        let lineage = decoded.lineage.unwrap_or_default();
        let trace = Incoming::of_attributes(&decoded.attributes);
        Ok(Self { id: decoded.id, correlation_id: lineage.correlation_id, hops: lineage.hops, trace })
    }

    /// What it led to comes from this span of its trace.
    #[must_use]
    pub fn within(self, span: u64) -> Self {
        Self { trace: self.trace.map(|trace| trace.with_span(span)), ..self }
    }

    /// The place in the story of what it led to.
    #[must_use]
    pub fn lineage(&self) -> Lineage {
        let hops = self.hops.saturating_add(u32::from(!defect::is_on(Defect::HopsNotCounted)));
        Lineage { correlation_id: self.correlation_id.clone(), causation_id: self.id.clone(), hops }
    }

    /// Puts an event into its place in the story.
    ///
    /// # Errors
    /// When it says that it belongs elsewhere.
    pub(super) fn place(&self, event: &mut wire::Event) -> Result<(), Fault> {
        let given = event.lineage.take().unwrap_or_default();
        for (field, given, expected) in [
            ("event.lineage.correlation_id", &given.correlation_id, &self.correlation_id),
            ("event.lineage.causation_id", &given.causation_id, &self.id),
        ] {
            if !given.is_empty() && given != expected {
                return Err(Fault::invalid(field, format!("is {given:?}, but the named cause makes it {expected:?}; leave it empty")));
            }
        }
        event.lineage = Some(self.lineage());
        Ok(())
    }

    /// The id of the event.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }
}
