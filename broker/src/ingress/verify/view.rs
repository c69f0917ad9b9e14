//! A request as the rules of a scheme look at it: what stands for each part of a template.
//!
//! Constraints:
//! - A part that is not there, or there twice, is missing: it is never guessed, and never taken from another place.
//! - What can be lent is not copied: a scheme that signs headers and the body costs no allocation here.

use std::{borrow::Cow, collections::BTreeMap};

use http::{HeaderMap, Method, Uri, header::CONTENT_TYPE};

use super::{grammar::Signatures, jwt::Claims, mac::Key};
use crate::{
    config::Secret,
    ingress::{
        body::{self, fields},
        decode::{Pointer, Selected, Selector},
        template::{Part, Template, one_header},
    },
};

/// A request as it was received.
#[derive(Clone, Copy, Debug)]
pub struct Incoming<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Path and query.
    pub target: &'a Uri,
    /// Its headers.
    pub headers: &'a HeaderMap,
    /// Its body, byte for byte.
    pub body: &'a [u8],
}

/// What the parts of a template can be filled in from.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) request: Incoming<'a>,
    /// Scheme and host as the provider calls them, without a slash at the end.
    pub(crate) base: &'a str,
    pub(crate) selector: &'a Selector,
    pub(crate) selected: &'a Selected<'a>,
    pub(crate) signatures: Option<&'a Signatures<'a>>,
    pub(crate) claims: Option<&'a Claims>,
    pub(crate) key: Option<&'a Key>,
    pub(crate) key_id: Option<&'a str>,
    pub(crate) access: Option<&'a BTreeMap<String, Secret>>,
}

impl<'a> View<'a> {
    /// Of the head and the body alone.
    pub(crate) fn new(request: Incoming<'a>, base: &'a str, selector: &'a Selector, selected: &'a Selected<'a>) -> Self {
        Self { request, base, selector, selected, signatures: None, claims: None, key: None, key_id: None, access: None }
    }

    /// What stands for a part.
    pub(crate) fn piece(&self, part: &'a Part) -> Option<Cow<'a, [u8]>> {
        let Incoming { method, headers, body, .. } = self.request;
        Some(match part {
            Part::Literal(text) => Cow::Borrowed(text.as_bytes()),
            Part::Header(name) => Cow::Borrowed(one_header(headers, name)?.as_bytes()),
            Part::Signature(key) => Cow::Borrowed(self.signatures?.item(key)?.as_bytes()),
            Part::Body => Cow::Borrowed(body),
            Part::Method => Cow::Borrowed(method.as_str().as_bytes()),
            Part::Pointer(pointer) => bytes(self.at(pointer)?),
            Part::Secret => Cow::Borrowed(self.key?.secret()),
            Part::Optional(parts) => return Some(self.optional(parts)),
            Part::FirstOf(parts) => return parts.iter().find_map(|part| self.piece(part)),
            Part::Crc32 => owned(crc32(body).to_string()),
            Part::Url { decoded: false } => owned(self.url()),
            Part::Url { decoded: true } => owned(decoded(&self.url())),
            Part::Query(name) => owned(self.query(name)?),
            Part::Form => owned(self.form()?),
            Part::FormField(name) => owned(only(self.fields()?, name)?),
            Part::Claim(name) => owned(self.claims?.text(name)?),
            Part::KeyId => Cow::Borrowed(self.key_id?.as_bytes()),
            Part::Access(name) => Cow::Borrowed(self.access?.get(name)?.expose()),
            Part::Mac(part) => owned(self.key?.sign_on_request(&self.piece(part)?)?),
        })
    }

    /// What stands for a template, in pieces; `None` when one is missing.
    pub(crate) fn pieces(&self, template: &'a Template) -> Option<Vec<Cow<'a, [u8]>>> {
        template.0.iter().map(|part| self.piece(part)).collect()
    }

    /// The same as a text.
    pub(crate) fn text(&self, template: &'a Template) -> Option<Cow<'a, str>> {
        if let [part] = &*template.0 {
            return match self.piece(part)? {
                Cow::Borrowed(bytes) => str::from_utf8(bytes).ok().map(Cow::Borrowed),
                Cow::Owned(bytes) => String::from_utf8(bytes).ok().map(Cow::Owned),
            };
        }
        String::from_utf8(self.pieces(template)?.concat()).ok().map(Cow::Owned)
    }

    /// Whether the body is a form.
    pub(crate) fn is_form(&self) -> bool {
        one_header(self.request.headers, &CONTENT_TYPE).is_some_and(body::is_form)
    }

    fn at(&self, pointer: &Pointer) -> Option<Cow<'a, str>> {
        self.selected.text(self.selector.slot(pointer)?)
    }

    fn optional(&self, parts: &'a [Part]) -> Cow<'a, [u8]> {
        if let [part] = parts {
            return self.piece(part).unwrap_or_default();
        }
        let pieces: Option<Vec<_>> = parts.iter().map(|part| self.piece(part)).collect();
        pieces.map(|pieces| Cow::Owned(pieces.concat())).unwrap_or_default()
    }

    fn url(&self) -> String {
        let target = self.request.target.path_and_query().map_or("/", |target| target.as_str());
        format!("{}{target}", self.base)
    }

    fn query(&self, name: &str) -> Option<String> {
        only(fields(self.request.target.query()?)?, name)
    }

    fn fields(&self) -> Option<Vec<(Cow<'a, str>, Cow<'a, str>)>> {
        let text = self.is_form().then(|| str::from_utf8(self.request.body).ok()).flatten()?;
        fields(text)
    }

    /// Sorted by name, and by value within a name: a value that is there twice counts once.
    fn form(&self) -> Option<String> {
        let mut fields = self.fields()?;
        fields.sort();
        fields.dedup();
        Some(fields.into_iter().flat_map(|(name, value)| [name, value]).collect())
    }
}

fn owned(text: String) -> Cow<'static, [u8]> {
    Cow::Owned(text.into_bytes())
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => owned(text),
    }
}

/// The value of the one field of a name.
fn only(fields: Vec<(Cow<'_, str>, Cow<'_, str>)>, name: &str) -> Option<String> {
    let mut values = fields.into_iter().filter(|(field, _)| field == name).map(|(_, value)| value.into_owned());
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// Decodes the escapes of what may stand in a path or query as it is.
fn decoded(url: &str) -> String {
    const DECODED: &[u8] = b":/?@!$'()*,;";
    let mut text = String::with_capacity(url.len());
    let mut rest = url;
    while let Some(at) = rest.find('%') {
        text.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 3).filter(|code| code.bytes().all(|byte| byte.is_ascii_hexdigit()));
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) if DECODED.contains(&byte) => {
                text.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                text.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    text + rest
}

/// The CRC-32 of ISO 3309, bit by bit: who needs it signs little else, and a table would be longer than this.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_the_one_that_everybody_computes() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn only_the_escapes_that_may_stand_as_they_are_get_decoded() {
        assert_eq!(decoded("https://a/b%2Fc%3ad?x=%20%26&y=%4"), "https://a/b/c:d?x=%20%26&y=%4");
        assert_eq!(decoded("%"), "%");
        assert_eq!(decoded("%é%2F"), "%é/");
    }
}
