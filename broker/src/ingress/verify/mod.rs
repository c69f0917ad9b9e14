//! Verification of webhooks: one engine, providers as data.
//!
//! Constraints:
//! - What is verified are the bytes as they were received, before anything parses them; only schemes whose signature stands in the body,
//!   or covers its fields, look into it earlier.
//! - Every active secret is tried with every candidate signature, without an early exit; comparisons take constant time.
//! - Why a request was refused is known inside, and never told outside.
//!
//! | module | what it holds |
//! |---|---|
//! | `scheme` | [`Scheme`]: how a provider signs, identifies and names its webhooks; the same words in the table and in a configuration |
//! | `signature` | how a signature and its time are written and made |
//! | `facts` | what is known of a provider beside that, for people |
//! | `rules` | what a scheme says beside its signature: tokens, handshakes, batches, answers |
//! | `soundness` | what cannot work in a scheme |
//! | `providers` | the table: one row and one test vector each |
//! | `grammar` | the signature taken apart |
//! | `view` | what stands for each part of a template |
//! | `mac` | algorithms and keys |
//! | `public` | public keys |
//! | `published` | where a provider publishes them, and how its answers are read |
//! | `jwt` | signatures that are a token |
//! | `engine` | [`Verifier`]: a scheme with its secrets |
//! | `diagnose` | why a request is not verified: what would have to be otherwise |
//! | `sign` | the same, the other way round: samples |

mod diagnose;
mod engine;
mod facts;
mod grammar;
mod jwt;
mod mac;
mod providers;
mod public;
mod published;
mod rules;
mod scheme;
mod sign;
mod signature;
mod soundness;
#[cfg(test)]
pub(crate) mod tests;
mod view;

pub use diagnose::{Around, Fault, diagnose};
pub use engine::{Expected, Rejection, Verifier};
pub use facts::{Checked, Facts};
pub(crate) use mac::equal;
pub use providers::provider;
pub use public::KeySet;
pub(crate) use published::KeysAt;
pub use published::{KeyFormat, KeysRule};
pub use rules::{BatchRule, FetchRule, HandshakeRule, JsonTemplate, JwtAlgorithm, JwtRule, Reply, UrlPattern};
pub use scheme::{Covers, Form, Scheme, SchemeConfig};
pub use sign::{Sample, SampleProblem};
pub use signature::{Algorithm, Encoding, KeyEncoding, ListGrammar, SignatureRule, TimeUnit, TimestampRule};
pub use view::Incoming;
pub(crate) use view::View;
