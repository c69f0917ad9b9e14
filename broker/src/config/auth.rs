//! Who may call.

use std::path::PathBuf;

use serde::Deserialize;

/// Whom the listeners for agents and administrators let in.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthConfig {
    /// The hashes of the tokens, and what each allows. Without it, anybody who reaches a listener may do everything there.
    #[serde(default)]
    pub tokens_file: Option<PathBuf>,
}
