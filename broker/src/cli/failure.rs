//! How a command fails, and with which exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; for `serve`: stopped by a signal, everything drained |
//! | 1 | failed: the text says why |
//! | 2 | the command line or the configuration is wrong |
//! | 130 | `serve` was ended by a second signal before it had drained |

use std::fmt;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong; every problem, one a line.
    Config(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Config(_) => 2,
        }
    }

    /// For `map_err`.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Config(text) | Self::Failed(text)) = self;
        write!(f, "waypost: {text}")
    }
}
