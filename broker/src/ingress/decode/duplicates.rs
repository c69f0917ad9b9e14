//! Whether a key occurs twice in an object of a document: what different readers of it would understand differently.

use std::{borrow::Cow, collections::HashSet, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use super::DecodeError;
use crate::schema::{FieldPath, path::Step};

/// The path of the first key that occurs twice in an object. Reads the whole document.
///
/// # Errors
/// [`DecodeError::Malformed`] if it is not JSON.
pub fn duplicate_key(json: &str) -> Result<Option<FieldPath>, DecodeError> {
    let mut search = Search::default();
    let mut document = serde_json::Deserializer::from_str(json);
    let result = ValueSeed(&mut search).deserialize(&mut document).and_then(|()| document.end());
    result.map_err(|error| DecodeError::Malformed(error.to_string()))?;
    Ok(search.found)
}

#[derive(Default)]
struct Search<'a> {
    path: Vec<Step<'a>>,
    found: Option<FieldPath>,
}

struct ValueSeed<'s, 'a>(&'s mut Search<'a>);

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(Key(key)) = map.next_key()? {
            self.0.path.push(Step::Name(key.clone()));
            if !keys.insert(key) && self.0.found.is_none() {
                let path = std::mem::take(&mut self.0.path);
                self.0.found = Some(path.into());
                // The path is complete; what follows is only checked to be JSON.
                self.0.path.push(Step::Index(0));
            }
            map.next_value_seed(ValueSeed(self.0))?;
            self.0.path.pop();
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.0.path.push(Step::Index(index));
            let element = list.next_element_seed(ValueSeed(self.0))?;
            self.0.path.pop();
            if element.is_none() {
                break;
            }
        }
        Ok(())
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

#[derive(serde::Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_first_duplicate_is_found_wherever_it_is() {
        let found = |json| duplicate_key(json).unwrap().map(|path| path.pointer());
        assert_eq!(found(r#"{"a":1,"b":{"a":[{"c":1},{"c":1,"c":2}]},"b":0}"#), Some("/b/a/1/c".to_owned()));
        assert_eq!(found(r#"{"a":1,"\u0061":{"x":[1,{"y":2}]}}"#), Some("/a".to_owned()));
        assert_eq!(found(r#"[{"a":1},{"a":1}]"#), None);
        assert!(matches!(duplicate_key(r#"{"a":1,"a":}"#), Err(DecodeError::Malformed(_))));
    }
}
