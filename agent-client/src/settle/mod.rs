//! From `ack()` to the broker's answer.
//!
//! Constraints: a token is held exactly as long as its [`Lease`] lives; per purpose one call is in flight, and takes
//! along everything that queued meanwhile; when idle, nothing lingers; what has no answer is sent again.

mod held;
mod lane;
mod lease;
mod outbox;
mod outcome;
mod settler;

pub(crate) use lease::{Claim, Lease, Shared};
pub use outcome::{AckWithError, Acked, SettleError, Settled};
pub(crate) use outcome::{interpret, refused_output};
pub(crate) use settler::Settler;
