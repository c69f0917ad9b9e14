//! Texts made of parts of a request: `v0:{header:X-Slack-Request-Timestamp}:{body}`, `payments/{/id}`.
//!
//! Constraints:
//! - One small language wherever a scheme or a source puts a text together: what is signed, identities, event types, subjects.
//! - A part that a request does not have makes the text missing, never shorter: two different webhooks must not get one id.
//!
//! | part | what stands for it |
//! |---|---|
//! | `{header:NAME}` | the one header of that name |
//! | `{/pointer}` | the text at a JSON pointer of the payload |
//! | `{/event_id\|/trigger_id}` | the first of these that the request has |
//! | anything else | itself |
//!
//! What an event is about (subject, ordering key, correlation id) and what a scheme signs may have parts that are not always there.
//!
//! | part | what stands for it |
//! |---|---|
//! | `[text{/pointer}]` | the text between the brackets, or nothing when a part of it is missing |
//!
//! Schemes need more, and only they have it: in what is signed, and in what is compared or answered.
//!
//! | part | what stands for it |
//! |---|---|
//! | `{body}` | the body, byte for byte |
//! | `{crc32}` | the CRC-32 of the body, in decimal |
//! | `{signature:KEY}` | an item of the signature, in schemes whose signature is a list |
//! | `{method}` | `POST` |
//! | `{url}` | the address as the provider calls it: the source's `public_base_url`, the path and the query |
//! | `{url:decoded}` | the same, with the escapes of `: / ? @ ! $ ' ( ) * , ;` decoded |
//! | `{query:NAME}` | a parameter of the address, decoded |
//! | `{form}` | the fields of a form, names and values one after the other, sorted by name |
//! | `{form:NAME}` | one field of a form |
//! | `{claim:NAME}` | a claim of the verified token, in schemes whose signature is a JWT |
//! | `{secret}` | the secret |
//! | `{mac:PART}` | the signature of a part, as the scheme signs and writes it, with the first secret |
//!
//! And two more where a provider is asked for a key.
//!
//! | part | what stands for it |
//! |---|---|
//! | `{kid}` | the id of the key that signed, in schemes whose signature is a JWT |
//! | `{access:NAME}` | what the source may show the provider, from its `access` |

mod bound;
#[cfg(test)]
mod tests;

use std::{fmt, str::FromStr};

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};

pub(crate) use self::bound::{Absent, Bound, one_header};
use super::decode::{Pointer, PointerError, Selector};

/// A text with parts to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(pub(crate) Vec<Part>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Literal(String),
    Header(HeaderName),
    Signature(String),
    Pointer(Pointer),
    FirstOf(Vec<Part>),
    Body,
    Crc32,
    Method,
    Url { decoded: bool },
    Query(String),
    Form,
    FormField(String),
    Claim(String),
    Secret,
    Mac(Box<Part>),
    KeyId,
    Access(String),
    Optional(Vec<Part>),
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{template:?}: {problem}")]
pub struct TemplateError {
    template: String,
    problem: String,
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Self, TemplateError> {
        let error = |problem| TemplateError { template: text.to_owned(), problem };
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['[', ']']) {
            let (before, after) = rest.split_at(at);
            let inside = after.strip_prefix('[').ok_or_else(|| error("a ] without its [".to_owned()))?;
            let (inside, after) = inside.split_once(']').ok_or_else(|| error("a [ without its ]".to_owned()))?;
            parts.append(&mut sequence(before).map_err(error)?);
            parts.push(Part::Optional(sequence(inside).map_err(error)?));
            rest = after;
        }
        parts.append(&mut sequence(rest).map_err(error)?);
        Ok(Self(parts))
    }
}

fn sequence(text: &str) -> Result<Vec<Part>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
        if literal.contains('}') {
            return Err("a } without its {".to_owned());
        }
        if literal.contains('[') {
            return Err("a [ inside of [ ]: they do not nest".to_owned());
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal.to_owned()));
        }
        if literal.len() == rest.len() {
            break;
        }
        let (part, after) = after.split_once('}').ok_or("a { without its }")?;
        parts.push(Part::parse(part)?);
        rest = after;
    }
    Ok(parts)
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(part) = Self::word(text) {
            return Ok(part);
        }
        if text.contains('{') {
            return Err("a { inside of { }".to_owned());
        }
        if text.contains('|') {
            return text.split('|').map(Self::parse).collect::<Result<_, _>>().map(Self::FirstOf);
        }
        if text.starts_with('/') {
            return text.parse().map(Self::Pointer).map_err(|error: PointerError| error.to_string());
        }
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| format!("{name:?} is not the name of a header")),
            Some(("mac", part)) => Self::parse(part).map(Box::new).map(Self::Mac),
            Some((kind, name)) if !name.is_empty() => Self::named(kind, name.to_owned()).ok_or_else(|| no_part(text)),
            _ => Err(no_part(text)),
        }
    }

    fn word(text: &str) -> Option<Self> {
        Some(match text {
            "body" => Self::Body,
            "crc32" => Self::Crc32,
            "method" => Self::Method,
            "url" => Self::Url { decoded: false },
            "url:decoded" => Self::Url { decoded: true },
            "form" => Self::Form,
            "secret" => Self::Secret,
            "kid" => Self::KeyId,
            _ => return None,
        })
    }

    fn named(kind: &str, name: String) -> Option<Self> {
        Some(match kind {
            "signature" => Self::Signature(name),
            "query" => Self::Query(name),
            "form" => Self::FormField(name),
            "claim" => Self::Claim(name),
            "access" => Self::Access(name),
            _ => return None,
        })
    }

    /// The part and those inside it.
    pub(crate) fn within(&self) -> Vec<&Self> {
        let inside: &[Self] = match self {
            Self::FirstOf(parts) | Self::Optional(parts) => parts,
            Self::Mac(part) => std::slice::from_ref(part),
            _ => &[],
        };
        std::iter::once(self).chain(inside.iter().flat_map(Self::within)).collect()
    }
}

fn no_part(text: &str) -> String {
    format!("{{{text}}} is no part; write {{header:NAME}}, {{signature:KEY}}, {{/json/pointer}}, {{body}} or another one of the manual")
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Header(name) => write!(f, "{{header:{name}}}"),
            Self::Signature(key) => write!(f, "{{signature:{key}}}"),
            Self::Pointer(pointer) => write!(f, "{{{pointer}}}"),
            Self::FirstOf(parts) => {
                let parts: Vec<_> = parts.iter().map(ToString::to_string).collect();
                write!(f, "{{{}}}", parts.join("|").replace(['{', '}'], ""))
            }
            Self::Body => f.write_str("{body}"),
            Self::Crc32 => f.write_str("{crc32}"),
            Self::Method => f.write_str("{method}"),
            Self::Url { decoded } => f.write_str(if *decoded { "{url:decoded}" } else { "{url}" }),
            Self::Query(name) => write!(f, "{{query:{name}}}"),
            Self::Form => f.write_str("{form}"),
            Self::FormField(name) => write!(f, "{{form:{name}}}"),
            Self::Claim(name) => write!(f, "{{claim:{name}}}"),
            Self::Secret => f.write_str("{secret}"),
            Self::KeyId => f.write_str("{kid}"),
            Self::Access(name) => write!(f, "{{access:{name}}}"),
            Self::Mac(part) => write!(f, "{{mac:{}}}", part.to_string().replace(['{', '}'], "")),
            Self::Optional(parts) => {
                f.write_str("[")?;
                parts.iter().try_for_each(|part| part.fmt(f))?;
                f.write_str("]")
            }
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| part.fmt(f))
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Template {
    /// Every part, and those inside parts.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.0.iter().flat_map(Part::within)
    }

    /// Asks the selector for every pointer, for a [`View`](super::verify::View) to find.
    pub(crate) fn ask(&self, selector: &mut Selector) {
        for part in self.parts() {
            if let Part::Pointer(pointer) = part {
                selector.add(pointer);
            }
        }
    }
}
