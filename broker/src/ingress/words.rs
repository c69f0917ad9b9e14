//! Configured values that are a word or a table: `scheme = "github"`, `scheme = { … }`.
//!
//! Constraint: an error is about the form that was written, not about "any variant".

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer},
};

/// A type that can be written as a word.
pub(crate) trait Word: Sized {
    /// What a word or a table may be, for messages to people.
    const EXPECTED: &'static str;

    /// The value of a word.
    fn word(text: &str) -> Result<Self, String>;
}

/// For `#[serde(deserialize_with)]`: a word, or a table of type `T`.
pub(crate) fn word_or_table<'de, W, T, D>(deserializer: D) -> Result<W, D::Error>
where
    W: Word + From<T>,
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    deserializer.deserialize_any(WordOrTable::<W, T>(PhantomData))
}

struct WordOrTable<W, T>(PhantomData<(W, T)>);

impl<'de, W: Word + From<T>, T: Deserialize<'de>> Visitor<'de> for WordOrTable<W, T> {
    type Value = W;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(W::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<W, E> {
        W::word(text).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<W, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(W::from)
    }
}
