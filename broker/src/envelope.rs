//! An event as it is stored: checked, completed with its defaults, and encoded once.
//!
//! Constraints:
//! - The body that the store keeps is `u32 little-endian length · encoded waypost.v1.Event · raw bytes as received`. The raw bytes (of a
//!   webhook) are kept beside the event so that it can be typed again; they are never delivered.
//! - What is delivered is a slice of the stored body: nothing decodes an event to hand it on.
//! - The fingerprint covers what the sender sent and nothing that is filled in here: sending again under one id is recognised (P7).

use bytes::{BufMut, Bytes, BytesMut};
use prost::{
    Message,
    encoding::{WireType, decode_key, decode_varint},
};
use waypost_proto::{full_name, v1::JsonPayload, v1::Lineage, wire};
use waypost_store::{EventHead, Micros, NewEvent};
use xxhash_rust::xxh3::xxh3_128;

use crate::{
    entropy::Entropy,
    limits,
    trace::context::{TRACEPARENT, TRACESTATE},
};

/// What is wrong with an event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidEvent {
    /// The field, as a path from the event.
    pub field: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// About what is added to an event here: its head, an id, a time, its story.
pub const ADDED_BYTES: usize = 512;

/// How duplicates of an event are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// A hash of what makes two events of one id the same; `None` for that of the event as it was sent.
    pub fingerprint: Option<u128>,
    /// How far back an event of the same source and id makes this one a duplicate; 0 for never.
    pub window: Micros,
}

/// Fills in what the sender left out, checks the rest, and encodes the event for the store. What it encodes is cut from `room`, which
/// grows when it must: events that are appended together share one allocation, and are let go as one.
///
/// # Errors
/// [`InvalidEvent`] names the first field that is wrong.
pub fn seal(
    mut event: wire::Event,
    raw: &[u8],
    identity: Identity,
    now: Micros,
    entropy: &Entropy,
    room: &mut BytesMut,
) -> Result<NewEvent, InvalidEvent> {
    let fingerprint = identity.fingerprint.unwrap_or_else(|| fingerprint(&event, room));
    complete(&mut event, now, entropy)?;
    check(&event)?;

    let lineage = event.lineage.as_ref().map_or("", |lineage| &lineage.correlation_id);
    let texts = [&*event.source, &event.id, &event.r#type, &event.subject, &event.ordering_key, lineage];
    let head = EventHead::encode(texts, room).map_err(|error| invalid("", error.to_string()))?;
    let length = event.encoded_len();
    let encoded = u32::try_from(length).ok().filter(|_| length <= limits::MAX_EVENT_BYTES).ok_or_else(|| {
        invalid("", format!("the event has {length} bytes encoded, at most {} are allowed; send a reference", limits::MAX_EVENT_BYTES))
    })?;
    room.reserve(4 + length + raw.len());
    room.put_u32_le(encoded);
    event.encode_raw(room);
    room.put_slice(raw);
    Ok(NewEvent { head, body: room.split().freeze(), fingerprint, dedup_window: identity.window })
}

/// What an event says of the trace that it belongs to. It differs each time that the same event is sent: it does not make it another.
const OF_ITS_TRACE: [&str; 2] = [TRACEPARENT, TRACESTATE];

/// A hash of an event as it was sent: its fields in the order of their numbers, each behind its length or a byte that says whether it is there,
/// so that no two events read the same. The data, which may be large, goes in as its own hash and is not copied. All of it is kept with
/// the event: what is hashed, and how, is frozen.
fn fingerprint(event: &wire::Event, sent: &mut BytesMut) -> u128 {
    let wire::Event { id, source, r#type, subject, time, data, ordering_key, lineage, attributes } = event;
    for text in [id, source, r#type, subject] {
        put_text(sent, text);
    }
    sent.put_u8(time.is_some().into());
    if let Some(prost_types::Timestamp { seconds, nanos }) = time {
        sent.put_i64_le(*seconds);
        sent.put_i32_le(*nanos);
    }
    sent.put_u8(data.is_some().into());
    if let Some(wire::Any { type_url, value }) = data {
        put_text(sent, type_url);
        sent.put_u128_le(xxh3_128(value));
    }
    put_text(sent, ordering_key);
    sent.put_u8(lineage.is_some().into());
    if let Some(Lineage { correlation_id, causation_id, hops }) = lineage {
        put_text(sent, correlation_id);
        put_text(sent, causation_id);
        sent.put_u32_le(*hops);
    }
    for (name, value) in attributes.iter().filter(|(name, _)| !OF_ITS_TRACE.contains(&&***name)) {
        put_text(sent, name);
        put_text(sent, value);
    }
    let fingerprint = xxh3_128(sent);
    sent.clear();
    fingerprint
}

fn put_text(sent: &mut BytesMut, text: &str) {
    sent.put_u64_le(text.len() as u64);
    sent.put_slice(text.as_bytes());
}

/// The encoded event in a stored body: a slice of it. Empty if the body is none, which the store's checksums rule out.
#[must_use]
pub fn event(body: &Bytes) -> wire::EncodedEvent {
    wire::EncodedEvent(split(body).map_or_else(Bytes::new, |end| body.slice(4..end)))
}

/// The bytes of the encoded event in a stored body.
#[must_use]
pub fn event_bytes(body: &[u8]) -> u32 {
    split(body).and_then(|end| u32::try_from(end - 4).ok()).unwrap_or_default()
}

/// An extension attribute of a stored event, without decoding the rest of it.
#[must_use]
pub fn attribute<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let event = body.get(4..split(body)?)?;
    fields(event).filter(|(tag, _)| *tag == ATTRIBUTES).find_map(|(_, entry)| {
        let text = |wanted| fields(entry).filter(|(tag, _)| *tag == wanted).last().map_or(&b""[..], |(_, text)| text);
        (text(1) == name.as_bytes()).then(|| str::from_utf8(text(2)).ok()).flatten()
    })
}

/// The number of `attributes` in event.proto; its entries have their name as 1 and their value as 2.
const ATTRIBUTES: u32 = 9;

/// The fields of an encoded message that have a length, with their numbers; up to where it is none.
fn fields(message: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    let mut rest = message;
    std::iter::from_fn(move || {
        loop {
            let (tag, wire_type) = decode_key(&mut rest).ok()?;
            let value = match wire_type {
                WireType::LengthDelimited => {
                    let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                    let (value, after) = rest.split_at_checked(length)?;
                    rest = after;
                    return Some((tag, value));
                }
                WireType::Varint => decode_varint(&mut rest).ok().map(drop),
                WireType::SixtyFourBit => rest.split_off(..8).map(drop),
                WireType::ThirtyTwoBit => rest.split_off(..4).map(drop),
                WireType::StartGroup | WireType::EndGroup => None,
            };
            value?;
        }
    })
}

/// The raw bytes that came with the event; empty if it was not a webhook.
#[must_use]
pub fn raw(body: &Bytes) -> Bytes {
    split(body).map_or_else(Bytes::new, |end| body.slice(end..))
}

/// Where the event ends and the raw bytes begin.
fn split(body: &[u8]) -> Option<usize> {
    let (length, rest) = body.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok().filter(|length| *length <= rest.len())?;
    Some(4 + length)
}

fn complete(event: &mut wire::Event, now: Micros, entropy: &Entropy) -> Result<(), InvalidEvent> {
    if event.id.is_empty() {
        event.id = entropy.uuid(now).to_string();
    }
    if event.r#type.is_empty() {
        event.r#type = match &event.data {
            Some(data) if full_name(&data.type_url) != <JsonPayload as prost::Name>::full_name() => full_name(&data.type_url).to_owned(),
            _ => return Err(invalid("type", "is required when data is not set or is a JsonPayload")),
        };
    }
    if event.time.is_none() {
        event.time = Some(timestamp(now));
    }
    let lineage = event.lineage.get_or_insert_with(Lineage::default);
    if lineage.correlation_id.is_empty() {
        lineage.correlation_id.clone_from(&event.id);
    }
    Ok(())
}

fn check(event: &wire::Event) -> Result<(), InvalidEvent> {
    if event.source.is_empty() {
        return Err(invalid("source", "is required: a name or a URI-reference of who publishes, such as agents/route-planner"));
    }
    let lineage = event.lineage.as_ref();
    let names = [
        ("id", &*event.id),
        ("source", &*event.source),
        ("type", &*event.r#type),
        ("ordering_key", &*event.ordering_key),
        ("lineage.correlation_id", lineage.map_or("", |lineage| &*lineage.correlation_id)),
        ("lineage.causation_id", lineage.map_or("", |lineage| &*lineage.causation_id)),
    ];
    for (field, value) in names {
        check_text(field, value, limits::MAX_NAME_BYTES)?;
    }
    check_text("subject", &event.subject, limits::MAX_SUBJECT_BYTES)?;
    if event.r#type.contains(|c: char| c == '*' || c.is_whitespace()) {
        return Err(invalid(
            "type",
            format!("{:?} contains whitespace or a *; use a name such as logistics.v1.ShippingDelayed", event.r#type),
        ));
    }
    check_attributes(event)
}

fn check_text(field: &str, value: &str, max: usize) -> Result<(), InvalidEvent> {
    if value.len() > max {
        return Err(invalid(field, format!("has {} bytes, at most {max} are allowed", value.len())));
    }
    // Nearly every text is plain ASCII, which is seen without taking it apart.
    if value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Ok(());
    }
    match value.chars().find(|c| c.is_control()) {
        Some(c) => Err(invalid(field, format!("contains the control character {c:?}"))),
        None => Ok(()),
    }
}

/// The attributes of CloudEvents, and of the mapping in event.proto, that have a place of their own in an event.
pub(crate) const FIELDS: [&str; 13] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "data",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "correlationid",
    "causationid",
    "wayposthops",
];

/// What is too like `data_base64`, in which CloudEvents write bytes.
const LIKE_DATA: &str = "database64";

fn check_attributes(event: &wire::Event) -> Result<(), InvalidEvent> {
    if event.attributes.len() > limits::MAX_ATTRIBUTES {
        return Err(invalid(
            "attributes",
            format!("has {} entries, at most {} are allowed", event.attributes.len(), limits::MAX_ATTRIBUTES),
        ));
    }
    for (name, value) in &event.attributes {
        let fits = (1..=limits::MAX_ATTRIBUTE_NAME_BYTES).contains(&name.len());
        if !fits || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()) {
            return Err(invalid("attributes", format!("{name:?} is not a name of 1 to 64 of a-z and 0-9")));
        }
        if FIELDS.contains(&&**name) || name == LIKE_DATA {
            return Err(invalid("attributes", format!("{name:?} is an attribute of its own; set that field of the event")));
        }
        if value.len() > limits::MAX_ATTRIBUTE_VALUE_BYTES {
            let max = limits::MAX_ATTRIBUTE_VALUE_BYTES;
            return Err(invalid("attributes", format!("the value of {name:?} has {} bytes, at most {max} are allowed", value.len())));
        }
    }
    Ok(())
}

fn invalid(field: &str, problem: impl Into<String>) -> InvalidEvent {
    InvalidEvent { field: field.to_owned(), problem: problem.into() }
}

/// A protobuf timestamp of microseconds since the Unix epoch.
#[must_use]
pub fn timestamp(micros: Micros) -> prost_types::Timestamp {
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).unwrap_or_default();
    prost_types::Timestamp { seconds: i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX), nanos }
}

#[cfg(test)]
mod tests;
