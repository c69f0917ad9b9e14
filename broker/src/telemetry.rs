//! The log: lines on standard error, for people or as JSON.
//!
//! Constraint: no secret, signature or payload is ever a field of a log line.

use std::env;

use tracing_subscriber::{EnvFilter, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use crate::config::{LogConfig, LogFormat};

/// The environment variable that overrides `log.level`.
pub const LEVEL_VARIABLE: &str = "WAYPOST_LOG";

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is none.
    #[error("{place} = {value:?}: {source}; use error, warn, info, debug or trace")]
    Level {
        /// The variable or key.
        place: &'static str,
        /// Its value.
        value: String,
        /// What is wrong with it.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The process has one already.
    #[error(transparent)]
    Twice(#[from] tracing_subscriber::util::TryInitError),
}

/// Starts the log of this process.
///
/// # Errors
/// When the level is none, or the log was started before.
pub fn start(config: &LogConfig) -> Result<(), LogError> {
    let (place, value) = env::var(LEVEL_VARIABLE).map_or(("log.level", config.level.clone()), |value| (LEVEL_VARIABLE, value));
    let filter = EnvFilter::try_new(&value).map_err(|source| LogError::Level { place, value, source })?;
    let lines = fmt::layer().with_writer(std::io::stderr).with_target(true);
    let registry = tracing_subscriber::registry().with(filter);
    match config.format {
        LogFormat::Text => registry.with(lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}
