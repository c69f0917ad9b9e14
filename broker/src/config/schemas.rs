//! The message types that events are checked against.

use std::path::PathBuf;

use serde::Deserialize;

/// The operator's own `.proto` files, beside those that come with Waypost.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchemasConfig {
    /// Folders whose `.proto` files are compiled at start, relative to the configuration file. Imports start at a folder.
    pub folders: Vec<PathBuf>,
}
