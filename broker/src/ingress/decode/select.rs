//! The values at JSON pointers, found in one pass.
//!
//! Constraints: what is not asked for is skipped, not kept; a value is a slice of the document, so that a number is as exact as it was
//! sent; a key that occurs twice counts with its last value.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    DecodeError,
    containers::{Containers, Inside, document},
};

/// A JSON pointer (RFC 6901), such as `/issue/title`; empty for the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

/// Why a text is not a JSON pointer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a JSON pointer: write it like /issue/title, with ~1 for / and ~0 for ~ inside a key")]
pub struct PointerError(String);

impl Pointer {
    /// Made of keys and indexes, from the outermost.
    pub(super) fn of(parts: impl Iterator<Item = String>) -> Self {
        Self(parts.collect())
    }

    /// The keys and indexes, from the outermost.
    pub(super) fn parts(&self) -> &[String] {
        &self.0
    }
}

impl FromStr for Pointer {
    type Err = PointerError;

    fn from_str(text: &str) -> Result<Self, PointerError> {
        let mut parts = text.split('/');
        let escapes = |part: &str| part.split('~').skip(1).all(|after| after.starts_with(['0', '1']));
        if parts.next() != Some("") || !escapes(text) {
            return Err(PointerError(text.to_owned()));
        }
        Ok(Self(parts.map(|part| part.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| write!(f, "/{}", part.replace('~', "~0").replace('/', "~1")))
    }
}

/// Names one pointer of a [`Selector`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(usize);

/// A set of pointers.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    root: Node,
    slots: usize,
}

#[derive(Clone, Debug, Default)]
struct Node {
    slot: Option<usize>,
    children: Vec<(String, Node)>,
}

impl Selector {
    /// Adds a pointer; the same one gets the same slot.
    pub fn add(&mut self, pointer: &Pointer) -> Slot {
        let mut node = &mut self.root;
        for part in &pointer.0 {
            let at = node.children.iter().position(|(name, _)| name == part).unwrap_or_else(|| {
                node.children.push((part.clone(), Node::default()));
                node.children.len() - 1
            });
            node = &mut node.children[at].1;
        }
        let slots = &mut self.slots;
        Slot(*node.slot.get_or_insert_with(|| {
            *slots += 1;
            *slots - 1
        }))
    }

    /// Whether nothing is asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots == 0
    }

    /// How many pointers there are.
    pub(crate) fn len(&self) -> usize {
        self.slots
    }

    /// The slot of a pointer that was added.
    #[must_use]
    pub fn slot(&self, pointer: &Pointer) -> Option<Slot> {
        let child = |node: &'_ Node, part: &String| node.children.iter().position(|(name, _)| name == part);
        let mut node = &self.root;
        for part in &pointer.0 {
            node = &node.children[child(node, part)?].1;
        }
        node.slot.map(Slot)
    }

    /// Finds the values in a document. Without pointers the document is not looked at.
    ///
    /// # Errors
    /// [`DecodeError::Malformed`] if it is not JSON.
    pub fn select<'a>(&self, json: &'a str) -> Result<Selected<'a>, DecodeError> {
        let mut found = vec![None; self.slots];
        if self.slots > 0 {
            let values = Values { node: &self.root, found: &mut found };
            document(json, values).map_err(|error| DecodeError::Malformed(error.to_string()))?;
        }
        Ok(Selected(found))
    }
}

/// The values that a [`Selector`] found.
#[derive(Debug, Default)]
pub struct Selected<'a>(Vec<Option<&'a RawValue>>);

impl<'a> Selected<'a> {
    /// The value at a pointer, as JSON.
    #[must_use]
    pub fn json(&self, slot: Slot) -> Option<&'a str> {
        self.0.get(slot.0).copied().flatten().map(RawValue::get)
    }

    /// The value as text: a string that is not empty, a number as it was written, `true` or `false`. Nothing else has one.
    #[must_use]
    pub fn text(&self, slot: Slot) -> Option<Cow<'a, str>> {
        let json = self.json(slot)?;
        match json.as_bytes().first()? {
            b'"' => serde_json::from_str::<Text<'a>>(json).ok().map(|text| text.0).filter(|text| !text.is_empty()),
            b'{' | b'[' | b'n' => None,
            _ => Some(Cow::Borrowed(json)),
        }
    }
}

/// A string that is only copied when it holds escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The value at a node, and those inside it.
struct Values<'s, 'de> {
    node: &'s Node,
    found: &'s mut Vec<Option<&'de RawValue>>,
}

impl Node {
    /// Forgets what an earlier value of the same key had.
    fn clear(&self, found: &mut Vec<Option<&RawValue>>) {
        if let Some(slot) = self.slot {
            found[slot] = None;
        }
        self.children.iter().for_each(|(_, child)| child.clear(found));
    }
}

impl<'de> DeserializeSeed<'de> for Values<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Some(slot) = self.node.slot else { return deserializer.deserialize_any(Inside(self)) };
        let raw = <&RawValue>::deserialize(deserializer)?;
        self.found[slot] = Some(raw);
        if self.node.children.is_empty() {
            return Ok(());
        }
        serde_json::Deserializer::from_str(raw.get()).deserialize_any(Inside(self)).map_err(D::Error::custom)
    }
}

impl<'de> Containers<'de> for Values<'_, 'de> {
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        while let Some(child) = object.next_key_seed(ChildSeed(self.node))? {
            match child {
                Some(node) => {
                    node.clear(self.found);
                    object.next_value_seed(Values { node, found: self.found })?;
                }
                None => drop(object.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        for index in 0_usize.. {
            let child = self.node.children.iter().find(|(name, _)| name.parse() == Ok(index));
            let more = match child {
                Some((_, node)) => array.next_element_seed(Values { node, found: self.found })?,
                None => array.next_element::<IgnoredAny>()?.map(drop),
            };
            if more.is_none() {
                break;
            }
        }
        Ok(())
    }
}

/// A key: the node of the pointers that go on there, if any do.
struct ChildSeed<'s>(&'s Node);

impl<'de, 's> DeserializeSeed<'de> for ChildSeed<'s> {
    type Value = Option<&'s Node>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'s> Visitor<'_> for ChildSeed<'s> {
    type Value = Option<&'s Node>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.children.iter().find(|(name, _)| name == key).map(|(_, node)| node))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn texts(json: &str, pointers: &[&str]) -> Vec<Option<String>> {
        let mut selector = Selector::default();
        let slots: Vec<Slot> = pointers.iter().map(|pointer| selector.add(&pointer.parse().unwrap())).collect();
        let selected = selector.select(json).unwrap();
        slots.into_iter().map(|slot| selected.text(slot).map(Cow::into_owned)).collect()
    }

    #[test]
    fn values_come_as_they_were_sent() {
        let json = r#"{"id": 820982911946154508, "a": {"b": ["x", {"c": "d\u00e9"}]}, "n": null, "e": "", "t": true, "x/y~z": 1.50}"#;
        let found = texts(json, &["/id", "/a/b/1/c", "/n", "/e", "/t", "/x~1y~0z", "/a", "/nothing/there"]);
        let expected = [Some("820982911946154508"), Some("dé"), None, None, Some("true"), Some("1.50"), None, None];
        assert_eq!(found, expected.map(|text| text.map(str::to_owned)));
    }

    #[test]
    fn a_pointer_into_another_ones_value_is_found() {
        assert_eq!(texts(r#"{"a":{"b":1}}"#, &["/a", "/a/b", "/a/b"])[1..], [Some("1".to_owned()), Some("1".to_owned())]);
    }

    #[test]
    fn the_last_of_duplicate_keys_counts() {
        assert_eq!(texts(r#"{"a":{"b":1},"a":{"c":2}}"#, &["/a/b", "/a/c"]), [None, Some("2".to_owned())]);
    }

    #[test]
    fn pointers_are_checked() {
        for wrong in ["a", "a/b", "/a~2", "/~"] {
            assert_eq!(wrong.parse::<Pointer>(), Err(PointerError(wrong.to_owned())));
        }
        assert_eq!("/a~1b/~0".parse::<Pointer>().unwrap().to_string(), "/a~1b/~0");
    }

    #[test]
    fn what_follows_the_document_is_an_error() {
        let mut selector = Selector::default();
        selector.add(&"/a".parse().unwrap());
        for wrong in [r#"{"a":1}x"#, "", "{", r#"{"a":1,}"#] {
            assert!(matches!(selector.select(wrong), Err(DecodeError::Malformed(_))), "{wrong}");
        }
    }
}
