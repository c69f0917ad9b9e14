//! What a token allows.
//!
//! Constraints: written as it is shown, so that what a refusal names can be given to `waypost token create` as it is; a scope without a pattern
//! for something allows any; the broker's own events (`waypost.…`) are allowed only by a pattern that names them, as a filter must.
//!
//! ```text
//! publish [source=PATTERN]… [type=PATTERN]…
//! subscribe [name=PATTERN]… [type=PATTERN]…
//! read [type=PATTERN]…
//! inspect
//! admin
//!
//! PATTERN: a text, or the beginning of one and a *
//! ```

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};
use waypost_store::TypeSet;

use crate::filter::SYSTEM_PREFIX;

/// One thing that a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// To publish, also as the outputs of an ack.
    Publish {
        /// Under these sources.
        sources: Patterns,
        /// Events of these types.
        types: Patterns,
    },
    /// To create subscriptions, receive their events and settle them.
    Subscribe {
        /// Of these names. Ephemeral ones have none and need none.
        names: Patterns,
        /// Whose filter lets no more through than these types.
        types: Patterns,
    },
    /// To read the log; stories as well, if no types are given.
    Read {
        /// Events of these types.
        types: Patterns,
    },
    /// To look at everything that administrators see, and to change nothing.
    Inspect,
    /// To administer; and to inspect and read.
    Admin,
}

/// Texts of which one must fit; none at all for any text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns(Vec<Pattern>);

/// A text, or how it begins.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Pattern {
    Exactly(String),
    Beginning(String),
}

/// A text that is no scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no scope: {problem}")]
pub struct InvalidScope {
    text: String,
    problem: String,
}

/// How scopes are written, for errors.
const EXAMPLES: &str = "\"publish source=agents/routing type=logistics.v1.*\", \"subscribe name=routing type=logistics.v1.*\", \
                        \"read type=logistics.v1.*\", \"inspect\" or \"admin\"";

impl Pattern {
    fn new(text: &str) -> Result<Self, String> {
        let (beginning, is_beginning) = text.strip_suffix('*').map_or((text, false), |beginning| (beginning, true));
        if beginning.contains('*') {
            return Err(format!("{text:?} has a * elsewhere than at its end"));
        }
        if text.is_empty() {
            return Err("a pattern is empty; leave it out to allow any".to_owned());
        }
        Ok(if is_beginning { Self::Beginning(beginning.to_owned()) } else { Self::Exactly(text.to_owned()) })
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Self::Exactly(name) => name == text,
            Self::Beginning(beginning) => text.starts_with(beginning),
        }
    }

    /// Whether it fits every text that begins so.
    fn covers(&self, prefix: &str) -> bool {
        matches!(self, Self::Beginning(beginning) if prefix.starts_with(beginning))
    }

    fn names_system(&self) -> bool {
        let (Self::Exactly(text) | Self::Beginning(text)) = self;
        text.starts_with(SYSTEM_PREFIX)
    }
}

impl Patterns {
    /// Whether a name is among them.
    #[must_use]
    pub fn fit(&self, name: &str) -> bool {
        self.0.is_empty() || self.0.iter().any(|pattern| pattern.fits(name))
    }

    /// Whether an event type is.
    #[must_use]
    pub fn fit_type(&self, event_type: &str) -> bool {
        match event_type.starts_with(SYSTEM_PREFIX) {
            true => self.0.iter().any(|pattern| pattern.names_system() && pattern.fits(event_type)),
            false => self.fit(event_type),
        }
    }

    /// Whether every event type that begins so is.
    #[must_use]
    pub fn cover_types(&self, prefix: &str) -> bool {
        match prefix.starts_with(SYSTEM_PREFIX) {
            true => self.0.iter().any(|pattern| pattern.names_system() && pattern.covers(prefix)),
            false => self.0.is_empty() || self.0.iter().any(|pattern| pattern.covers(prefix)),
        }
    }

    fn write(&self, f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
        self.0.iter().try_for_each(|pattern| match pattern {
            Pattern::Exactly(text) => write!(f, " {key}={text}"),
            Pattern::Beginning(text) => write!(f, " {key}={text}*"),
        })
    }
}

/// What a filter asks for, as the type patterns of a scope: nothing for what it does not restrict.
pub(super) fn asked(types: Option<&TypeSet>) -> Patterns {
    let Some(TypeSet { names, prefixes }) = types else { return Patterns::default() };
    let names = names.iter().map(|name| Pattern::Exactly(name.to_string()));
    Patterns(names.chain(prefixes.iter().map(|prefix| Pattern::Beginning(prefix.to_string()))).collect())
}

/// One pattern that fits a single text.
pub(super) fn only(text: &str) -> Patterns {
    Patterns(vec![Pattern::Exactly(text.to_owned())])
}

/// Whether these scopes' types allow all that a filter asks for, each part by any of them.
pub(super) fn cover<'a>(mut allowed: impl Iterator<Item = &'a Patterns> + Clone, types: Option<&TypeSet>) -> bool {
    let Some(TypeSet { names, prefixes }) = types else { return allowed.any(|patterns| patterns.cover_types("")) };
    names.iter().all(|name| allowed.clone().any(|patterns| patterns.fit_type(name)))
        && prefixes.iter().all(|prefix| allowed.clone().any(|patterns| patterns.cover_types(prefix)))
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Publish { sources, types } => {
                f.write_str("publish")?;
                sources.write(f, "source")?;
                types.write(f, "type")
            }
            Self::Subscribe { names, types } => {
                f.write_str("subscribe")?;
                names.write(f, "name")?;
                types.write(f, "type")
            }
            Self::Read { types } => {
                f.write_str("read")?;
                types.write(f, "type")
            }
            Self::Inspect => f.write_str("inspect"),
            Self::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Scope {
    type Err = InvalidScope;

    fn from_str(text: &str) -> Result<Self, InvalidScope> {
        let wrong = |problem: String| InvalidScope { text: text.to_owned(), problem };
        let mut words = text.split_whitespace();
        let action = words.next().unwrap_or_default();
        let known: &[&str] = match action {
            "publish" => &["source", "type"],
            "subscribe" => &["name", "type"],
            "read" => &["type"],
            "inspect" | "admin" => &[],
            _ => return Err(wrong(format!("write one such as {EXAMPLES}"))),
        };
        let (mut first, mut types) = (Vec::new(), Vec::new());
        for word in words {
            let pair = word.split_once('=').filter(|(key, _)| known.contains(key));
            let (key, pattern) = pair.ok_or_else(|| match known {
                [] => wrong(format!("{action} takes nothing after it, not {word:?}")),
                known => wrong(format!("{word:?} is none of {}=…, which may follow {action}", known.join("=…, "))),
            })?;
            let pattern = Pattern::new(pattern).map_err(wrong)?;
            if key == "type" { types.push(pattern) } else { first.push(pattern) }
        }
        let (first, types) = (Patterns(first), Patterns(types));
        Ok(match action {
            "publish" => Self::Publish { sources: first, types },
            "subscribe" => Self::Subscribe { names: first, types },
            "read" => Self::Read { types },
            "inspect" => Self::Inspect,
            _ => Self::Admin,
        })
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn types(text: &str) -> Patterns {
        match text.parse().unwrap() {
            Scope::Read { types } => types,
            other => panic!("{other}"),
        }
    }

    fn set(names: &[&str], prefixes: &[&str]) -> TypeSet {
        TypeSet { names: names.iter().map(|&name| name.into()).collect(), prefixes: prefixes.iter().map(|&prefix| prefix.into()).collect() }
    }

    #[test]
    fn a_scope_is_shown_as_it_is_written() {
        for text in [
            "publish",
            "publish source=agents/routing type=logistics.v1.*",
            "publish source=a source=b*",
            "subscribe name=routing-* type=logistics.v1.* type=commerce.v1.OrderPlaced",
            "read",
            "read type=waypost.*",
            "inspect",
            "admin",
        ] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_scope_is_told_with_what_would_be_one() {
        for (text, says) in [
            ("", "publish source="),
            ("write", "publish source="),
            ("publish name=a", "source=…, type=…"),
            ("subscribe routing", "name=…, type=…"),
            ("read type=a*b", "elsewhere than at its end"),
            ("read type=", "leave it out"),
            ("admin type=a", "takes nothing"),
        ] {
            let error = text.parse::<Scope>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_filter_is_covered_only_as_a_whole() {
        let logistics = types("read type=logistics.v1.*");
        let one = types("read type=commerce.v1.OrderPlaced");
        let both = [&logistics, &one];
        let covered = |allowed: &[&Patterns], types: Option<TypeSet>| cover(allowed.iter().copied(), types.as_ref());
        assert!(covered(&both, Some(set(&["commerce.v1.OrderPlaced"], &["logistics.v1."]))));
        assert!(covered(&both, Some(set(&["logistics.v1.ShippingDelayed"], &["logistics.v1.internal."]))));
        assert!(!covered(&both, Some(set(&[], &["commerce.v1."]))), "a part is not all");
        assert!(!covered(&both, Some(set(&[], &["logistics."]))));
        assert!(!covered(&both, None), "no filter asks for everything");
        assert!(covered(&[&types("read")], None) && covered(&[&types("read type=*")], None));
        assert!(!covered(&[], Some(set(&["a"], &[]))));
    }

    #[test]
    fn the_brokers_own_events_must_be_named() {
        let (any, own) = (types("read"), types("read type=waypost.*"));
        assert!(any.fit_type("a.b") && !any.fit_type("waypost.storage.low") && !any.cover_types("waypost."));
        assert!(own.fit_type("waypost.storage.low") && own.cover_types("waypost.") && !own.fit_type("a.b"));
        assert!(!types("read type=*").fit_type("waypost.storage.low"));
    }
}
