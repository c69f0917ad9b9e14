//! What must not be kept of a request, taken out of it.
//!
//! Constraints:
//! - What is not masked is kept byte for byte: what was kept whole can be verified again.
//! - No text makes it fail or panic: what is no JSON is searched as text, and broken JSON as far as it can be told.
//! - When in doubt it masks: a value too many in the journal is a leak, one too few is a question to the provider.
//!
//! | module | what it holds |
//! |---|---|
//! | `rules` | [`Rules`]: names, paths, and the secrets of sources |
//! | `names` | which names stand for secrets |
//! | `detect` | secrets and card numbers, told by how they look |
//! | `json` | values of JSON, without reading it into memory |
//! | `body` | bodies, headers and addresses |

mod body;
mod detect;
mod json;
mod names;
mod rules;
#[cfg(test)]
mod tests;

pub use body::{Masked, address, body, headers, plain};
pub use rules::{PathPattern, Rules};

/// What stands for what was taken out.
pub const MASKED: &str = "(masked)";
