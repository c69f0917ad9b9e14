//! What a handler gives back: outputs, or an error that says what is to become of the event.
//!
//! Constraint: whoever says nothing gets the harmless verdict, a nack: the event is tried again, and is never lost.

use std::fmt;
use std::time::Duration;

use waypost_proto::v1::Event;

use crate::failure::with_causes;

/// What a handler may publish with its ack: nothing (`()`), an event, or several.
pub trait Outputs {
    /// The events, in order.
    fn into_events(self) -> Vec<Event>;
}

impl Outputs for () {
    fn into_events(self) -> Vec<Event> {
        Vec::new()
    }
}

impl Outputs for Event {
    fn into_events(self) -> Vec<Event> {
        vec![self]
    }
}

impl Outputs for Option<Event> {
    fn into_events(self) -> Vec<Event> {
        self.into_iter().collect()
    }
}

impl Outputs for Vec<Event> {
    fn into_events(self) -> Vec<Event> {
        self
    }
}

impl<const N: usize> Outputs for [Event; N] {
    fn into_events(self) -> Vec<Event> {
        self.into()
    }
}

/// Why a handler did not do its event, and what is to become of it.
///
/// Every [`std::error::Error`] turns into a [nack](Self::nack) with its text, so `?` does what is right for what may pass.
/// What no further attempt can mend is [rejected](Self::reject), at the place that knows it:
///
/// ```
/// # use agent_client::HandlerError;
/// fn weight(text: &str) -> Result<u32, HandlerError> {
///     text.parse().map_err(HandlerError::reject)
/// }
/// # assert_eq!(weight("x"), Err(HandlerError::Reject { reason: "invalid digit found in string".into() }));
/// ```
///
/// An error of your own that knows better than that implements `From<YourError> for HandlerError` instead of
/// [`std::error::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerError {
    /// It failed, and may succeed another time.
    Nack {
        /// When to try again: at most the subscription's `max_backoff`. `None`: after its backoff.
        delay: Option<Duration>,
        /// For the history that operators see; cut at 1,024 bytes.
        reason: String,
    },
    /// No attempt can help: a dead letter at once.
    Reject {
        /// For the operator; cut at 1,024 bytes.
        reason: String,
    },
}

impl HandlerError {
    /// The event comes again after the subscription's backoff, until its attempts are used up.
    #[must_use]
    pub fn nack(reason: impl fmt::Display) -> Self {
        Self::Nack { delay: None, reason: reason.to_string() }
    }

    /// The event comes again after exactly this delay, for example when a rate limit says so.
    #[must_use]
    pub fn nack_after(delay: Duration, reason: impl fmt::Display) -> Self {
        Self::Nack { delay: Some(delay), reason: reason.to_string() }
    }

    /// The event becomes a dead letter.
    #[must_use]
    pub fn reject(reason: impl fmt::Display) -> Self {
        let reason = reason.to_string();
        // The broker takes no rejection without one.
        Self::Reject { reason: if reason.is_empty() { "the handler gave no reason".to_owned() } else { reason } }
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> Self {
        Self::nack(with_causes(error.to_string(), &error))
    }
}

// No `std::error::Error`: it would turn into itself as a nack.
impl fmt::Display for HandlerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nack { delay: None, reason } => write!(f, "to be tried again: {reason}"),
            Self::Nack { delay: Some(delay), reason } => write!(f, "to be tried again after {delay:?}: {reason}"),
            Self::Reject { reason } => write!(f, "rejected: {reason}"),
        }
    }
}
