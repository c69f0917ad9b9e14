//! The agent service for the server's hot path.
//!
//! Constraints: byte for byte the same protocol as [`crate::v1`]; a stored event is never decoded to be handed on; the
//! data of a published event is never copied to be looked at.
//!
//! The types that carry events are replaced: in [`Delivery`] and [`StoredEvent`] an event is an [`EncodedEvent`], in
//! requests an [`Event`] has an [`Any`] whose value shares the request's buffer. All others are those of [`crate::v1`],
//! re-exported.

pub use crate::encoded::{Any, EncodedEvent};
pub use crate::generated::wire::*;
