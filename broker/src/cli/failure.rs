//! How a command fails, and with which exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done; for `serve`: stopped by a signal, everything drained |
//! | 1 | failed: the text says why |
//! | 2 | the command line or the configuration is wrong, or an answer was needed and nobody could be asked |
//! | 3 | there is no such thing |
//! | 4 | the broker cannot be reached, or asks to try again later |
//! | 5 | the broker does not know the caller, or does not let it |
//! | 6 | damage was found in a store |
//! | 130 | `serve` was ended by a second signal before it had drained |

use std::fmt;

use tonic::{Code, Status};

/// The codes for the end of a help text.
pub const CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage or configuration, 3 no such thing, 4 broker not reachable or busy, 5 not allowed,
6 damage found, 130 ended by a second signal.";

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// The configuration is wrong; every problem, one a line.
    Config(String),
    /// The command line does not say enough.
    Usage(String),
    /// There is no such thing.
    NotFound(String),
    /// The broker cannot be reached, or asks to try again.
    Unavailable(String),
    /// The broker does not let the caller.
    Denied(String),
    /// A store is damaged; where was told already.
    Damage(String),
    /// Anything else.
    Failed(String),
}

impl Failure {
    /// The exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Config(_) | Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::Unavailable(_) => 4,
            Self::Denied(_) => 5,
            Self::Damage(_) => 6,
        }
    }

    /// For `map_err`.
    pub fn failed(error: impl fmt::Display) -> Self {
        Self::Failed(error.to_string())
    }

    /// What kind of failure a broker's refusal is.
    #[must_use]
    pub fn refused(status: &Status) -> Self {
        let text = format!("the broker refuses: {} ({:?})", status.message(), status.code());
        Self::of(status.code(), text)
    }

    /// The kind of failure that a code stands for.
    #[must_use]
    pub fn of(code: Code, text: String) -> Self {
        match code {
            Code::NotFound => Self::NotFound(text),
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded => Self::Unavailable(text),
            Code::Unauthenticated | Code::PermissionDenied => Self::Denied(text),
            _ => Self::Failed(text),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Config(text)
        | Self::Usage(text)
        | Self::NotFound(text)
        | Self::Unavailable(text)
        | Self::Denied(text)
        | Self::Damage(text)
        | Self::Failed(text)) = self;
        write!(f, "waypost: {}", super::table::clean_lines(text))
    }
}
