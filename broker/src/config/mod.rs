//! The configuration: one section per domain, each in its own file.
//!
//! Constraints: `waypost.default.toml` is parsed as the defaults, so the documentation is what is executed; unknown keys are refused; a value
//! that is wrong is reported with its key, what it is and what would be right; secrets are references, never values.
//!
//! A section is a struct without defaults of its own (they stand in the file) and a `check` that reports what is out of range or does not
//! go together.

mod admission;
mod auth;
mod command;
mod delivery;
mod effective;
mod journal;
mod limits;
mod listen;
mod load;
mod log;
mod network;
mod origin;
mod poll;
mod problem;
mod root;
mod schemas;
mod secret;
mod secret_file;
mod secrets;
mod setup;
mod source;
mod store;
mod tls;
mod traces;
mod value;
mod verification;

#[cfg(test)]
mod tests;

pub use admission::AdmissionConfig;
pub use auth::AuthConfig;
pub use command::{CommandError, Ended, SecretCommand};
pub use delivery::DeliveryConfig;
pub use effective::{Held, Provenance, effective};
pub use journal::JournalConfig;
pub use limits::LimitsConfig;
pub use listen::{AdminConfig, AgentsConfig, EdgeConfig};
pub use load::{DEFAULTS, LoadError, load, parse, parse_with};
pub use log::{LogConfig, LogFormat};
pub use network::{InvalidNetwork, Network};
pub use origin::{InvalidOrigin, Origin};
pub use poll::PollConfig;
pub use problem::{Findings, Problem, Problems};
pub use root::Config;
pub use schemas::SchemasConfig;
pub use secret::{Secret, SecretError, SecretRef};
pub use secret_file::{KeepError, SecretFile};
pub use secrets::Secrets;
pub use setup::{AllConnections, Certificates, Setup};
pub use source::{OnUndecodable, SourceConfig, SourceContext, Verify};
pub use store::{Engine, RetentionConfig, StoreConfig};
pub use tls::TlsConfig;
pub use traces::TracesConfig;
pub use value::{Address, InvalidValue, Share, Size, Span};
