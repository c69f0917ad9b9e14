//! What a failed call or a refused item says: google.rpc details, decoded once.
//!
//! Constraints: retry advice follows the table in `error.proto`; what the transport made up is never taken for a verdict
//! of the broker; nothing here panics on details that cannot be read.

use std::fmt;
use std::time::Duration;

use prost::Message;
use tonic::{Code, Status};
use waypost_proto::rpc;
use waypost_proto::v1::{ErrorReason, Refusal};

/// A field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldViolation {
    /// The path of the field from the request, for example `spec.ack_deadline`.
    pub field: String,
    /// What is wrong and what would be right.
    pub description: String,
}

/// Why the broker, or the way to it, refused a call or one item of a batch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// The gRPC code.
    pub code: Code,
    /// The cause, for programs. `None` when the failure is not the broker's, or newer than this client.
    pub reason: Option<ErrorReason>,
    /// The cause and what would be right, for people. Not stable.
    pub message: String,
    /// The fields at fault, where there are any.
    pub violations: Vec<FieldViolation>,
    /// The broker's retry advice: wait at least this long.
    pub retry_after: Option<Duration>,
    origin: Origin,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It carries Waypost's details.
    Broker,
    /// The peer sent it without them: a proxy, or a server that is no Waypost.
    Peer,
    /// The transport made it up on this side.
    Transport,
}

impl Failure {
    /// Whether the same again can succeed. When it does not say so, the same will fail the same way.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        if self.reason == Some(ErrorReason::SessionReplaced) {
            return false;
        }
        match self.code {
            Code::Unavailable | Code::ResourceExhausted | Code::Aborted | Code::DeadlineExceeded | Code::Cancelled => true,
            // The broker means it; a proxy that lost its upstream or a cut HTTP/2 stream does not.
            Code::Internal | Code::Unknown => self.origin != Origin::Broker,
            _ => self.origin == Origin::Transport || self.retry_after.is_some(),
        }
    }

    /// A failure that this side found before or instead of an answer.
    pub(crate) fn local(code: Code, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { code, reason: None, message, violations: Vec::new(), retry_after: None, origin: Origin::Transport }
    }

    pub(crate) fn timed_out(what: &str, after: Duration) -> Self {
        Self::local(Code::DeadlineExceeded, format!("{what} was not answered within {after:?}"))
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        let details = rpc::Status::decode(status.details()).unwrap_or_default();
        let info = details.detail::<rpc::ErrorInfo>().filter(|info| info.domain == rpc::ERROR_DOMAIN);
        let bad = details.detail::<rpc::BadRequest>().unwrap_or_default();
        let violations = bad.field_violations.into_iter();
        let retry = details.detail::<rpc::RetryInfo>().and_then(|retry| retry.retry_delay);
        let origin = match (&info, std::error::Error::source(&status)) {
            (Some(_), _) => Origin::Broker,
            (None, Some(_)) => Origin::Transport,
            (None, None) => Origin::Peer,
        };
        Self {
            code: status.code(),
            reason: info.as_ref().and_then(rpc::ErrorInfo::reason),
            message: with_causes(status.message().to_owned(), &status),
            violations: violations.map(|v| FieldViolation { field: v.field, description: v.description }).collect(),
            retry_after: retry.and_then(|delay| Duration::try_from(delay).ok()),
            origin,
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let reason = Some(refusal.reason()).filter(|reason| *reason != ErrorReason::Unspecified);
        let violations = match refusal.field.is_empty() {
            true => Vec::new(),
            false => vec![FieldViolation { field: refusal.field, description: refusal.message.clone() }],
        };
        Self {
            code: Code::from_i32(refusal.code),
            reason,
            message: refusal.message,
            violations,
            retry_after: refusal.retry_delay.and_then(|delay| Duration::try_from(delay).ok()),
            origin: Origin::Broker,
        }
    }
}

/// The text with the causes behind it, as far as it does not tell them: "transport error" alone helps nobody.
pub(crate) fn with_causes(mut text: String, error: &dyn std::error::Error) -> String {
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.message.is_empty() {
            true => f.write_str(self.code.description())?,
            false => f.write_str(&self.message)?,
        }
        if let Some(reason) = self.reason {
            write!(f, " [{}]", rpc::ErrorInfo::new(reason).reason)?;
        }
        for violation in self.violations.iter().filter(|violation| violation.description != self.message) {
            write!(f, "; {}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: Code, details: rpc::Status) -> Status {
        Status::with_details(code, "said", details.encode_to_vec().into())
    }

    #[test]
    fn details_are_decoded() {
        let violation = rpc::FieldViolation { field: "spec.ack_deadline".into(), description: "30 s here, 10 s there".into() };
        let details = rpc::Status::default()
            .with(&rpc::ErrorInfo::new(ErrorReason::SpecMismatch))
            .with(&rpc::BadRequest { field_violations: vec![violation] })
            .with(&rpc::RetryInfo { retry_delay: Some(prost_types::Duration { seconds: 2, nanos: 0 }) });
        let failure = Failure::from(status(Code::FailedPrecondition, details));
        assert_eq!(failure.reason, Some(ErrorReason::SpecMismatch));
        assert_eq!(failure.retry_after, Some(Duration::from_secs(2)));
        assert_eq!(failure.to_string(), "said [SPEC_MISMATCH]; spec.ack_deadline: 30 s here, 10 s there");
    }

    #[test]
    fn retry_advice_follows_the_contract() {
        let of = |code, reason| Failure::from(status(code, rpc::Status::default().with(&rpc::ErrorInfo::new(reason))));
        assert!(of(Code::Unavailable, ErrorReason::Draining).is_transient());
        assert!(of(Code::ResourceExhausted, ErrorReason::StoreFull).is_transient());
        assert!(!of(Code::Aborted, ErrorReason::SessionReplaced).is_transient());
        assert!(!of(Code::FailedPrecondition, ErrorReason::SpecMismatch).is_transient());
        assert!(!of(Code::Internal, ErrorReason::DataCorrupted).is_transient());
    }

    #[test]
    fn a_broken_connection_is_no_verdict() {
        let cut = Status::from_error(Box::new(std::io::Error::from(std::io::ErrorKind::PermissionDenied)));
        assert!(Failure::from(cut).is_transient());
        assert!(Failure::from(Status::unknown("upstream gone")).is_transient());
        assert!(!Failure::from(Status::permission_denied("no")).is_transient());
    }

    #[test]
    fn details_that_cannot_be_read_are_left_out() {
        let failure = Failure::from(Status::with_details(Code::Internal, "said", vec![0xff, 1].into()));
        assert_eq!((failure.reason, failure.to_string().as_str()), (None, "said"));
    }
}
