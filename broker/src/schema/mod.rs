//! The message types that the broker knows, and what it checks against them.
//!
//! Constraints:
//! - A type is compiled to a plan once, at start; nothing on a request's path walks a descriptor.
//! - Decoding JSON and checking published bytes go by the same plan, so that "required" means one thing.
//! - Types that proto3 JSON treats in a way of its own are left to prost-reflect, except `Timestamp`, which is everywhere.
//!
//! | module | what it holds |
//! |---|---|
//! | `registry` | [`Schemas`]: built-in types and the operator's, compiled with protox |
//! | `plan` | a message type, compiled |
//! | `check` | encoded bytes against a plan: wire types, UTF-8, required fields |
//! | `format` | how providers write times, durations and ids where proto3 JSON would have them otherwise |
//! | `path` | where in a message something is wrong |

pub(crate) mod check;
pub(crate) mod format;
pub(crate) mod path;
pub(crate) mod plan;
mod registry;
#[cfg(test)]
mod tests;

pub use check::{InvalidData, Registration};
pub use format::{Format, Unit};
pub use path::{FieldPath, PathStep};
pub use registry::{Schema, SchemaError, SchemaOrigin, Schemas};
