//! The body of a request: read within its limits, and the JSON in it.
//!
//! Constraints: a body is limited by what arrives, whatever its headers say; a body in one piece is not copied.

use std::{borrow::Cow, time::Duration};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};
use http_body_util::BodyExt;
use serde_json::{Map, Value};

use super::{cloudevents, outcome::Outcome, template::one_header, verify::Form};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    Form(Form),
    /// A CloudEvent in binary mode: whatever its content type says is its data.
    BinaryCloudEvent,
}

/// What a source takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken<'a> {
    pub(super) form: Form,
    /// Content types that are JSON although they do not say so.
    pub(super) accept: &'a [String],
    pub(super) cloudevents: bool,
}

/// What the headers say of the body. Without a content type it is taken for JSON, and so are the types in `accept`.
pub(super) fn kind(headers: &HeaderMap, taken: Taken<'_>) -> Result<Kind, Outcome> {
    let Taken { form, accept, cloudevents } = taken;
    let is_binary = cloudevents && cloudevents::is_binary(headers);
    if is_binary && !headers.contains_key(CONTENT_TYPE) {
        return Ok(Kind::BinaryCloudEvent);
    }
    if !headers.contains_key(CONTENT_TYPE) {
        return Ok(Kind::Json);
    }
    let value = one_header(headers, &CONTENT_TYPE).ok_or(Outcome::RefusedContentType)?;
    let (essence, parameters) = value.split_once(';').unwrap_or((value, ""));
    let essence = essence.trim().to_ascii_lowercase();
    let is_json =
        |essence: &str| essence == "application/json" || essence.ends_with("+json") || accept.iter().any(|named| named == essence);
    let charset = parameters
        .split(';')
        .filter_map(|parameter| parameter.trim().split_once('='))
        .find_map(|(name, value)| name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase()));
    if charset.is_some_and(|charset| !matches!(&*charset, "utf-8" | "utf8" | "us-ascii")) {
        return Err(Outcome::RefusedContentType);
    }
    if is_binary && !essence.starts_with("application/cloudevents") && !essence.starts_with("multipart/") {
        return Ok(Kind::BinaryCloudEvent);
    }
    match &*essence {
        FORM if form != Form::Refuse => Ok(Kind::Form(form)),
        essence if is_json(essence) => Ok(Kind::Json),
        _ => Err(Outcome::RefusedContentType),
    }
}

const FORM: &str = "application/x-www-form-urlencoded";

/// A content type without its parameters.
pub(super) fn essence(content_type: &str) -> String {
    content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a content type is that of a form.
pub(super) fn is_form(content_type: &str) -> bool {
    content_type.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case(FORM)
}

/// Reads a body of at most `max` bytes within `timeout`. Nothing is read of one that says that it is larger.
pub(super) async fn read(headers: &HeaderMap, body: Body, max: usize, timeout: Duration) -> Result<Bytes, Outcome> {
    let announced = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > max) {
        return Err(Outcome::RefusedTooLarge);
    }
    tokio::time::timeout(timeout, collect(body, max, announced.unwrap_or(0))).await.unwrap_or(Err(Outcome::RefusedTooSlow))
}

async fn collect(mut body: Body, max: usize, announced: usize) -> Result<Bytes, Outcome> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        // Trailers are not looked at.
        let Ok(data) = frame.map_err(|_| Outcome::RefusedBroken)?.into_data() else { continue };
        if first.len().max(all.len()) + data.len() > max {
            return Err(Outcome::RefusedTooLarge);
        }
        if all.is_empty() && first.is_empty() {
            first = data;
        } else {
            if all.is_empty() {
                all.reserve(announced.max(first.len() + data.len()));
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// The JSON in a body. A body of JSON is handed on as it is; whether it is JSON is seen when it is decoded.
///
/// # Errors
/// What is wrong with the body, for people.
pub(super) fn json(kind: Kind, headers: &HeaderMap, raw: &Bytes) -> Result<Bytes, String> {
    if kind == Kind::BinaryCloudEvent {
        return cloudevents::of_binary(headers, raw);
    }
    let text = str::from_utf8(raw).map_err(|error| format!("the body is not UTF-8: {error}"))?;
    let Kind::Form(form) = kind else { return Ok(raw.clone()) };
    let fields = fields(text).ok_or("the body is not a form of UTF-8 texts")?;
    if let Some((_, payload)) = fields.iter().find(|(name, _)| name == "payload") {
        return Ok(Bytes::copy_from_slice(payload.as_bytes()));
    }
    if form == Form::Payload {
        return Err("the form has no field payload".to_owned());
    }
    let object: Map<String, Value> = fields.into_iter().map(|(name, text)| (name.into_owned(), Value::String(text.into_owned()))).collect();
    Ok(Value::Object(object).to_string().into())
}

/// The fields of a form or a query, decoded; `None` if they are not UTF-8 or an escape is none.
pub(super) fn fields(form: &str) -> Option<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    form.split('&')
        .filter(|field| !field.is_empty())
        .map(|field| {
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            Some((unescape(name)?, unescape(value)?))
        })
        .collect()
}

fn unescape(text: &str) -> Option<Cow<'_, str>> {
    if !text.contains(['+', '%']) {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'+' => bytes.push(b' '),
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>()?;
                let mut byte = [0];
                hex::decode_to_slice(digits, &mut byte).ok()?;
                bytes.extend_from_slice(&byte);
                rest = after;
            }
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}
