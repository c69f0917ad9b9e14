//! What became of a published event.
//!
//! Constraint: an event is published, refused for good, or of unknown fate; nothing in between.

use prost::Message;
use tonic::Code;
use uuid::Uuid;
use waypost_proto::v1::publish_result::Result as Wire;
use waypost_proto::v1::{ErrorReason, PublishItem, PublishResult};

use crate::failure::Failure;

/// The largest event that a broker takes.
const MAX_EVENT_BYTES: usize = 1 << 20;

/// A durable event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its id.
    pub id: String,
    /// Its offset.
    pub offset: u64,
    /// It was stored before, with the same content; nothing was added.
    pub duplicate: bool,
}

/// Why an event is not known to be stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The broker refuses it, and would again. It is not stored.
    #[error("the event was refused: {0}")]
    Refused(#[source] Failure),
    /// No answer came within the call deadline, or only ones that ask to try again. Whether it is stored is unknown;
    /// publishing it again with this id is harmless.
    #[error("event {id:?} was not confirmed in time{}", last.as_ref().map(|last| format!(": {last}")).unwrap_or_default())]
    TimedOut {
        /// Its id.
        id: String,
        /// What went wrong last.
        last: Option<Failure>,
    },
    /// The client's tasks are gone, because the runtime is shutting down.
    #[error("the client is closed; whether the event is stored is unknown")]
    Closed,
}

/// An answer, or the advice to try again.
pub(super) enum Answer {
    Final(Result<Published, PublishError>),
    Again(Failure),
}

impl From<PublishResult> for Answer {
    fn from(result: PublishResult) -> Self {
        match result.result {
            Some(Wire::Accepted(a)) => Self::Final(Ok(Published { id: a.id, offset: a.offset, duplicate: a.duplicate })),
            Some(Wire::Refused(refusal)) => match Failure::from(refusal) {
                failure if failure.is_transient() => Self::Again(failure),
                failure => Self::Final(Err(PublishError::Refused(failure))),
            },
            None => Self::Again(Failure::local(Code::Internal, "the broker gave a result without a content")),
        }
    }
}

/// Gives the event its id, if it has none, and its place in the current trace, and refuses what no call can carry.
pub(super) fn prepare(item: &mut PublishItem) -> Result<(), PublishError> {
    let event = item.event.get_or_insert_default();
    if event.id.is_empty() {
        event.id = Uuid::now_v7().to_string();
    }
    #[cfg(feature = "otel")]
    crate::trace::continue_in(event);
    let bytes = event.encoded_len();
    if bytes > MAX_EVENT_BYTES {
        let message = format!("event {:?} is {bytes} bytes, and may be {MAX_EVENT_BYTES} at most", event.id);
        let mut failure = Failure::local(Code::InvalidArgument, message);
        failure.reason = Some(ErrorReason::EventTooLarge);
        return Err(PublishError::Refused(failure));
    }
    Ok(())
}

pub(super) fn id(item: &PublishItem) -> String {
    item.event.as_ref().map(|event| event.id.clone()).unwrap_or_default()
}
