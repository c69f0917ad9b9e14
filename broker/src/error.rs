//! What went wrong, as every front tells it: one table from a reason to its gRPC code and HTTP status.
//!
//! Constraints:
//! - A [`Fault`] is what a caller is told, and nothing else: no internal state, no secret.
//! - The code follows from the reason alone, as `error.proto` says, so that a failed call and a refused item of a batch agree.
//! - UNAVAILABLE, RESOURCE_EXHAUSTED and ABORTED are the codes that a client retries; what must not be retried has another one.

use std::time::Duration;

use http::StatusCode;
use prost::Message;
use tonic::{Code, Status};
use waypost_proto::{
    rpc,
    v1::{ErrorReason, Refusal},
};
use waypost_store::{AppendError, ClaimError, CommitError, ReadError};

use crate::limits;

/// Why something was refused: what a caller is told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Fault {
    /// The cause, for programs.
    pub reason: ErrorReason,
    /// The cause and what would be right, for people.
    pub message: String,
    /// The fields at fault.
    pub violations: Vec<Violation>,
    /// Set if a retry can help: how long to wait at least.
    pub retry: Option<Duration>,
    /// Whether the field is a position beyond the log, which has a gRPC code of its own.
    pub out_of_range: bool,
}

/// A field at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its path from the request, or from the item of a batch.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

impl Violation {
    /// A field at fault.
    #[must_use]
    pub fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }

    /// The same field as a part of another.
    #[must_use]
    pub fn within(self, outer: &str) -> Self {
        let field = if self.field.is_empty() { outer.to_owned() } else { format!("{outer}.{}", self.field) };
        Self { field, ..self }
    }
}

impl Fault {
    /// The cause, as programs are told it.
    #[must_use]
    pub fn reason_name(&self) -> &'static str {
        let name = self.reason.as_str_name();
        name.strip_prefix("ERROR_REASON_").unwrap_or(name)
    }

    /// A fault without fields.
    #[must_use]
    pub fn new(reason: ErrorReason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), violations: Vec::new(), retry: default_retry(reason), out_of_range: false }
    }

    /// A field that cannot have its value.
    #[must_use]
    pub fn invalid(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self::fields(ErrorReason::InvalidField, vec![Violation::new(field, description)])
    }

    /// A name or an id that must be given.
    ///
    /// # Errors
    /// When it is empty.
    pub fn require(field: &str, value: &str) -> Result<(), Self> {
        if value.is_empty() { Err(Self::invalid(field, "is required")) } else { Ok(()) }
    }

    /// An enum's number that this version does not know.
    #[must_use]
    pub fn unknown_enum(field: &str, number: i32, name: &str) -> Self {
        Self::invalid(field, format!("{number} is not a {name} of this version"))
    }

    /// A position beyond the end of the log: OUT_OF_RANGE.
    #[must_use]
    pub fn out_of_range(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { out_of_range: true, ..Self::invalid(field, description) }
    }

    /// Fields at fault.
    #[must_use]
    pub fn fields(reason: ErrorReason, violations: Vec<Violation>) -> Self {
        let parts: Vec<_> = violations.iter().map(|violation| format!("{}: {}", violation.field, violation.description)).collect();
        Self { violations, ..Self::new(reason, parts.join("; ")) }
    }

    /// There is no such thing.
    #[must_use]
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::new(ErrorReason::NotFound, what)
    }

    /// There is no such subscription.
    #[must_use]
    pub fn no_subscription(name: &str) -> Self {
        Self::new(
            ErrorReason::SubscriptionNotFound,
            format!("there is no subscription {name:?}; Subscribe or CreateSubscription makes one"),
        )
    }

    /// A subscription is stuck: the store did not give it what it needs.
    #[must_use]
    pub fn no_answer(name: &str) -> Self {
        Self::new(
            ErrorReason::OutcomeUnknown,
            format!("subscription {name:?} does not answer; try again, and see the broker's log for why"),
        )
    }

    /// The store did not confirm.
    #[must_use]
    pub fn outcome_unknown() -> Self {
        let message = "the store answered neither yes nor no; send the same again, with the same ids or tokens";
        Self::new(ErrorReason::OutcomeUnknown, message)
    }

    /// The gRPC code.
    #[must_use]
    pub fn code(&self) -> Code {
        if self.out_of_range { Code::OutOfRange } else { code(self.reason) }
    }

    /// The HTTP status.
    #[must_use]
    pub fn http(&self) -> StatusCode {
        http(self.code())
    }

    /// As the refusal of one item of a batch.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        Refusal {
            code: self.code() as i32,
            reason: self.reason.into(),
            field: self.violations.first().map_or_else(String::new, |violation| violation.field.clone()),
            message: self.message,
            retry_delay: self.retry.and_then(|delay| delay.try_into().ok()),
        }
    }

    /// The same, short enough for the headers of an answer.
    fn cut(mut self) -> Self {
        self.message = cut(self.message);
        self.violations.truncate(limits::MAX_VIOLATIONS);
        for violation in &mut self.violations {
            violation.field = cut(std::mem::take(&mut violation.field));
            violation.description = cut(std::mem::take(&mut violation.description));
        }
        self
    }

    /// The same, with its fields as parts of another.
    #[must_use]
    pub fn within(mut self, outer: &str) -> Self {
        self.violations = self.violations.into_iter().map(|violation| violation.within(outer)).collect();
        self
    }
}

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let code = fault.code();
        let fault = fault.cut();
        let mut details =
            rpc::Status { code: code as i32, message: fault.message.clone(), details: Vec::new() }.with(&rpc::ErrorInfo::new(fault.reason));
        if !fault.violations.is_empty() {
            let violation = |v: Violation| rpc::FieldViolation { field: v.field, description: v.description };
            details = details.with(&rpc::BadRequest { field_violations: fault.violations.into_iter().map(violation).collect() });
        }
        if let Some(delay) = fault.retry.and_then(|delay| delay.try_into().ok()) {
            details = details.with(&rpc::RetryInfo { retry_delay: Some(delay) });
        }
        Self::with_details(code, fault.message, details.encode_to_vec().into())
    }
}

fn cut(mut text: String) -> String {
    if text.len() > limits::MAX_ERROR_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(limits::MAX_ERROR_TEXT_BYTES));
        text.push('…');
    }
    text
}

/// The gRPC code of a reason, as `error.proto` has it.
#[must_use]
pub const fn code(reason: ErrorReason) -> Code {
    match reason {
        ErrorReason::InvalidField
        | ErrorReason::EventTooLarge
        | ErrorReason::DataInvalid
        | ErrorReason::TypeUnknown
        | ErrorReason::PageTokenInvalid => Code::InvalidArgument,
        ErrorReason::IdConflict | ErrorReason::SubscriptionExists => Code::AlreadyExists,
        ErrorReason::SourceReserved | ErrorReason::ScopeMissing => Code::PermissionDenied,
        ErrorReason::TooManyHops
        | ErrorReason::CauseUnknown
        | ErrorReason::SpecMismatch
        | ErrorReason::IncarnationMismatch
        | ErrorReason::SubscriptionFailed
        | ErrorReason::Unsupported => Code::FailedPrecondition,
        ErrorReason::StoreFull | ErrorReason::QuotaExceeded | ErrorReason::LimitReached => Code::ResourceExhausted,
        ErrorReason::Unauthenticated => Code::Unauthenticated,
        ErrorReason::SubscriptionNotFound | ErrorReason::NotFound => Code::NotFound,
        ErrorReason::SessionReplaced => Code::Aborted,
        ErrorReason::Draining | ErrorReason::OutcomeUnknown => Code::Unavailable,
        ErrorReason::DataCorrupted | ErrorReason::Unspecified => Code::Internal,
    }
}

/// The HTTP status that says the same as a gRPC code.
#[must_use]
pub const fn http(code: Code) -> StatusCode {
    match code {
        Code::InvalidArgument | Code::OutOfRange => StatusCode::BAD_REQUEST,
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::PermissionDenied => StatusCode::FORBIDDEN,
        Code::NotFound => StatusCode::NOT_FOUND,
        Code::AlreadyExists | Code::FailedPrecondition | Code::Aborted => StatusCode::CONFLICT,
        // A webhook's sender tries again on 503, and gives up on much else.
        Code::ResourceExhausted | Code::Unavailable | Code::DeadlineExceeded => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

const fn default_retry(reason: ErrorReason) -> Option<Duration> {
    match reason {
        ErrorReason::StoreFull | ErrorReason::OutcomeUnknown | ErrorReason::LimitReached => Some(limits::RETRY_DELAY),
        _ => None,
    }
}

impl From<AppendError> for Fault {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Full { .. } => Self::new(ErrorReason::StoreFull, error.to_string()),
            AppendError::TooLarge { .. } => Self::new(ErrorReason::EventTooLarge, error.to_string()),
            AppendError::Unknown(_) => Self::outcome_unknown(),
            AppendError::Unavailable(_) => unavailable(&error),
        }
    }
}

impl From<CommitError> for Fault {
    fn from(error: CommitError) -> Self {
        match error {
            CommitError::Append(error) => error.into(),
            CommitError::Conflict { .. } => Self::new(ErrorReason::IdConflict, error.to_string()),
            CommitError::Fenced { .. } | CommitError::Unclaimed { .. } => unavailable(&error),
        }
    }
}

impl From<ClaimError> for Fault {
    fn from(error: ClaimError) -> Self {
        unavailable(&error)
    }
}

impl From<ReadError> for Fault {
    fn from(error: ReadError) -> Self {
        unavailable(&error)
    }
}

fn unavailable(error: &dyn std::error::Error) -> Fault {
    Fault::new(ErrorReason::OutcomeUnknown, format!("{error}; try again"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_status_carries_the_reason_the_fields_and_the_wait() {
        let fault = Fault { retry: Some(Duration::from_secs(2)), ..Fault::invalid("items[3].event.source", "is required") };
        let status = Status::from(fault);
        assert_eq!(status.code(), Code::InvalidArgument);
        let details = rpc::Status::decode(status.details()).unwrap();
        assert_eq!(details.detail::<rpc::ErrorInfo>().unwrap().reason(), Some(ErrorReason::InvalidField));
        assert_eq!(details.detail::<rpc::BadRequest>().unwrap().field_violations[0].field, "items[3].event.source");
        assert_eq!(details.detail::<rpc::RetryInfo>().unwrap().retry_delay.unwrap().seconds, 2);
    }

    #[test]
    fn a_full_store_is_503_for_webhooks_and_says_when_to_come_back() {
        let fault = Fault::from(AppendError::Full { used: 1, cap: 1, reserve: 0 });
        assert_eq!((fault.code(), fault.http()), (Code::ResourceExhausted, StatusCode::SERVICE_UNAVAILABLE));
        assert!(fault.retry.is_some());
    }
}
