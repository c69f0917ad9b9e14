//! Reading a document for what is in its objects and arrays, and nothing of its scalars.
//!
//! Constraint: the grammar is serde_json's, to the end of the document.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

/// Reads a whole document.
pub(super) fn document<'de, S: DeserializeSeed<'de, Value = ()>>(json: &'de str, seed: S) -> Result<(), serde_json::Error> {
    let mut document = serde_json::Deserializer::from_str(json);
    seed.deserialize(&mut document).and_then(|()| document.end())
}

/// What reads them.
pub(super) trait Containers<'de>: Sized {
    fn object<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error>;
    fn array<A: SeqAccess<'de>>(self, array: A) -> Result<(), A::Error>;
}

/// The visitor of any value.
pub(super) struct Inside<C>(pub(super) C);

impl<'de, C: Containers<'de>> Visitor<'de> for Inside<C> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.object(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        self.0.array(seq)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}
