//! Why a payload could not become its message, and where.

use crate::schema::FieldPath;

/// Why a payload could not become its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// It is not JSON.
    #[error("the body is not JSON: {0}")]
    Malformed(String),
    /// A value is of another type than its field.
    #[error("{problem}")]
    Mismatch {
        /// Where.
        path: FieldPath,
        /// What is there, and what would be right.
        problem: String,
    },
    /// A required field is missing.
    #[error("a required field is missing")]
    Missing {
        /// Which one.
        path: FieldPath,
    },
}

impl DecodeError {
    /// Where in the payload, as a JSON pointer; empty for the whole.
    #[must_use]
    pub fn pointer(&self) -> String {
        match self {
            Self::Malformed(_) => String::new(),
            Self::Mismatch { path, .. } | Self::Missing { path } => path.pointer(),
        }
    }
}
