//! The log: lines on standard error, for people or as JSON.
//!
//! Constraint: no secret, signature or payload is ever a field of a log line.

use std::{
    env,
    fs::File,
    io::{self, Write},
    path::PathBuf,
};

use tracing_subscriber::{
    EnvFilter, Layer,
    filter::filter_fn,
    fmt::{self, MakeWriter},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

use crate::{
    access::{audit::TARGET as AUDIT, rate::Rate},
    clock::Clock,
    config::{LogConfig, LogFormat},
    limits,
};

/// The environment variable that overrides `log.level`.
pub const LEVEL_VARIABLE: &str = "WAYPOST_LOG";

/// For lines that anybody can cause: at most [`limits::LINES_PER_SECOND`] of them are told.
#[derive(Debug)]
pub struct Sparse {
    clock: Clock,
    rate: Rate,
}

impl Sparse {
    /// Tells from now on.
    #[must_use]
    pub fn new() -> Self {
        Self { clock: Clock::from_wall(), rate: Rate::new(limits::LINES_PER_SECOND) }
    }

    /// Whether the next line is to be told; asking counts as telling.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.rate.spend(self.clock.now(), 1).is_ok()
    }
}

impl Default for Sparse {
    fn default() -> Self {
        Self::new()
    }
}

/// Unless the level says otherwise of it, the audit log is there whatever the level is.
const AUDIT_ALWAYS: &str = "audit=info";

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
    /// The audit log cannot be kept where it should be.
    #[error("log.audit_file = {path:?}: cannot be appended to: {source}")]
    Audit {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
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
    let mut filter = EnvFilter::try_new(&value).map_err(|source| LogError::Level { place, value: value.clone(), source })?;
    if !value.contains(AUDIT)
        && let Ok(directive) = AUDIT_ALWAYS.parse()
    {
        filter = filter.add_directive(directive);
    }
    let lines = fmt::layer().with_writer(io::stderr).with_target(true);
    let audit = config.audit_file.clone().map(AuditFile::open).transpose()?.map(|file| {
        let lines = fmt::layer().json().flatten_event(true).with_writer(file);
        lines.with_filter(filter_fn(|metadata| metadata.target() == AUDIT))
    });
    let registry = tracing_subscriber::registry().with(filter).with(audit);
    match config.format {
        LogFormat::Text => registry.with(lines.with_ansi(io::IsTerminal::is_terminal(&io::stderr()))).try_init()?,
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init()?,
    }
    Ok(())
}

/// The file of the audit log. It is opened for every line, of which there are few, so that it may be moved away at any time.
struct AuditFile(PathBuf);

impl AuditFile {
    fn open(path: PathBuf) -> Result<Self, LogError> {
        let this = Self(path);
        this.append(b"").map_err(|source| LogError::Audit { path: this.0.clone(), source })?;
        Ok(this)
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        // In one write: lines of several threads stay whole.
        File::options().create(true).append(true).open(&self.0)?.write_all(line)
    }
}

impl Write for &AuditFile {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.append(line).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for AuditFile {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}
