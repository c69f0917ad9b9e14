//! Why a payload could not become its message, and where.

use super::Pointer;
use crate::schema::{FieldPath, PathStep};

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
    /// That there is nothing at a pointer.
    pub(crate) fn absent(pointer: &Pointer) -> Self {
        Self::Missing { path: path_of(pointer) }
    }

    /// Where in the payload, as a JSON pointer; empty for the whole.
    #[must_use]
    pub fn pointer(&self) -> String {
        match self {
            Self::Malformed(_) => String::new(),
            Self::Mismatch { path, .. } | Self::Missing { path } => path.pointer(),
        }
    }
}

/// Where a pointer leads.
pub(super) fn path_of(pointer: &Pointer) -> FieldPath {
    let steps = pointer.parts().iter().map(|part| PathStep::Name(part.clone())).collect();
    FieldPath(steps)
}
