//! Addresses and headers with places to be filled in: `https://api.github.com/{hook}/deliveries/{/id}/attempts`.
//!
//! Constraint: what a provider says (an item's field, a cursor) is escaped, so that it stays where it was put; what the operator says is not.

use std::{fmt, fmt::Write as _, str::FromStr};

use serde::{Deserialize, Deserializer, de::Error};

use crate::ingress::decode::Pointer;

/// A text with places to be filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// A value of the source, by its name; `since` and `token` are always there.
    Name(String),
    /// A field of an item.
    Pointer(Pointer),
}

/// What a text with places is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a text with places such as {{since}}, {{token}}, {{NAME}} or {{/pointer}}")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = || AddressError(text.to_owned());
        let (mut pieces, mut rest) = (Vec::new(), text);
        while let Some((before, place)) = rest.split_once('{') {
            let (inside, after) = place.split_once('}').ok_or_else(wrong)?;
            let is_name = !inside.is_empty() && inside.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match inside.parse() {
                Ok(pointer) if !inside.is_empty() => Piece::Pointer(pointer),
                _ if is_name => Piece::Name(inside.to_owned()),
                _ => return Err(wrong()),
            });
            rest = after;
        }
        if rest.contains('}') {
            return Err(wrong());
        }
        pieces.push(Piece::Text(rest.to_owned()));
        Ok(Self(pieces))
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| match piece {
            Piece::Text(text) => f.write_str(text),
            Piece::Name(name) => write!(f, "{{{name}}}"),
            Piece::Pointer(pointer) => write!(f, "{{{pointer}}}"),
        })
    }
}

impl Address {
    /// The names of its places.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| if let Piece::Name(name) = piece { Some(&**name) } else { None })
    }

    /// The fields of an item that it holds.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = &Pointer> {
        self.0.iter().filter_map(|piece| if let Piece::Pointer(pointer) = piece { Some(pointer) } else { None })
    }

    /// Filled in; `None` if something is not there.
    pub(crate) fn fill<'a>(&self, value: impl Fn(&str) -> Option<&'a str>, field: impl Fn(&Pointer) -> Option<String>) -> Option<String> {
        let mut text = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(piece) => text.push_str(piece),
                Piece::Name(name) => text.push_str(value(name)?),
                Piece::Pointer(pointer) => text.push_str(&escaped(&field(pointer)?)),
            }
        }
        Some(text)
    }
}

/// As a part of a path or of a query (RFC 3986, section 2.3: all but the unreserved characters).
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            // Writing into a String cannot fail.
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn places_are_filled_in_and_what_a_provider_says_stays_in_its_place() {
        let address: Address = "https://x.example/{hook}/deliveries/{/id}/attempts?since={since}".parse().unwrap();
        assert_eq!(address.names().collect::<Vec<_>>(), ["hook", "since"]);
        let value = |name: &str| Some(if name == "hook" { "repos/a/b/hooks/1" } else { "7" });
        let filled = address.fill(value, |_| Some("../1?x=ü".to_owned())).unwrap();
        assert_eq!(filled, "https://x.example/repos/a/b/hooks/1/deliveries/..%2F1%3Fx%3D%C3%BC/attempts?since=7");
        assert_eq!(address.fill(|_| None, |_| None), None);
        assert_eq!(address.to_string(), "https://x.example/{hook}/deliveries/{/id}/attempts?since={since}");
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for wrong in ["{", "}", "a{}b", "{Since}", "{a b}", "{/a"] {
            assert_eq!(wrong.parse::<Address>(), Err(AddressError(wrong.to_owned())));
        }
    }
}
