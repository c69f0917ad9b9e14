//! The two hand-written messages of the wire flavour: [`EncodedEvent`] and [`Any`].
//!
//! Constraints: both are compatible on the wire with what they replace; encoding either copies its bytes once, into the
//! buffer of the transport.

use ::bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{DecodeContext, WireType, bytes, decode_varint, encode_key, encode_varint};
use prost::encoding::{fixed32, fixed64, skip_field};
use prost::{DecodeError, Message, Name};

use crate::wire;

/// An encoded `waypost.v1.Event`, passed on as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct EncodedEvent(pub Bytes);

impl EncodedEvent {
    /// Decodes the event; its data shares the buffer.
    ///
    /// # Errors
    ///
    /// When the bytes are not an encoded event.
    pub fn decode_event(&self) -> Result<wire::Event, DecodeError> {
        wire::Event::decode(self.0.clone())
    }
}

impl From<&wire::Event> for EncodedEvent {
    fn from(event: &wire::Event) -> Self {
        Self(event.encode_to_vec().into())
    }
}

impl From<&crate::v1::Event> for EncodedEvent {
    fn from(event: &crate::v1::Event) -> Self {
        Self(event.encode_to_vec().into())
    }
}

impl Message for EncodedEvent {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }

    /// Puts the field back as it was read. Only tests and tools decode responses in this flavour, so it may copy.
    fn merge_field(&mut self, tag: u32, wire_type: WireType, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        let mut whole = BytesMut::from(std::mem::take(&mut self.0));
        let before = whole.len();
        encode_key(tag, wire_type, &mut whole);
        match wire_type {
            WireType::Varint => encode_varint(decode_varint(buf)?, &mut whole),
            WireType::ThirtyTwoBit => {
                let mut value = 0;
                fixed32::merge(wire_type, &mut value, buf, ctx)?;
                whole.put_u32_le(value);
            }
            WireType::SixtyFourBit => {
                let mut value = 0;
                fixed64::merge(wire_type, &mut value, buf, ctx)?;
                whole.put_u64_le(value);
            }
            WireType::LengthDelimited => {
                let mut value = Bytes::new();
                bytes::merge(wire_type, &mut value, buf, ctx)?;
                encode_varint(value.len() as u64, &mut whole);
                whole.put_slice(&value);
            }
            // No version of proto3 writes groups.
            WireType::StartGroup | WireType::EndGroup => {
                whole.truncate(before);
                skip_field(wire_type, tag, buf, ctx)?;
            }
        }
        self.0 = whole.freeze();
        Ok(())
    }
}

/// `google.protobuf.Any` with a value that is cheap to pass on.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The encoded message.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Name for Any {
    const NAME: &'static str = "Any";
    const PACKAGE: &'static str = "google.protobuf";

    fn type_url() -> String {
        format!("{}/{}", crate::TYPE_URL_PREFIX, Self::full_name())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn every_wire_type_is_kept_in_order() {
        let mut raw = Vec::new();
        prost::encoding::uint64::encode(20, &u64::MAX, &mut raw);
        fixed32::encode(21, &7, &mut raw);
        fixed64::encode(3, &8, &mut raw);
        prost::encoding::string::encode(1, &"id".to_owned(), &mut raw);
        let decoded = EncodedEvent::decode(raw.as_slice()).unwrap();
        assert_eq!(decoded.0, raw);
        assert_eq!(decoded.encode_to_vec(), raw);
    }

    #[test]
    fn cut_bytes_are_an_error() {
        assert!(EncodedEvent::decode(&[0x0a, 5, b'x'][..]).is_err());
    }
}
