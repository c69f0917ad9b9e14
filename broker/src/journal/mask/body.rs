//! Bodies, headers and addresses without what must not be kept.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Uri, header::CONTENT_TYPE};

use super::{
    MASKED, Rules, detect,
    json::{self, Change},
    names,
};
use crate::ingress::verify::Scheme;

/// Something without what must not be kept of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masked<T> {
    /// What is left.
    pub kept: T,
    /// Whether anything was taken out.
    pub is_masked: bool,
}

/// Where secrets of sources stand in a text, and what looks like one; in its order, without overlaps.
pub(super) fn text(text: &[u8], rules: &Rules<'_>) -> Vec<Change> {
    let mut found: Vec<Range<usize>> = detect::find(text);
    for needle in rules.needles() {
        found.extend(positions(text, needle));
    }
    found.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in found {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged.into_iter().map(|range| (range, Cow::Borrowed(MASKED.as_bytes()))).collect()
}

/// A text for people without what must not be kept.
#[must_use]
pub fn plain(shown: &str, rules: &Rules<'_>) -> String {
    let mut changes = text(shown.as_bytes(), rules);
    if changes.is_empty() { shown.to_owned() } else { String::from_utf8_lossy(&apply(shown.as_bytes(), &mut changes)).into_owned() }
}

fn positions(text: &[u8], needle: &[u8]) -> Vec<Range<usize>> {
    let Some((&first, rest)) = needle.split_first() else { return Vec::new() };
    let (mut found, mut at) = (Vec::new(), 0);
    while let Some(next) = text[at..].iter().position(|byte| *byte == first) {
        at += next;
        if text[at + 1..].starts_with(rest) {
            found.push(at..at + needle.len());
            at += needle.len();
        } else {
            at += 1;
        }
    }
    found
}

/// A text with its changes made.
pub(super) fn apply(text: &[u8], changes: &mut Vec<Change>) -> Vec<u8> {
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    for (range, with) in changes.drain(..) {
        if range.start >= at {
            out.extend_from_slice(&text[at..range.start]);
            out.extend_from_slice(&with);
            at = range.end;
        }
    }
    out.extend_from_slice(&text[at..]);
    out
}

/// A body without what must not be kept. One of which nothing must go is the same bytes.
#[must_use]
pub fn body(headers: &HeaderMap, body: &Bytes, rules: &Rules<'_>) -> Masked<Bytes> {
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let is_form = content_type.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded");
    let is_json = matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'[' | b'"'));
    let mut changes = match (is_form, is_json) {
        (true, _) => form(body, rules),
        (false, true) => json::changes(body, rules, 0),
        (false, false) => text(body, rules),
    };
    if changes.is_empty() {
        return Masked { kept: body.clone(), is_masked: false };
    }
    let mut kept = apply(body, &mut changes);
    // Where a secret lies across what was told apart, it is found once more.
    let mut left = text(&kept, rules);
    left.retain(|(range, _)| kept[range.clone()] != *MASKED.as_bytes());
    kept = apply(&kept, &mut left);
    Masked { kept: kept.into(), is_masked: true }
}

/// The changes of a form or a query.
fn form(form: &[u8], rules: &Rules<'_>) -> Vec<Change> {
    let (mut found, mut at) = (Vec::new(), 0);
    for field in form.split(|byte| *byte == b'&') {
        let value = field.iter().position(|byte| *byte == b'=').map_or(field.len(), |equals| equals + 1);
        let place = at + value..at + field.len();
        at += field.len() + 1;
        let name = decoded(&field[..value.saturating_sub(1)]);
        let plain = decoded(&field[value..]);
        if names::is_secret(&String::from_utf8_lossy(&name)) && !place.is_empty() {
            found.push((place, Cow::Borrowed(MASKED.as_bytes())));
            continue;
        }
        let is_json = matches!(plain.first(), Some(b'{' | b'['));
        let mut changes = if is_json { json::changes(&plain, rules, 1) } else { text(&plain, rules) };
        if !changes.is_empty() {
            found.push((place, Cow::Owned(encoded(&apply(&plain, &mut changes)))));
        }
    }
    found
}

/// A value of a form, decoded as far as it can be.
fn decoded(text: &[u8]) -> Vec<u8> {
    let (mut out, mut rest) = (Vec::with_capacity(text.len()), text);
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        let mut escaped = [0];
        match byte {
            b'+' => out.push(b' '),
            b'%' if after.get(..2).is_some_and(|digits| hex::decode_to_slice(digits, &mut escaped).is_ok()) => {
                out.push(escaped[0]);
                rest = &after[2..];
            }
            byte => out.push(byte),
        }
    }
    out
}

fn encoded(text: &[u8]) -> Vec<u8> {
    text.iter().fold(Vec::with_capacity(text.len()), |mut out, &byte| {
        match byte {
            b' ' => out.push(b'+'),
            byte if byte.is_ascii_alphanumeric() || b"-_.~()".contains(&byte) => out.push(byte),
            byte => out.extend_from_slice(format!("%{byte:02X}").as_bytes()),
        }
        out
    })
}

/// The path and query that a request was for, without what must not be kept.
#[must_use]
pub fn address(target: &Uri, rules: &Rules<'_>) -> String {
    let mask = |part: &[u8], mut changes: Vec<Change>| String::from_utf8_lossy(&apply(part, &mut changes)).into_owned();
    let is_secret = |step: &&str| !text(&decoded(step.as_bytes()), rules).is_empty();
    let steps: Vec<&str> = target.path().split('/').map(|step| if is_secret(&step) { MASKED } else { step }).collect();
    let shown = steps.join("/");
    let Some(query) = target.query().map(str::as_bytes) else { return shown };
    let signature = rules.source.map(crate::ingress::Source::secret_parameters).unwrap_or_default();
    let mut changes = form(query, rules);
    for name in signature {
        let start = query.split(|byte| *byte == b'&').scan(0, |at, field| {
            let place = *at..*at + field.len();
            *at += field.len() + 1;
            Some((place, field))
        });
        for (place, _) in start.filter(|(_, field)| field.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b"="))) {
            let place = place.start + name.len() + 1..place.end;
            changes.retain(|(range, _)| range.end <= place.start || range.start >= place.end);
            changes.push((place, Cow::Borrowed(MASKED.as_bytes())));
        }
    }
    changes.sort_by_key(|(range, _)| range.start);
    format!("{shown}?{}", mask(query, changes))
}

/// The headers in their order, each with its value without what must not be kept.
#[must_use]
pub fn headers(headers: &HeaderMap, rules: &Rules<'_>) -> Vec<(String, Masked<String>)> {
    let scheme = rules.source.and_then(|source| source.verifier()).map(|verifier| verifier.scheme());
    headers
        .iter()
        .map(|(name, value)| {
            let plain = String::from_utf8_lossy(value.as_bytes()).into_owned();
            (name.as_str().to_owned(), header(name, plain, scheme, rules))
        })
        .collect()
}

fn header(name: &HeaderName, value: String, scheme: Option<&Scheme>, rules: &Rules<'_>) -> Masked<String> {
    if let Some(scheme) = scheme.filter(|scheme| scheme.signature.header.contains(name)) {
        return Masked { kept: signature(&value, scheme), is_masked: true };
    }
    let is_secret =
        rules.names(name) || (!rules.looked_at.contains(&name) && !name.as_str().starts_with("ce-") && is_secret_header(name.as_str()));
    if is_secret {
        return Masked { kept: MASKED.to_owned(), is_masked: true };
    }
    let mut changes = text(value.as_bytes(), rules);
    let is_masked = !changes.is_empty();
    let kept = if is_masked { String::from_utf8_lossy(&apply(value.as_bytes(), &mut changes)).into_owned() } else { value };
    Masked { kept, is_masked }
}

/// Whatever says key is none of our business.
fn is_secret_header(name: &str) -> bool {
    names::is_secret(name) || name.ends_with("-key") || name.contains("token")
}

/// How a signature is written, without it: `sha256=(masked)`, `t=1492774577,v1=(masked)`.
fn signature(value: &str, scheme: &Scheme) -> String {
    let rule = &scheme.signature;
    let Some(list) = &rule.list else {
        let prefix = if value.starts_with(&rule.prefix) { &*rule.prefix } else { "" };
        return format!("{prefix}{MASKED}");
    };
    let is_signed = |name: &str| scheme.signed.parts().any(|part| matches!(part, crate::ingress::Part::Signature(key) if key == name));
    let item = |item: &str| match item.split_once(list.assign) {
        // The time is no secret, and is what is asked for first.
        Some((name, _)) if is_signed(name.trim()) => item.to_owned(),
        Some((name, _)) => format!("{name}{}{MASKED}", list.assign),
        None => MASKED.to_owned(),
    };
    let items: Vec<String> = value.split(list.separator).map(item).collect();
    items.join(&list.separator.to_string())
}
