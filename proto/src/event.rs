//! Typed data in and out of an event.
//!
//! Constraints: a message of another type is never decoded by accident; an error says what was found and what to do.

use prost::Name;
use prost_types::Any;

use crate::TYPE_URL_PREFIX;
use crate::v1::{Event, JsonPayload};

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
    #[error("event {id:?} says that it carries {wanted}, but its bytes are not one ({source}); compare the versions of \
             the .proto file on both sides")]
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
        let type_url = format!("{TYPE_URL_PREFIX}/{}", T::full_name());
        let value = data.encode_to_vec();
        Self {
            source: source.into(),
            r#type: T::full_name(),
            data: Some(Any { type_url, value }),
            ..Self::default()
        }
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
