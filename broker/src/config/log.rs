//! What the broker says about itself.

use std::path::PathBuf;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::Findings;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The log, on standard error.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged: a level, or directives such as `info,waypost_broker::ingress=debug`.
    pub level: String,
    /// Where the lines of the audit log are appended as well, as JSON.
    #[serde(default)]
    pub audit_file: Option<PathBuf>,
}

impl LogConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        if let Err(error) = EnvFilter::try_new(&self.level) {
            let help = "use error, warn, info, debug or trace, or directives such as \"info,waypost_broker::ingress=debug\"";
            findings.wrong("level", format_args!("{:?}: {error}; {help}", self.level));
        }
    }
}
