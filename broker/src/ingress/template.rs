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

use std::{borrow::Cow, fmt, str::FromStr};

use http::{HeaderMap, HeaderName};
use serde::{Deserialize, Deserializer, de::Error};

use super::decode::{Pointer, Selected, Selector, Slot};

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
            return text.parse().map(Self::Pointer).map_err(|error: super::decode::PointerError| error.to_string());
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
            _ => return None,
        })
    }

    fn named(kind: &str, name: String) -> Option<Self> {
        Some(match kind {
            "signature" => Self::Signature(name),
            "query" => Self::Query(name),
            "form" => Self::FormField(name),
            "claim" => Self::Claim(name),
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

impl Part {
    fn bind(&self, selector: &mut Selector) -> Result<BoundPart, String> {
        Ok(match self {
            Self::Literal(text) => BoundPart::Literal(text.clone()),
            Self::Header(name) => BoundPart::Header(name.clone()),
            Self::Pointer(pointer) => BoundPart::Pointer(pointer.clone(), selector.add(pointer)),
            Self::FirstOf(parts) => BoundPart::FirstOf(parts.iter().map(|part| part.bind(selector)).collect::<Result<_, _>>()?),
            Self::Optional(_) => return Err("a part in [ ] cannot be used here: what lacks it would be taken for another".to_owned()),
            _ => return Err(format!("{self} cannot be used here; use {{header:NAME}} and {{/json/pointer}}")),
        })
    }
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

/// A template over headers and payload, ready to be filled in.
#[derive(Clone, Debug)]
pub(crate) struct Bound(Vec<BoundPart>);

#[derive(Clone, Debug)]
enum BoundPart {
    Literal(String),
    Header(HeaderName),
    Pointer(Pointer, Slot),
    FirstOf(Vec<BoundPart>),
    Optional(Bound),
}

/// What a template asks for and a request does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// A header, which is missing, occurs twice, or is not text.
    Header(HeaderName),
    /// A text at a JSON pointer.
    Pointer(Pointer),
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(name) => write!(f, "there is not exactly one header {name} with a text"),
            Self::Pointer(pointer) => write!(f, "the payload has no text at {pointer}"),
        }
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

    /// Asks the selector for the pointers.
    ///
    /// # Errors
    /// Names a part that has no meaning outside signatures.
    pub(crate) fn bind(&self, selector: &mut Selector) -> Result<Bound, String> {
        self.0.iter().map(|part| part.bind(selector)).collect::<Result<_, _>>().map(Bound)
    }

    /// The same where it is no harm that parts in `[ ]` may be missing.
    ///
    /// # Errors
    /// As [`bind`](Self::bind).
    pub(crate) fn bind_with_optional(&self, selector: &mut Selector) -> Result<Bound, String> {
        let mut bind = |part: &Part| match part {
            Part::Optional(parts) => Self(parts.clone()).bind(selector).map(BoundPart::Optional),
            _ => part.bind(selector),
        };
        self.0.iter().map(&mut bind).collect::<Result<_, _>>().map(Bound)
    }
}

impl Bound {
    /// Whether it depends on the payload.
    pub(crate) fn looks_inside(&self) -> bool {
        fn inside(part: &BoundPart) -> bool {
            match part {
                BoundPart::Pointer(..) => true,
                BoundPart::FirstOf(parts) | BoundPart::Optional(Bound(parts)) => parts.iter().any(inside),
                BoundPart::Literal(_) | BoundPart::Header(_) => false,
            }
        }
        self.0.iter().any(inside)
    }

    /// The headers that it looks at.
    pub(crate) fn headers(&self) -> Vec<&HeaderName> {
        fn within<'a>(part: &'a BoundPart, found: &mut Vec<&'a HeaderName>) {
            match part {
                BoundPart::Header(name) => found.push(name),
                BoundPart::FirstOf(parts) | BoundPart::Optional(Bound(parts)) => parts.iter().for_each(|part| within(part, found)),
                BoundPart::Literal(_) | BoundPart::Pointer(..) => {}
            }
        }
        let mut found = Vec::new();
        self.0.iter().for_each(|part| within(part, &mut found));
        found
    }

    /// Fills it in.
    ///
    /// # Errors
    /// [`Absent`] is the first part that the request does not have.
    pub(crate) fn fill<'a>(&self, headers: &'a HeaderMap, selected: &Selected<'a>) -> Result<Cow<'a, str>, Absent> {
        if let [part] = &*self.0 {
            return part.text(headers, selected);
        }
        self.0.iter().try_fold(String::new(), |text, part| Ok(text + &part.text(headers, selected)?)).map(Cow::Owned)
    }
}

impl BoundPart {
    fn text<'a>(&self, headers: &'a HeaderMap, selected: &Selected<'a>) -> Result<Cow<'a, str>, Absent> {
        match self {
            Self::Literal(text) => Ok(Cow::Owned(text.clone())),
            Self::Header(name) => match one_header(headers, name) {
                Some(text) if !text.is_empty() => Ok(Cow::Borrowed(text)),
                _ => Err(Absent::Header(name.clone())),
            },
            Self::Pointer(pointer, slot) => selected.text(*slot).ok_or_else(|| Absent::Pointer(pointer.clone())),
            Self::Optional(bound) => Ok(bound.fill(headers, selected).unwrap_or_default()),
            Self::FirstOf(parts) => {
                let mut absent = None;
                for part in parts {
                    match part.text(headers, selected) {
                        Ok(text) => return Ok(text),
                        Err(missing) => drop(absent.get_or_insert(missing)),
                    }
                }
                absent.map_or(Ok(Cow::Borrowed("")), Err)
            }
        }
    }
}

/// The value of a header that is there exactly once and is visible ASCII.
pub(crate) fn one_header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use proptest::prelude::*;

    use super::*;

    fn fill(template: &str) -> Result<String, String> {
        let mut headers = HeaderMap::new();
        headers.insert("x-id", "7".parse().unwrap());
        headers.append("x-twice", "a".parse().unwrap());
        headers.append("x-twice", "b".parse().unwrap());
        let mut selector = Selector::default();
        let bound = template.parse::<Template>().unwrap().bind(&mut selector)?;
        let selected = selector.select(r#"{"id":"pay_001","status":"ok","none":null}"#).unwrap();
        bound.fill(&headers, &selected).map(Cow::into_owned).map_err(|absent| absent.to_string())
    }

    #[test]
    fn parts_are_filled_in() {
        assert_eq!(fill("{/id}:{/status}").unwrap(), "pay_001:ok");
        assert_eq!(fill("h/{header:X-Id}/x").unwrap(), "h/7/x");
        assert_eq!(fill("{/none|header:x-id|/id}").unwrap(), "7");
        assert_eq!(fill("{/none|/nothing}").unwrap_err(), "the payload has no text at /none");
        assert_eq!(fill("").unwrap(), "");
    }

    #[test]
    fn p7_a_missing_part_makes_the_text_missing() {
        assert_eq!(fill("{/id}:{/none}").unwrap_err(), "the payload has no text at /none");
        assert_eq!(fill("{header:X-Twice}").unwrap_err(), "there is not exactly one header x-twice with a text");
    }

    #[test]
    fn what_is_no_template_is_refused_with_what_is_wrong() {
        for (wrong, problem) in [
            ("{", "a { without its }"),
            ("a}b", "a } without its {"),
            ("{thing}", "{thing} is no part"),
            ("{header:a b}", "is not the name of a header"),
            ("{/~9}", "is not a JSON pointer"),
            ("a]b", "a ] without its ["),
            ("[a", "a [ without its ]"),
            ("[[a]", "do not nest"),
            ("{mac:thing}", "{thing} is no part"),
        ] {
            let error = wrong.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(fill("{body}").unwrap_err().contains("cannot be used here"));
    }

    proptest! {
        #[test]
        fn no_text_makes_parsing_panic_and_what_parses_is_shown_as_it_was_meant(text in "[a-z{}\\[\\]|:/~ ]{0,40}") {
            if let Ok(template) = text.parse::<Template>() {
                prop_assert_eq!(template.to_string().parse::<Template>(), Ok(template));
            }
        }
    }
}
