//! Whether a key occurs twice in an object of a document: what different readers of it would understand differently.

use std::{borrow::Cow, collections::HashSet};

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess};

use super::{
    DecodeError,
    containers::{Containers, Inside, document},
};
use crate::schema::{FieldPath, path::Step};

/// The path of the first key that occurs twice in an object. Reads the whole document.
///
/// # Errors
/// [`DecodeError::Malformed`] if it is not JSON.
pub fn duplicate_key(json: &str) -> Result<Option<FieldPath>, DecodeError> {
    let mut search = Search::default();
    document(json, &mut search).map_err(|error| DecodeError::Malformed(error.to_string()))?;
    Ok(search.found)
}

#[derive(Default)]
struct Search<'a> {
    path: Vec<Step<'a>>,
    found: Option<FieldPath>,
}

impl<'de> DeserializeSeed<'de> for &mut Search<'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(Inside(self))
    }
}

impl<'de> Containers<'de> for &mut Search<'de> {
    fn object<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(Key(key)) = object.next_key()? {
            self.path.push(Step::Name(key.clone()));
            if !keys.insert(key) && self.found.is_none() {
                let path = std::mem::take(&mut self.path);
                self.found = Some(path.into());
                // The path is complete; what follows is only checked to be JSON.
                self.path.push(Step::Index(0));
            }
            object.next_value_seed(&mut *self)?;
            self.path.pop();
        }
        Ok(())
    }

    fn array<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        for index in 0.. {
            self.path.push(Step::Index(index));
            let element = array.next_element_seed(&mut *self)?;
            self.path.pop();
            if element.is_none() {
                break;
            }
        }
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
