//! Subscribing: a stream of deliveries that outlives connections.
//!
//! Constraints: one task owns a session, from the first dial to its end; it reconnects for ever, and ends only when the
//! agent leaves or the broker says that trying again is useless.

mod builder;
mod error;
mod session;
mod state;
mod stream;

pub use builder::SubscribeBuilder;
pub use error::SubscribeError;
pub use state::SubscriptionState;
pub use stream::Subscription;
