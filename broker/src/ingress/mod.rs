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
//! | `admission` | who may knock at a source, and how often |
//! | `understand` | a verified request: a greeting, an event, or several |
//! | `rehearsal` | what a payload would become, for people |
//! | `greeting` | requests that only want to see that somebody is there |
//! | `pairing` | learning the secret that a provider gives, once |
//! | `answer` | what a request is answered |
//! | [`verify`] | the scheme engine, the table of providers, samples |
//! | `keys` | public keys that providers publish, kept while they hold |
//! | `fetch` | asking providers for them |
//! | `source` | a source, ready to receive |
//! | `live` | the sources as they are now |
//! | `identity` | what tells its webhooks apart |
//! | `shapes` | what payloads look like, where nothing signs their type |
//! | `typing` | which event a payload becomes |
//! | `entries` | which entry of a table a provider's event type finds |
//! | [`decode`] | from JSON to a typed message |
//! | [`quarantine`] | verified webhooks that could not become their type |
//! | `replays` | bodies that come again under another delivery id |
//! | `watch` | sources that fall quiet, bursts of what cannot be verified |
//! | `poll` | asking the provider for what never came |
//! | `mend` | the same once they can: retried, or thrown away |
//! | `outcome` | what can become of a request: statuses and counters |
//! | `template` | texts made of parts of a request |
//! | `coding` | compressed bodies |
//! | `cloudevents` | CloudEvents in their three modes |
//! | `body` | the body, read within its limits |
//! | `check` | the way of a request, for somebody who wants to know where it ends |
//! | `rewrite` | what is done to webhooks on their way |
//! | `words` | configured values that are a word or a table |

mod admission;
mod answer;
mod body;
mod check;
mod cloudevents;
mod coding;
pub mod decode;
mod entries;
mod fetch;
mod greeting;
mod identity;
mod keys;
mod live;
mod mend;
mod outcome;
mod pairing;
pub(crate) mod poll;
pub mod quarantine;
mod rehearsal;
mod replays;
mod rewrite;
mod shapes;
mod source;
mod template;
#[cfg(test)]
mod tests;
mod typing;
mod understand;
pub mod verify;
mod watch;
mod webhook;
mod words;

pub(crate) use admission::Admission;
pub use admission::Peer;
use answer::Answer;
pub use check::{Checked, Why};
pub(crate) use coding::unpacked;
pub use fetch::{FetchError, Fetched, Fetcher};
pub(crate) use greeting::Greetings;
pub(crate) use identity::Identity;
pub use identity::{IdentityConfig, IdentityTable};
pub use keys::KeyRing;
pub use live::LiveSources;
pub use mend::{Mended, Mender, Mending};
pub use outcome::{Counters, Outcome};
pub(crate) use pairing::Pairing;
pub(crate) use poll::PollPlan;
pub use poll::{PollCounters, PollRule, Polled};
pub use rehearsal::{Rehearsal, Rehearsed};
pub use replays::{OnReplay, Replays};
pub(crate) use shapes::Shapes;
pub use shapes::{Members, ShapeTable};
pub use source::{SamePath, Source, Sources};
pub(crate) use template::Part;
pub use template::{Template, TemplateError};
pub(crate) use typing::Typing;
pub use typing::{About, TypeConfig, TypeTable};
pub use watch::SilentAfter;
pub(crate) use watch::watch;
pub use webhook::{Edge, router};
pub(crate) use words::{Word, word_or_table};
