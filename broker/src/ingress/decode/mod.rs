//! From JSON to a typed message.
//!
//! Constraints:
//! - JSON goes straight to the wire by the message's plan: no document, no dynamic message in between.
//! - The proto3 JSON rules hold, with fewer pardons: an enum name that is not known is an error, since proto3 would quietly read it as
//!   UNSPECIFIED.
//! - An error says where in the payload it is.
//!
//! | module | what it holds |
//! |---|---|
//! | `json` | a document to the wire, field by field |
//! | `writer` | the wire side of that |
//! | `scalar` | a JSON value as a protobuf scalar |
//! | `error` | why a payload could not become its message |
//! | `containers` | reading a document for what is in its objects and arrays |
//! | `select` | the values at JSON pointers, in one pass |
//! | `duplicates` | whether a key occurs twice in an object of a document |
//! | `expression` | values that are computed |
//! | `origin` | where the fields of a message came from |
//! | `mapping` | an event type's declared mapping: by name, by pointer, constants |

mod containers;
mod duplicates;
mod error;
mod expression;
mod json;
mod mapping;
mod origin;
mod scalar;
mod select;
#[cfg(test)]
mod tests;
mod writer;

pub use duplicates::duplicate_key;
pub use error::DecodeError;
pub use mapping::{Decoded, FieldConfig, FieldRule, Mapping, MappingProblem};
pub use origin::Origin;
pub use select::{Pointer, PointerError, Selected, Selector, Slot};
