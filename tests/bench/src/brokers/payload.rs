//! What is sent: 1 KiB that begin with the time of sending, under one of many topics.
//!
//! Constraint: each topic's names are made once, so that no contender pays for formatting.

use bytes::{BufMut, Bytes, BytesMut};

/// Bytes of an event's data.
pub(crate) const SIZE: usize = 1024;

/// The data of an event that was sent at `stamp` (see [`crate::measure::now`]); 0 if nobody asks.
pub(crate) fn stamped(stamp: u64) -> Bytes {
    let mut bytes = BytesMut::with_capacity(SIZE);
    bytes.put_u64_le(stamp);
    bytes.put_bytes(b'x', SIZE - 8);
    bytes.freeze()
}

/// When data was sent; 0 if it does not say.
pub(crate) fn stamp(mut data: &[u8]) -> u64 {
    bytes::Buf::try_get_u64_le(&mut data).unwrap_or(0)
}

/// The event type (Waypost) of a topic.
pub(crate) fn event_type(topic: u32) -> String {
    format!("bench.v1.Topic{topic}")
}

/// The subject (NATS) of a topic.
pub(crate) fn subject(topic: u32) -> String {
    format!("events.topic{topic}")
}
