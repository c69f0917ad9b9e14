//! Texts made of parts of a request: `v0:{header:X-Slack-Request-Timestamp}:{body}`, `payments/{/id}`.
//!
//! Constraints:
//! - One small language wherever a scheme or a source puts a text together: what is signed, identities, event types, subjects.
//! - A part that a request does not have makes the text missing, never shorter: two different webhooks must not get one id.
//!
//! | part | what stands for it |
//! |---|---|
//! | `{header:NAME}` | the one header of that name |
//! | `{signature:KEY}` | an item of the signature header, in schemes whose signature is a list |
//! | `{/pointer}` | the text at a JSON pointer of the payload |
//! | `{/event_id\|/trigger_id}` | the first of these that the request has |
//! | `{body}` | the body, byte for byte |
//! | anything else | itself |

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
        let error = |problem: String| TemplateError { template: text.to_owned(), problem };
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (literal, after) = rest.split_once('{').unwrap_or((rest, ""));
            if literal.contains('}') {
                return Err(error("a } without its {".to_owned()));
            }
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            if literal.len() == rest.len() {
                break;
            }
            let (part, after) = after.split_once('}').ok_or_else(|| error("a { without its }".to_owned()))?;
            parts.push(Part::parse(part).map_err(error)?);
            rest = after;
        }
        Ok(Self(parts))
    }
}

impl Part {
    fn parse(text: &str) -> Result<Self, String> {
        if text == "body" {
            return Ok(Self::Body);
        }
        if text.contains('|') {
            return text.split('|').map(Self::parse).collect::<Result<_, _>>().map(Self::FirstOf);
        }
        if text.starts_with('/') {
            return text.parse().map(Self::Pointer).map_err(|error: super::decode::PointerError| error.to_string());
        }
        match text.split_once(':') {
            Some(("header", name)) => name.parse().map(Self::Header).map_err(|_| format!("{name:?} is not the name of a header")),
            Some(("signature", key)) if !key.is_empty() => Ok(Self::Signature(key.to_owned())),
            _ => Err(format!("{{{text}}} is no part; write {{header:NAME}}, {{signature:KEY}}, {{/json/pointer}} or {{body}}")),
        }
    }
}

impl Part {
    fn bind(&self, selector: &mut Selector) -> Result<BoundPart, String> {
        Ok(match self {
            Self::Literal(text) => BoundPart::Literal(text.clone()),
            Self::Header(name) => BoundPart::Header(name.clone()),
            Self::Pointer(pointer) => BoundPart::Pointer(pointer.clone(), selector.add(pointer)),
            Self::FirstOf(parts) => BoundPart::FirstOf(parts.iter().map(|part| part.bind(selector)).collect::<Result<_, _>>()?),
            Self::Body | Self::Signature(_) => {
                return Err(format!("{self} cannot be used here; use {{header:NAME}} and {{/json/pointer}}"));
            }
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
    /// Asks the selector for the pointers.
    ///
    /// # Errors
    /// Names a part that has no meaning outside signatures.
    pub(crate) fn bind(&self, selector: &mut Selector) -> Result<Bound, String> {
        self.0.iter().map(|part| part.bind(selector)).collect::<Result<_, _>>().map(Bound)
    }
}

impl Bound {
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
        ] {
            let error = wrong.parse::<Template>().unwrap_err().to_string();
            assert!(error.contains(problem), "{error}");
        }
        assert!(fill("{body}").unwrap_err().contains("cannot be used here"));
    }
}
