//! The google.rpc messages that error details are made of.
//!
//! Constraints: compatible on the wire with googleapis `google/rpc/status.proto` and `error_details.proto`, so that any
//! gRPC client can read them; only what Waypost sends.

use std::collections::BTreeMap;

use prost::{Message, Name};
use prost_types::{Any, Duration};

use crate::TYPE_URL_PREFIX;
use crate::v1::ErrorReason;

/// The domain of every [`ErrorInfo`] that Waypost sends.
pub const ERROR_DOMAIN: &str = "waypost";

/// `google.rpc.Status`: what the `grpc-status-details-bin` trailer holds.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// A `google.rpc.Code`.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// For people.
    #[prost(string, tag = "2")]
    pub message: String,
    /// For programs: the messages below.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<Any>,
}

/// `google.rpc.ErrorInfo`: the cause, for programs.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct ErrorInfo {
    /// The name of an [`ErrorReason`] without its prefix.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// [`ERROR_DOMAIN`].
    #[prost(string, tag = "2")]
    pub domain: String,
    /// More about it.
    #[prost(btree_map = "string, string", tag = "3")]
    pub metadata: BTreeMap<String, String>,
}

/// `google.rpc.BadRequest`: the fields at fault.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct BadRequest {
    /// One for each field.
    #[prost(message, repeated, tag = "1")]
    pub field_violations: Vec<FieldViolation>,
}

/// `google.rpc.BadRequest.FieldViolation`: a field at fault.
#[derive(Clone, PartialEq, Eq, Hash, Message)]
pub struct FieldViolation {
    /// The path from the request, for example `items[3].event.source`.
    #[prost(string, tag = "1")]
    pub field: String,
    /// What is wrong and what would be right.
    #[prost(string, tag = "2")]
    pub description: String,
}

/// `google.rpc.RetryInfo`: a retry can help.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
pub struct RetryInfo {
    /// How long to wait at least.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<Duration>,
}

impl Name for ErrorInfo {
    const NAME: &'static str = "ErrorInfo";
    const PACKAGE: &'static str = "google.rpc";
}

impl Name for BadRequest {
    const NAME: &'static str = "BadRequest";
    const PACKAGE: &'static str = "google.rpc";
}

impl Name for RetryInfo {
    const NAME: &'static str = "RetryInfo";
    const PACKAGE: &'static str = "google.rpc";
}

impl Status {
    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, detail: &impl Name) -> Self {
        self.details.push(pack(detail));
        self
    }

    /// The first detail of this type, if there is one that can be read.
    #[must_use]
    pub fn detail<T: Name + Default>(&self) -> Option<T> {
        let found = self.details.iter().find(|any| crate::full_name(&any.type_url) == T::full_name())?;
        T::decode(found.value.as_slice()).ok()
    }
}

impl ErrorInfo {
    /// An error of ours.
    #[must_use]
    pub fn new(reason: ErrorReason) -> Self {
        let name = reason.as_str_name();
        Self { reason: name.strip_prefix(PREFIX).unwrap_or(name).to_owned(), domain: ERROR_DOMAIN.to_owned(), metadata: BTreeMap::new() }
    }

    /// The reason, if it is one of ours that this version knows.
    #[must_use]
    pub fn reason(&self) -> Option<ErrorReason> {
        let ours = self.domain == ERROR_DOMAIN;
        ours.then(|| ErrorReason::from_str_name(&format!("{PREFIX}{}", self.reason))).flatten()
    }
}

const PREFIX: &str = "ERROR_REASON_";

/// The message in an `Any`, under its usual type URL.
pub(crate) fn pack<T: Name>(message: &T) -> Any {
    Any { type_url: format!("{TYPE_URL_PREFIX}/{}", T::full_name()), value: message.encode_to_vec() }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn details_survive_the_trip() {
        let retry = RetryInfo { retry_delay: Some(Duration { seconds: 2, nanos: 0 }) };
        let info = ErrorInfo::new(ErrorReason::StoreFull);
        let sent = Status { code: 8, message: "full".into(), details: vec![] }.with(&info).with(&retry);
        let got = Status::decode(sent.encode_to_vec().as_slice()).unwrap();
        assert_eq!(got.detail::<ErrorInfo>().unwrap().reason(), Some(ErrorReason::StoreFull));
        assert_eq!(got.detail::<ErrorInfo>().unwrap().reason, "STORE_FULL");
        assert_eq!(got.detail::<RetryInfo>(), Some(retry));
        assert_eq!(got.detail::<BadRequest>(), None);
        assert_eq!(got.details[0].type_url, "type.googleapis.com/google.rpc.ErrorInfo");
    }

    #[test]
    fn reasons_of_others_are_not_taken_for_ours() {
        let theirs = ErrorInfo { domain: "example.com".into(), ..ErrorInfo::new(ErrorReason::StoreFull) };
        assert_eq!(theirs.reason(), None);
        let newer = ErrorInfo { reason: "FROM_THE_FUTURE".into(), ..ErrorInfo::new(ErrorReason::StoreFull) };
        assert_eq!(newer.reason(), None);
    }
}
