//! Typed data in and out of an event.
//!
//! Constraints: a message of another type is never decoded by accident; an error says what was found and what to do.

use prost::Name;

use crate::rpc::pack;
use crate::v1::{Event, JsonPayload, PublishItem};

/// Why the data of an event could not be read as a type.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// There is no data.
    #[error("event {id:?} of type {event_type:?} has no data, but {wanted} was asked for; check its type first")]
    Missing {
        /// The event's id.
        id: String,
        /// The event's type.
        event_type: String,
        /// The full name of the type that was asked for.
        wanted: String,
    },
    /// The data is another message.
    #[error("event {id:?} carries {found}, but {wanted} was asked for; match on the event's type, or filter by it")]
    OtherType {
        /// The event's id.
        id: String,
        /// The full name of the message in the event.
        found: String,
        /// The full name of the type that was asked for.
        wanted: String,
    },
    /// The data is said to be the message, but is not.
    #[error(
        "event {id:?} says that it carries {wanted}, but its bytes are not one ({source}); compare the versions of \
             the .proto file on both sides"
    )]
    Malformed {
        /// The event's id.
        id: String,
        /// The full name of the type that was asked for.
        wanted: String,
        /// What the decoder said.
        source: prost::DecodeError,
    },
}

/// The full name in a type URL: what stands after the last `/`.
#[must_use]
pub fn full_name(type_url: &str) -> &str {
    type_url.rsplit('/').next().unwrap_or(type_url)
}

impl Event {
    /// An event from `source` that carries `data`; its type is the full name of the message.
    ///
    /// The broker gives it an id and a time. Set an id when you may publish it more than once.
    #[must_use]
    pub fn of<T: Name>(source: impl Into<String>, data: &T) -> Self {
        Self { source: source.into(), r#type: T::full_name(), data: Some(pack(data)), ..Self::default() }
    }

    /// An event from `source` that carries a JSON document as it is.
    #[must_use]
    pub fn of_json(source: impl Into<String>, event_type: impl Into<String>, json: impl Into<bytes::Bytes>) -> Self {
        Self { r#type: event_type.into(), ..Self::of(source, &JsonPayload { json: json.into() }) }
    }

    /// Whether the event carries a `T`.
    #[must_use]
    pub fn carries<T: Name>(&self) -> bool {
        self.data.as_ref().is_some_and(|data| full_name(&data.type_url) == T::full_name())
    }

    /// The data as a `T`.
    ///
    /// # Errors
    ///
    /// When there is none, when it is another message, or when its bytes are not one.
    pub fn data_as<T: Name + Default>(&self) -> Result<T, DataError> {
        let wanted = T::full_name();
        let id = self.id.clone();
        let Some(data) = &self.data else {
            return Err(DataError::Missing { id, event_type: self.r#type.clone(), wanted });
        };
        if !self.carries::<T>() {
            return Err(DataError::OtherType { id, found: full_name(&data.type_url).to_owned(), wanted });
        }
        T::decode(data.value.as_slice()).map_err(|source| DataError::Malformed { id, wanted, source })
    }
}

/// An event without a named cause.
impl From<Event> for PublishItem {
    fn from(event: Event) -> Self {
        Self { event: Some(event), ..Self::default() }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::tasks::v1::{TaskAssigned, TaskFailed};

    fn task() -> TaskAssigned {
        TaskAssigned { task_id: "TASK-42".into(), assigned_agent_id: "a".into(), ..Default::default() }
    }

    #[test]
    fn data_comes_out_as_it_went_in() {
        let event = Event::of("agents/a", &task());
        assert_eq!(event.r#type, "tasks.v1.TaskAssigned");
        assert_eq!(event.data.as_ref().unwrap().type_url, "type.googleapis.com/tasks.v1.TaskAssigned");
        assert_eq!(event.data_as::<TaskAssigned>().unwrap(), task());
    }

    #[test]
    fn another_type_is_refused_by_name() {
        let error = Event::of("agents/a", &task()).data_as::<TaskFailed>().unwrap_err().to_string();
        assert!(error.contains("carries tasks.v1.TaskAssigned, but tasks.v1.TaskFailed was asked for"), "{error}");
    }

    #[test]
    fn missing_and_malformed_data_are_told_apart() {
        let mut event = Event::of("agents/a", &task());
        event.data.as_mut().unwrap().value = vec![0xff];
        assert!(matches!(event.data_as::<TaskAssigned>(), Err(DataError::Malformed { .. })));
        event.data = None;
        assert!(matches!(event.data_as::<TaskAssigned>(), Err(DataError::Missing { .. })));
    }

    #[test]
    fn json_keeps_its_bytes_and_its_type() {
        let event = Event::of_json("agents/a", "com.example.thing", &br#"{"b":1,  "a":2}"#[..]);
        assert_eq!(event.r#type, "com.example.thing");
        assert_eq!(event.data_as::<JsonPayload>().unwrap().json, &br#"{"b":1,  "a":2}"#[..]);
    }
}
