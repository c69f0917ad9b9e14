//! The edge: a signed POST becomes a typed event.
//!
//! Constraints:
//! - Verified first, over the raw bytes; durable before it is answered; what is verified is never lost.
//! - Providers are data: rows of a table, in the words of which operators write schemes of their own.
//! - Nothing here reads a file or an environment variable: a [`Source`] comes ready from its configuration.
//!
//! | module | what it holds |
//! |---|---|
//! | `webhook` | [`router`]: the handler, in the order of its work |
//! | [`verify`] | the scheme engine, the table of providers, samples |
//! | `source` | a source, ready to receive |
//! | `live` | the sources as they are now |
//! | `identity` | what tells its webhooks apart |
//! | `typing` | which event a payload becomes |
//! | [`decode`] | from JSON to a typed message |
//! | [`quarantine`] | verified webhooks that could not become their type |
//! | `outcome` | what can become of a request: statuses and counters |
//! | `template` | texts made of parts of a request |
//! | `body` | the body, read within its limits |
//! | `words` | configured values that are a word or a table |

mod body;
pub mod decode;
mod identity;
mod live;
mod outcome;
pub mod quarantine;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod typing;
pub mod verify;
mod webhook;
mod words;

pub(crate) use identity::Identity;
pub use identity::{IdentityConfig, IdentityTable};
pub use live::LiveSources;
pub use outcome::{Counters, Outcome};
pub(crate) use source::BoundHandshake;
pub use source::{SamePath, Source, Sources};
pub use template::{Template, TemplateError};
pub(crate) use typing::Typing;
pub use typing::{About, TypeConfig, TypeTable};
pub use webhook::{Edge, router};
