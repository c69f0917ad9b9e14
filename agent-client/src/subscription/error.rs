//! Why a subscription ends by itself.
//!
//! Constraint: only what reconnecting cannot mend is an error.

use waypost_proto::v1::ErrorReason;

use crate::failure::{Failure, FieldViolation};

/// Why the broker will not go on with a subscription. Broken connections are not among the reasons.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SubscribeError {
    /// A newer stream of the same session has taken over.
    #[error("another stream of the same session has taken over; each agent process needs a session of its own")]
    Replaced,
    /// The subscription exists with other rules.
    #[error("subscription {subscription:?} exists with other rules: {}", list(.differences))]
    SpecMismatch {
        /// The subscription.
        subscription: String,
        /// Each field that differs, with both values.
        differences: Vec<FieldViolation>,
    },
    /// There is no such subscription, or it was deleted meanwhile.
    #[error("there is no subscription {subscription:?}: {failure}")]
    NotFound {
        /// The subscription.
        subscription: String,
        /// What the broker said.
        #[source]
        failure: Failure,
    },
    /// The broker refuses for another reason, and would again.
    #[error("the broker refuses subscription {subscription:?}: {failure}")]
    Refused {
        /// The subscription.
        subscription: String,
        /// What the broker said.
        #[source]
        failure: Failure,
    },
}

impl SubscribeError {
    /// The error that a failure amounts to, if it is permanent.
    pub(crate) fn of(subscription: &str, failure: &Failure) -> Option<Self> {
        if failure.is_transient() {
            return None;
        }
        let subscription = subscription.to_owned();
        let failure = failure.clone();
        Some(match failure.reason {
            Some(ErrorReason::SessionReplaced) => Self::Replaced,
            Some(ErrorReason::SpecMismatch) => Self::SpecMismatch { subscription, differences: failure.violations },
            Some(ErrorReason::SubscriptionNotFound) => Self::NotFound { subscription, failure },
            _ => Self::Refused { subscription, failure },
        })
    }
}

fn list(differences: &[FieldViolation]) -> String {
    let each: Vec<_> = differences.iter().map(|difference| format!("{}: {}", difference.field, difference.description)).collect();
    each.join("; ")
}
