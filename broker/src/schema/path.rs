//! Where in a message or a document something is.

use std::{borrow::Cow, fmt::Write as _};

/// A step that is being taken: becomes a [`PathStep`] when something is wrong there, and costs nothing otherwise.
#[derive(Debug)]
pub(crate) enum Step<'a> {
    Name(Cow<'a, str>),
    Index(usize),
}

impl From<Vec<Step<'_>>> for FieldPath {
    fn from(steps: Vec<Step<'_>>) -> Self {
        let owned = |step| match step {
            Step::Name(name) => PathStep::Name(Cow::into_owned(name)),
            Step::Index(index) => PathStep::Index(index),
        };
        Self(steps.into_iter().map(owned).collect())
    }
}

/// One step of a [`FieldPath`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathStep {
    /// A field of a message, or a key of a map.
    Name(String),
    /// An element of a list.
    Index(usize),
}

/// A path from a message to one of its parts; empty for the whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldPath(pub Vec<PathStep>);

impl FieldPath {
    /// As a JSON pointer (RFC 6901): `/items/0/sku`.
    #[must_use]
    pub fn pointer(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, step| {
            // Writing to a string cannot fail.
            let _ = match step {
                PathStep::Name(name) => write!(text, "/{}", name.replace('~', "~0").replace('/', "~1")),
                PathStep::Index(index) => write!(text, "/{index}"),
            };
            text
        })
    }

    /// As a path of fields: `items[0].sku`.
    #[must_use]
    pub fn dotted(&self) -> String {
        self.0.iter().fold(String::new(), |mut text, step| {
            let _ = match step {
                PathStep::Name(name) if text.is_empty() => write!(text, "{name}"),
                PathStep::Name(name) => write!(text, ".{name}"),
                PathStep::Index(index) => write!(text, "[{index}]"),
            };
            text
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings() {
        let path = FieldPath(vec![PathStep::Name("items".into()), PathStep::Index(0), PathStep::Name("a/b~".into())]);
        assert_eq!(path.pointer(), "/items/0/a~1b~0");
        assert_eq!(path.dotted(), "items[0].a/b~");
        assert_eq!(FieldPath::default().pointer(), "");
    }
}
