//! Publishing: one call with its answer, or a stream of them.
//!
//! Constraints: an event has an id before it is first sent, so that sending it again is harmless; an OK means durable.

mod batch;
mod outcome;
mod publisher;
mod stream;

pub(crate) use batch::batch;
pub use outcome::{PublishError, Published};
pub use publisher::{Publisher, PublisherBuilder, Receipt};
