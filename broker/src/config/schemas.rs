//! The message types that events are checked against.

use std::path::PathBuf;

use serde::Deserialize;

/// The operator's own `.proto` files, beside those that come with Waypost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemasConfig {
    /// Folders in which imports are looked up, relative to the configuration file.
    pub include: Vec<PathBuf>,
    /// The files, relative to one of the folders.
    pub files: Vec<PathBuf>,
}
