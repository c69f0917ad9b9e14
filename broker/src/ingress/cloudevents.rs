//! CloudEvents 1.0 over HTTP: binary, structured and batched.
//!
//! Constraints:
//! - In whatever mode an event comes, it is read as one object of JSON, as structured mode writes it: the rules of a source look at `/type`
//!   and `/data/…`, and need not know.
//! - Data that is JSON stays as it was sent, byte for byte.
//! - Who verified webhooks come from is said by the source that is configured, never by the sender: what it calls itself is an attribute.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, header::CONTENT_TYPE};
use prost::Name as _;
use serde_json::value::RawValue;
use waypost_proto::{
    full_name,
    v1::{JsonPayload, Lineage},
    wire,
};

use super::{body, template::one_header};
use crate::envelope::{FIELDS, InvalidEvent};

/// What the headers of binary mode begin with.
const PREFIX: &str = "ce-";

/// The header that tells binary mode.
const SPECVERSION: &str = "ce-specversion";

/// Whether the attributes of an event are in the headers.
pub(super) fn is_binary(headers: &HeaderMap) -> bool {
    headers.contains_key(SPECVERSION)
}

/// What the sender calls itself, and its event.
const SENDERS_SOURCE: &str = "cesource";
const SENDERS_ID: &str = "ceid";
/// What its data is, where it is not JSON, and the schema that it names.
const CONTENT: &str = "cedatacontenttype";
const SCHEMA: &str = "cedataschema";

type Members<'a> = BTreeMap<Cow<'a, str>, &'a RawValue>;

/// The event of binary mode, as structured mode would write it.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn of_binary(headers: &HeaderMap, body: &Bytes) -> Result<Bytes, String> {
    let mut json = String::with_capacity(body.len() + 512);
    json.push('{');
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix(PREFIX) else { continue };
        let mut values = headers.get_all(name).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(format!("the header {name} is there several times")) };
        let value = decoded(value).ok_or_else(|| format!("the header {name} is not UTF-8, percent-encoded"))?;
        if matches!(attribute, "data" | "data_base64" | "datacontenttype") {
            return Err(format!("the header {name} is no attribute: that is said by the body and its content type"));
        }
        let _ = write!(json, "{}:{},", quoted(attribute), quoted(&value));
    }
    let content_type = one_header(headers, &CONTENT_TYPE);
    if let Some(content_type) = content_type {
        let _ = write!(json, "\"datacontenttype\":{},", quoted(content_type));
    }
    if !body.is_empty() {
        let _ = write!(json, "\"data\":{},", data(content_type, body)?);
    }
    if json.ends_with(',') {
        json.pop();
    }
    json.push('}');
    Ok(json.into())
}

/// An event of structured mode, with its data as JSON even if it came as base64.
///
/// # Errors
/// What is wrong with it, for people.
pub(super) fn with_plain_data(json: &Bytes) -> Result<Bytes, String> {
    let text = str::from_utf8(json).unwrap_or_default();
    let Some(mut members) = members(text).filter(|members| members.contains_key("data_base64")) else { return Ok(json.clone()) };
    if members.contains_key("data") {
        return Err("has data as well as data_base64".to_owned());
    }
    let encoded = members.remove("data_base64").and_then(string).ok_or("data_base64 is not a text")?;
    let bytes = STANDARD.decode(encoded.as_bytes()).map_err(|error| format!("data_base64 is not base64: {error}"))?;
    let content_type = members.get("datacontenttype").copied().and_then(string);
    let data = data(content_type.as_deref(), &bytes)?;
    let others: String = members.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = write!(text, "{}:{},", quoted(name), value.get());
        text
    });
    Ok(format!("{{{others}\"data\":{data}}}").into())
}

/// Data as JSON: as it is, or as a text, or as the base64 of what is neither.
fn data<'a>(content_type: Option<&str>, bytes: &'a [u8]) -> Result<Cow<'a, str>, String> {
    let is_json = content_type.is_none_or(is_json);
    let text = str::from_utf8(bytes);
    match text {
        Ok(text) if is_json => match serde_json::from_str::<&RawValue>(text) {
            Ok(json) => Ok(Cow::Borrowed(json.get())),
            // Without a word on what it is, it may be anything.
            Err(_) if content_type.is_none() => Ok(Cow::Owned(quoted(text))),
            Err(error) => Err(format!("the data is not the JSON that its content type says: {error}")),
        },
        Err(error) if is_json && content_type.is_some() => Err(format!("the data is not UTF-8: {error}")),
        Ok(text) => Ok(Cow::Owned(quoted(text))),
        Err(_) => Ok(Cow::Owned(quoted(&STANDARD.encode(bytes)))),
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = body::essence(content_type);
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// The data of an event, cut out of it; `None` if it has none.
pub(super) fn data_of(json: &Bytes) -> Option<Bytes> {
    let members = members(str::from_utf8(json).ok()?)?;
    members.get("data").map(|data| json.slice_ref(data.get().as_bytes()))
}

/// Puts the attributes of an event into ours. What the rules of its source have set already stays.
///
/// # Errors
/// Names the attribute that is wrong.
pub(super) fn complete(event: &mut wire::Event, json: &str) -> Result<(), InvalidEvent> {
    let members = members(json).ok_or_else(|| invalid("specversion", "is missing: this is not a CloudEvent"))?;
    let text =
        |name: &str| members.get(name).copied().map(scalar).transpose().map_err(|problem| invalid(name, problem)).map(Option::flatten);
    match text("specversion")?.as_deref() {
        Some("1.0") => {}
        Some(other) => return Err(invalid("specversion", format!("is {other:?}; 1.0 is understood"))),
        None => return Err(invalid("specversion", "is missing: this is not a CloudEvent")),
    }
    let required = |name: &str| text(name)?.filter(|text| !text.is_empty()).ok_or_else(|| invalid(name, "is missing, and required"));
    let (id, source, event_type) = (required("id")?, required("source")?, required("type")?);
    if event_type.starts_with("waypost.") {
        return Err(invalid("type", "begins with waypost., which is kept for the broker's own events"));
    }
    let is_untyped = event.data.as_ref().is_none_or(|data| full_name(&data.type_url) == JsonPayload::full_name());
    if is_untyped {
        // As the sender names it: unlike a webhook's, it is a name of its own.
        event.r#type = event_type;
    }
    if is_untyped && !members.contains_key("data") {
        event.data = None;
    }
    if let Some(subject) = text("subject")?.filter(|_| event.subject.is_empty()) {
        event.subject = subject;
    }
    if let Some(key) = text("partitionkey")?.filter(|_| event.ordering_key.is_empty()) {
        event.ordering_key = key;
    }
    if let Some(time) = text("time")? {
        let time: jiff::Timestamp = time.parse().map_err(|_| invalid("time", format!("{time:?} is not a time of RFC 3339")))?;
        event.time = Some(prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() });
    }
    let lineage = event.lineage.get_or_insert_with(Lineage::default);
    if let Some(correlation) = text("correlationid")?.filter(|_| lineage.correlation_id.is_empty()) {
        lineage.correlation_id = correlation;
    }
    lineage.causation_id = text("causationid")?.unwrap_or_default();
    if let Some(hops) = text("wayposthops")? {
        lineage.hops = hops.parse().map_err(|_| invalid("wayposthops", format!("{hops:?} is not a number")))?;
    }
    let content = text("datacontenttype")?.filter(|content| !is_json(content));
    let named = [(SENDERS_SOURCE, Some(source)), (SENDERS_ID, Some(id)), (CONTENT, content), (SCHEMA, text("dataschema")?)];
    for (name, value) in named {
        event.attributes.extend(value.map(|value| (name.to_owned(), value)));
    }
    for (name, value) in members.iter().filter(|(name, _)| !FIELDS.contains(&&***name)) {
        let value = scalar(value).map_err(|problem| invalid(name, problem))?;
        event.attributes.extend(value.map(|value| (name.clone().into_owned(), value)));
    }
    Ok(())
}

fn members(json: &str) -> Option<Members<'_>> {
    serde_json::from_str(json).ok()
}

fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// The text of an attribute: as it is, or that of a number or a truth value; `None` for null, which is the same as not being there.
fn scalar(value: &RawValue) -> Result<Option<String>, &'static str> {
    match value.get().as_bytes().first() {
        Some(b'"') => string(value).map(Some).ok_or("is not a text"),
        Some(b'n') => Ok(None),
        Some(b'{' | b'[') => Err("is not a text, a number, true or false, as attributes are"),
        _ => Ok(Some(value.get().to_owned())),
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn invalid(field: &str, problem: impl Into<String>) -> InvalidEvent {
    InvalidEvent { field: field.to_owned(), problem: problem.into() }
}

/// The value of a header of binary mode: quotes taken off, then percent-decoded once.
fn decoded(value: &HeaderValue) -> Option<String> {
    let bytes = value.as_bytes().trim_ascii();
    let unquoted: Cow<'_, [u8]> = match bytes {
        [b'"', inside @ .., b'"'] => {
            let mut escaped = false;
            let kept = inside.iter().copied().filter(|byte| {
                escaped = *byte == b'\\' && !escaped;
                !escaped
            });
            Cow::Owned(kept.collect())
        }
        bytes => Cow::Borrowed(bytes),
    };
    let mut text = Vec::with_capacity(unquoted.len());
    let mut rest = &*unquoted;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        let mut decoded = [*byte];
        if *byte == b'%' {
            let (digits, after) = rest.split_first_chunk::<2>()?;
            hex::decode_to_slice(digits, &mut decoded).ok()?;
            rest = after;
        }
        text.extend(decoded);
    }
    String::from_utf8(text).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn decode(value: &str) -> Option<String> {
        decoded(&HeaderValue::from_bytes(value.as_bytes()).unwrap())
    }

    #[test]
    fn values_of_headers_are_decoded_as_the_binding_says() {
        // The examples of the HTTP binding, section 3.1.3.2.
        assert_eq!(decode("Euro%20%E2%82%AC%20%F0%9F%98%80").unwrap(), "Euro € 😀");
        assert_eq!(decode(r#""a \"b\" \\ c""#).unwrap(), r#"a "b" \ c"#);
        assert_eq!(decode("plain").unwrap(), "plain");
        assert_eq!(decode("%2520").unwrap(), "%20", "once");
        for wrong in ["%", "%2", "%zz", "%ff"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn data_cannot_add_attributes() {
        let headers: HeaderMap = [("ce-specversion", "1.0"), ("ce-id", "1\",\"type\":\"x"), ("content-type", "application/json")]
            .into_iter()
            .map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap()))
            .collect();
        let json = of_binary(&headers, &Bytes::from_static(b" {\"n\": 1.0} ")).unwrap();
        let read: serde_json::Value = serde_json::from_slice(&json).unwrap();
        assert_eq!(read["id"], "1\",\"type\":\"x");
        assert_eq!(data_of(&json).unwrap(), "{\"n\": 1.0}", "as it was sent");
        for body in ["1,\"type\":\"x\"", "1}", ""] {
            let read = of_binary(&headers, &Bytes::copy_from_slice(body.as_bytes()));
            assert!(read.is_err() || body.is_empty(), "{body}: {read:?}");
        }
    }
}
