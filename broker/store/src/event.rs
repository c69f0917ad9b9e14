//! What a store keeps of an event: a head that it indexes and a body that it never looks into.

use bytes::{BufMut, Bytes, BytesMut};

use crate::contract::{Micros, Offset};

/// An event to be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// What the store indexes and filters look at.
    pub head: EventHead,
    /// The encoded event, handed on as it is.
    pub body: Bytes,
    /// A hash of what the sender sent, without what the broker added: two events of one id are the same if it is equal.
    pub fingerprint: u128,
    /// How long ago an event of the same source and id makes this one a duplicate. 0: never.
    pub dedup_window: Micros,
}

/// An event as it was stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Its place.
    pub offset: Offset,
    /// When the store took it; never before that of an earlier offset.
    pub accepted_at: Micros,
    /// What the store indexes and filters look at.
    pub head: EventHead,
    /// The encoded event, byte for byte.
    pub body: Bytes,
}

/// The attributes of an event that are needed without decoding it. One shared buffer: cloning it copies no text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EventHead {
    /// `FIELDS` lengths as little-endian u16, then the texts one after the other. Also its form on disk.
    encoded: Bytes,
}

/// source, id, type, subject, ordering key, correlation id: the order is on disk and frozen.
const FIELDS: usize = 6;
const LENGTHS: usize = FIELDS * 2;

/// The most bytes of one attribute in a head.
pub const MAX_ATTRIBUTE_BYTES: usize = 1024;

/// Why an event head is not one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeadError {
    /// An attribute is too long.
    #[error("{attribute} has {bytes} bytes; at most {MAX_ATTRIBUTE_BYTES} are allowed")]
    TooLong {
        /// Its name.
        attribute: &'static str,
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not those of a head.
    #[error("not an encoded event head")]
    Malformed,
}

impl EventHead {
    /// Builds a head. Attributes that the event does not have are empty.
    ///
    /// # Errors
    /// [`HeadError::TooLong`] names the attribute that is.
    pub fn new(
        source: &str,
        id: &str,
        event_type: &str,
        subject: &str,
        ordering_key: &str,
        correlation_id: &str,
    ) -> Result<Self, HeadError> {
        Self::encode([source, id, event_type, subject, ordering_key, correlation_id], &mut BytesMut::new())
    }

    /// Builds a head from its attributes in their order (source, id, type, subject, ordering key, correlation id), cut from `room`, which
    /// must be empty and is so again. It grows when it must.
    ///
    /// # Errors
    /// [`HeadError::TooLong`] names the attribute that is.
    pub fn encode(texts: [&str; FIELDS], room: &mut BytesMut) -> Result<Self, HeadError> {
        const NAMES: [&str; FIELDS] = ["source", "id", "type", "subject", "ordering_key", "correlation_id"];
        if let Some((text, attribute)) = texts.into_iter().zip(NAMES).find(|(text, _)| text.len() > MAX_ATTRIBUTE_BYTES) {
            return Err(HeadError::TooLong { attribute, bytes: text.len() });
        }
        room.reserve(LENGTHS + texts.iter().map(|text| text.len()).sum::<usize>());
        for text in texts {
            // It is not longer than the most bytes, which fit.
            room.put_u16_le(u16::try_from(text.len()).unwrap_or(u16::MAX));
        }
        for text in texts {
            room.put_slice(text.as_bytes());
        }
        Ok(Self { encoded: room.split().freeze() })
    }

    /// Takes a head from its encoded form, which must be exactly one head.
    ///
    /// # Errors
    /// [`HeadError::Malformed`] if the lengths do not add up, a text is too long, or a text is not UTF-8.
    pub fn decode(encoded: Bytes) -> Result<Self, HeadError> {
        if encoded.len() < LENGTHS {
            return Err(HeadError::Malformed);
        }
        let mut end = LENGTHS;
        for field in 0..FIELDS {
            let start = end;
            let length = length_of(&encoded, field);
            end += length;
            let text = encoded.get(start..end).ok_or(HeadError::Malformed)?;
            if length > MAX_ATTRIBUTE_BYTES || str::from_utf8(text).is_err() {
                return Err(HeadError::Malformed);
            }
        }
        if end == encoded.len() { Ok(Self { encoded }) } else { Err(HeadError::Malformed) }
    }

    /// Splits a head off the front of bytes that a checksum has vouched for: the texts were checked when the head was made.
    pub(crate) fn split_from(mut bytes: Bytes) -> Option<(Self, Bytes)> {
        if bytes.len() < LENGTHS {
            return None;
        }
        let length = LENGTHS + (0..FIELDS).map(|field| length_of(&bytes, field)).sum::<usize>();
        if length > bytes.len() {
            return None;
        }
        let encoded = bytes.split_to(length);
        Some((Self { encoded }, bytes))
    }

    /// The encoded form, as [`decode`](Self::decode) takes it.
    #[must_use]
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// The source: who says so.
    #[must_use]
    pub fn source(&self) -> &str {
        self.text(0)
    }

    /// The id: unique within the source.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text(1)
    }

    /// The type of the event.
    #[must_use]
    pub fn event_type(&self) -> &str {
        self.text(2)
    }

    /// What the event is about; may be empty.
    #[must_use]
    pub fn subject(&self) -> &str {
        self.text(3)
    }

    /// The key within which order matters; may be empty.
    #[must_use]
    pub fn ordering_key(&self) -> &str {
        self.text(4)
    }

    /// The story that the event belongs to.
    #[must_use]
    pub fn correlation_id(&self) -> &str {
        self.text(5)
    }

    fn text(&self, field: usize) -> &str {
        let start = LENGTHS + (0..field).map(|before| length_of(&self.encoded, before)).sum::<usize>();
        let text = &self.encoded[start..start + length_of(&self.encoded, field)];
        // Checked when the head was made.
        str::from_utf8(text).unwrap_or_default()
    }
}

fn length_of(encoded: &[u8], field: usize) -> usize {
    usize::from(u16::from_le_bytes([encoded[field * 2], encoded[field * 2 + 1]]))
}

impl std::fmt::Debug for EventHead {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventHead")
            .field("source", &self.source())
            .field("id", &self.id())
            .field("type", &self.event_type())
            .field("subject", &self.subject())
            .field("ordering_key", &self.ordering_key())
            .field("correlation_id", &self.correlation_id())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn head_round_trips(texts in proptest::collection::vec(".{0,40}", FIELDS)) {
            let head = EventHead::new(&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5]).unwrap();
            let again = EventHead::decode(head.encoded().clone()).unwrap();
            prop_assert_eq!(
                [again.source(), again.id(), again.event_type(), again.subject(), again.ordering_key(), again.correlation_id()],
                [&*texts[0], &*texts[1], &*texts[2], &*texts[3], &*texts[4], &*texts[5]]
            );
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = EventHead::decode(Bytes::from(bytes));
        }
    }

    #[test]
    fn a_long_attribute_is_named() {
        let long = "x".repeat(MAX_ATTRIBUTE_BYTES + 1);
        let error = EventHead::new("s", "i", "t", &long, "", "").unwrap_err();
        assert_eq!(error, HeadError::TooLong { attribute: "subject", bytes: MAX_ATTRIBUTE_BYTES + 1 });
    }
}
