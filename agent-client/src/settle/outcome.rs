//! What a settlement came to.
//!
//! Constraint: every answer of the contract has one meaning here; what a new broker may answer one day is an error, never
//! taken for success.

use tonic::Code;
use waypost_proto::v1::{SettleResult, SettlementStatus};

use crate::delivery::Delivery;
use crate::failure::Failure;

/// How a delivery stands after a settlement that went well. There is nothing more to do in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Settled {
    /// Done, and durable.
    Done,
    /// The event was settled before, by this settlement sent twice or by another session.
    AlreadySettled,
    /// The event had become a dead letter before. An ack is noted there.
    DeadLettered,
}

/// The answer to an ack with outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acked {
    /// How the delivery stands. The outputs were published by this ack only if it is [`Settled::Done`].
    pub settled: Settled,
    /// The ids of the outputs, in order; also when the same ack was done before. Empty if another session settled it.
    pub output_ids: Vec<String>,
}

/// Why a delivery was not settled.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettleError {
    /// The lease was lost before a nack, release or extension, or the subscription was sought elsewhere. Stop working on
    /// it: the event comes again where it is still wanted.
    #[error("the lease is gone: {0}")]
    Stale(String),
    /// The broker does not know the token, or its subscription is gone.
    #[error("the broker does not know this delivery: {0}")]
    UnknownToken(String),
    /// A value is out of range. The delivery was given back as failed.
    #[error("the settlement is invalid: {0}")]
    Invalid(String),
    /// The caller may not use this subscription.
    #[error("settling is not permitted: {0}")]
    PermissionDenied(String),
    /// The broker refused the whole call, and would again.
    #[error("settling failed: {0}")]
    Failed(#[source] Failure),
    /// The settle deadline passed without an answer. The outcome is unknown; if it was not recorded, the event comes again.
    #[error("the broker did not answer before the settle deadline; the outcome is unknown")]
    TimedOut,
    /// The client's tasks are gone, because the runtime is shutting down.
    #[error("the client is closed; the outcome is unknown")]
    Closed,
}

/// Why an ack with outputs settled nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AckWithError {
    /// An output was refused, so that nothing was settled and nothing published.
    #[error("output {index} was refused: {failure}", index = .output.map_or_else(|| "size".to_owned(), |i| i.to_string()))]
    OutputRefused {
        /// The delivery, still leased: settle it otherwise. Dropped, it is nacked.
        delivery: Box<Delivery>,
        /// Which output; `None` when it is all of them together.
        output: Option<usize>,
        /// Why.
        #[source]
        failure: Failure,
    },
    /// As for any settlement.
    #[error(transparent)]
    Settle(#[from] SettleError),
}

pub(crate) fn interpret(result: &SettleResult) -> Result<Settled, SettleError> {
    let message = || result.message.clone();
    match result.status() {
        SettlementStatus::Done => Ok(Settled::Done),
        SettlementStatus::AlreadySettled => Ok(Settled::AlreadySettled),
        SettlementStatus::DeadLettered => Ok(Settled::DeadLettered),
        SettlementStatus::Stale => Err(SettleError::Stale(message())),
        SettlementStatus::UnknownToken => Err(SettleError::UnknownToken(message())),
        SettlementStatus::Invalid => Err(SettleError::Invalid(message())),
        SettlementStatus::PermissionDenied => Err(SettleError::PermissionDenied(message())),
        SettlementStatus::OutputRefused | SettlementStatus::Unavailable | SettlementStatus::Unspecified => {
            let answer = format!("status {} where there should be none: {}", result.status, result.message);
            Err(SettleError::Failed(Failure::local(Code::Internal, answer)))
        }
    }
}

/// Which output was refused, and why.
pub(crate) fn refused_output(result: SettleResult) -> (Option<usize>, Failure) {
    let message = result.message;
    let refusal = result.refusal.unwrap_or_default();
    let index = refusal.field.strip_prefix("outputs[").and_then(|rest| rest.split(']').next()).and_then(|index| index.parse().ok());
    let mut failure = Failure::from(refusal);
    if failure.message.is_empty() {
        failure.message = message;
    }
    (index, failure)
}
