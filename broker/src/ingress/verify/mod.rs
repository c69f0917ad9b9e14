//! Verification of webhooks: one engine, providers as data.
//!
//! Constraints:
//! - What is verified are the bytes as they were received, before anything parses them.
//! - Every active secret is tried with every candidate signature, without an early exit; comparisons take constant time.
//! - Why a request was refused is known inside, and never told outside.
//!
//! | module | what it holds |
//! |---|---|
//! | `scheme` | [`Scheme`]: how a provider signs, identifies and names its webhooks; the same words in the table and in a configuration |
//! | `providers` | the table: one row and one test vector each |
//! | `grammar` | the signature header taken apart |
//! | `mac` | algorithms and keys |
//! | `engine` | [`Verifier`]: a scheme with its secrets |
//! | `sign` | the same, the other way round: samples |

mod engine;
mod grammar;
mod mac;
mod providers;
mod scheme;
mod sign;
#[cfg(test)]
mod tests;

pub use engine::{Rejection, Verifier};
pub use providers::provider;
pub use scheme::{
    Algorithm, Encoding, Facts, Form, Handshake, KeyEncoding, ListGrammar, Scheme, SchemeConfig, SignatureRule, TimeUnit, TimestampRule,
};
pub use sign::SampleProblem;
