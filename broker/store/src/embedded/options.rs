//! How an embedded store is opened, and why it may not be.

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

/// The file that belongs to whoever keeps a journal beside the store, in its directory: the store never looks at it, and does not count it.
/// What begins with this name is left alone as well.
pub const JOURNAL_FILE: &str = "webhooks.journal";

/// Options of an embedded store. [`EmbeddedOptions::new`] has the defaults that are named here.
#[derive(Clone, Debug)]
pub struct EmbeddedOptions {
    /// The data directory. It is made if it is not there, and belongs to the store alone.
    pub dir: PathBuf,
    /// The most bytes that the whole directory may take. Default: 10 GiB.
    pub cap: u64,
    /// Bytes of `cap` that only commits under a claim may use, so that a full store can be drained. Default: 5 % of `cap`, at least
    /// 64 MiB and at most half of `cap`.
    pub reserve: u64,
    /// Bytes of a segment, rounded up to whole pages: the unit in which disk is taken and given back. Default: 64 MiB; at least 64 KiB.
    pub segment_bytes: u64,
    /// The most ids that are remembered to find duplicates. Default: 10,000,000 (4 to 5 bytes of memory each).
    pub dedup_ids: usize,
    /// Bytes of the newest frames that are kept in memory, for readers near the tail. Default: 16 MiB.
    pub cache_bytes: usize,
    /// Bytes of changes of tables and records that are kept in memory before they are folded into the tables. Default: 8 MiB.
    pub fold_bytes: usize,
    /// Bytes of writes that may wait for the disk; callers beyond it wait. Default: 32 MiB; at least 8 MiB.
    pub queue_bytes: usize,
    /// Empty segments that are kept ready. Default: 2.
    pub spare_segments: usize,
    /// Whom to tell how long each durable write of the log took. Default: nobody.
    pub syncs: Option<Arc<dyn ObserveSyncs>>,
}

/// Is told how long the disk takes. Called by the thread that writes, so it must not wait.
pub trait ObserveSyncs: fmt::Debug + Send + Sync {
    /// A write of the log became durable.
    fn synced(&self, took: Duration);
}

/// The smallest segment.
pub(super) const MIN_SEGMENT: u64 = 64 * 1024;

impl EmbeddedOptions {
    /// The defaults, for a data directory.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self::with_cap(dir, 10 << 30)
    }

    /// The defaults for a data directory that may take at most `cap` bytes.
    #[must_use]
    pub fn with_cap(dir: impl Into<PathBuf>, cap: u64) -> Self {
        Self {
            dir: dir.into(),
            cap,
            reserve: (cap / 20).max(64 << 20).min(cap / 2),
            segment_bytes: 64 << 20,
            dedup_ids: 10_000_000,
            cache_bytes: 16 << 20,
            fold_bytes: 8 << 20,
            queue_bytes: 32 << 20,
            spare_segments: 2,
            syncs: None,
        }
    }
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("the data directory {dir} is in use by another process; stop that one, or give this one a directory of its own")]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory was written by another version of the format.
    #[error("the data directory {dir} has format version {found}; this program reads version {supported}; use the program that wrote it")]
    Version {
        /// The directory.
        dir: PathBuf,
        /// The version found.
        found: u32,
        /// The version that this program reads and writes.
        supported: u32,
    },
    /// An option is out of range.
    #[error("{option} is {value}; {expected}")]
    Option {
        /// The option.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What would be right.
        expected: &'static str,
    },
    /// The operating system refused.
    #[error("the data directory {dir}: {doing}: {source}")]
    Disk {
        /// The directory.
        dir: PathBuf,
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: std::io::Error,
    },
    /// The tables could not be opened, and not be made anew either.
    #[error("the tables in {dir}: {source}")]
    Tables {
        /// The directory.
        dir: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

impl EmbeddedOptions {
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let wrong = |option, value, expected| Err(OpenError::Option { option, value, expected });
        if self.segment_bytes < MIN_SEGMENT || self.segment_bytes > 1 << 30 {
            return wrong("segment_bytes", self.segment_bytes, "it must be between 64 KiB and 1 GiB");
        }
        if self.reserve > self.cap {
            return wrong("reserve", self.reserve, "it must not be larger than cap");
        }
        if self.cap < 2 * self.segment_bytes {
            return wrong("cap", self.cap, "it must hold at least two segments");
        }
        if self.queue_bytes < 8 << 20 {
            return wrong("queue_bytes", self.queue_bytes as u64, "it must be at least 8 MiB: one write can have 4");
        }
        Ok(())
    }
}
