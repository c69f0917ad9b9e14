//! A template over headers and payload, and the text that a request makes of it.
//!
//! Constraint: a part that a request does not have is named, with where it was looked for; what the request says is not repeated.

use std::{borrow::Cow, fmt};

use http::{HeaderMap, HeaderName};

use super::{Part, Template};
use crate::ingress::decode::{Pointer, Selected, Selector, Slot};

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

impl Bound {
    /// Whether it depends on the payload.
    pub(crate) fn looks_inside(&self) -> bool {
        self.parts().any(|part| matches!(part, BoundPart::Pointer(..)))
    }

    /// The headers that it looks at.
    pub(crate) fn headers(&self) -> Vec<&HeaderName> {
        self.parts().filter_map(|part| if let BoundPart::Header(name) = part { Some(name) } else { None }).collect()
    }

    /// Every part, and those inside parts.
    fn parts(&self) -> impl Iterator<Item = &BoundPart> {
        self.0.iter().flat_map(BoundPart::within)
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
    /// The part and those inside it.
    fn within(&self) -> Vec<&Self> {
        let inside: &[Self] = match self {
            Self::FirstOf(parts) | Self::Optional(Bound(parts)) => parts,
            Self::Literal(_) | Self::Header(_) | Self::Pointer(..) => &[],
        };
        std::iter::once(self).chain(inside.iter().flat_map(Self::within)).collect()
    }

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
