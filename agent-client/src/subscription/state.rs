//! Where a subscription stands, for whoever watches.
//!
//! Constraint: a closed subscription never opens again.

use crate::failure::Failure;
use crate::subscription::SubscribeError;

/// Where a subscription stands.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscriptionState {
    /// There is no stream; one is being opened, again and again.
    Connecting {
        /// How often it failed in a row.
        failures: u32,
        /// What went wrong last; `None` at first, and after a stream that the broker ended in order.
        last: Option<Failure>,
    },
    /// Deliveries come.
    Connected {
        /// An operator paused the subscription: nothing comes until it is resumed.
        paused: bool,
    },
    /// The broker is about to end the stream, and another will be opened.
    Draining,
    /// This side takes nothing more, and waits for the answers to what it settles.
    Leaving,
    /// It is over: left by this side (`None`), or ended by the broker.
    Closed(Option<SubscribeError>),
}

impl SubscriptionState {
    /// Whether it is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// Whether deliveries come.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self, Self::Connected { .. })
    }
}
