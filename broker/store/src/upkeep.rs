//! Looking after what a store keeps on this machine: verifying it, and copying it while it is in use.
//!
//! Constraints: neither changes anything; neither stops a write; what is told of damage says where, what, and what that costs. Both
//! read everything that there is: call them where blocking is allowed.

use std::{fmt, io};

use bytes::Bytes;

use crate::contract::{Micros, Offset, RowChange};

/// What an engine offers that keeps files on this machine.
pub trait Upkeep: Send + Sync {
    /// Reads everything that is durable and checks every checksum. What is found is told at once.
    ///
    /// # Errors
    /// When the disk does not let itself be read. Damage is no error.
    fn verify(&self, tell: &mut dyn FnMut(Finding)) -> Result<Verified, UpkeepError>;

    /// Takes hold of a consistent state: everything that was durable at one moment after the call was made. What is held stays
    /// readable until it is dropped, whatever the store goes on to do. The copy has `changes` as well, which the store does not get.
    ///
    /// # Errors
    /// When there is none to be had, of which the text tells why.
    fn backup(&self, changes: Vec<RowChange>) -> Result<Backup, UpkeepError>;
}

/// Something that a verification found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Whether something is damaged; if not, it is only worth knowing.
    pub is_damage: bool,
    /// The file, by its name in the data directory.
    pub file: String,
    /// Where in it; `None` if it is about the whole file.
    pub position: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What that means for the user.
    pub cost: String,
}

impl Finding {
    /// Damage.
    #[must_use]
    pub fn damage(file: &str, position: impl Into<Option<u64>>, what: impl Into<String>, cost: impl Into<String>) -> Self {
        Self { is_damage: true, file: file.to_owned(), position: position.into(), what: what.into(), cost: cost.into() }
    }

    /// Something worth knowing.
    #[must_use]
    pub fn note(file: &str, what: impl Into<String>) -> Self {
        Self { is_damage: false, file: file.to_owned(), position: None, what: what.into(), cost: String::new() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(position) = self.position {
            write!(f, " at {position}")?;
        }
        write!(f, ": {}", self.what)?;
        if !self.cost.is_empty() {
            write!(f, "; {}", self.cost)?;
        }
        Ok(())
    }
}

/// What a verification looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verified {
    /// Segments.
    pub segments: u64,
    /// Frames in them that are whole, or at least partly so.
    pub frames: u64,
    /// Events in those.
    pub events: u64,
    /// Values of the tables.
    pub values: u64,
    /// Bytes that were read of the log and its indexes.
    pub bytes: u64,
    /// Places that are damaged.
    pub damage: u64,
    /// The first offset that may be read.
    pub first: Offset,
    /// The offset after the newest event.
    pub next: Offset,
}

/// How a store is that nobody has open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Glance {
    /// Bytes of all files in the data directory.
    pub used: u64,
    /// Segments.
    pub segments: u64,
    /// The first offset that may be read.
    pub first: Offset,
    /// The offset after the newest event.
    pub next: Offset,
    /// When the newest event was accepted; 0 if there is none.
    pub newest: Micros,
    /// Files that recovery set aside.
    pub set_aside: u64,
}

/// A consistent state of a store, as files of a data directory.
#[derive(Debug)]
pub struct Backup {
    /// The files, whose names are flat.
    pub files: Vec<BackupFile>,
    /// The first offset in it.
    pub first: Offset,
    /// The offset after its newest event.
    pub next: Offset,
}

/// How bytes of a file are read: position and length.
pub(crate) type ReadAt = Box<dyn Fn(u64, usize) -> io::Result<Bytes> + Send + Sync>;

/// One file of a backup.
pub struct BackupFile {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    read: ReadAt,
}

impl BackupFile {
    pub(crate) fn new(name: impl Into<String>, bytes: u64, read: ReadAt) -> Self {
        Self { name: name.into(), bytes, read }
    }

    /// Reads at most `most` bytes at a position; none behind the end.
    ///
    /// # Errors
    /// As the operating system says.
    pub fn read(&self, at: u64, most: usize) -> io::Result<Bytes> {
        let left = usize::try_from(self.bytes.saturating_sub(at)).unwrap_or(usize::MAX);
        if left == 0 { Ok(Bytes::new()) } else { (self.read)(at, left.min(most)) }
    }
}

impl fmt::Debug for BackupFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BackupFile").field("name", &self.name).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Why a store could not be verified or copied.
#[derive(Debug, thiserror::Error)]
pub enum UpkeepError {
    /// Another process has the directory open.
    #[error("the data directory {0} is in use by a running broker; ask that one, which can do it while it runs")]
    InUse(std::path::PathBuf),
    /// There is none.
    #[error("there is no store in {0}")]
    NoStore(std::path::PathBuf),
    /// The directory was written by another version of the format.
    #[error("the data directory has format version {found}; this program reads version {supported}; use the program that wrote it")]
    Version {
        /// The version found.
        found: u32,
        /// The version that this program reads.
        supported: u32,
    },
    /// The operating system refused.
    #[error("{doing}: {source}")]
    Disk {
        /// What was being done.
        doing: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// The tables could not be read.
    #[error("the tables could not be {doing}: {why}")]
    Tables {
        /// What was being done.
        doing: &'static str,
        /// What SQLite said.
        why: String,
    },
    /// The log was trimmed faster than it could be held.
    #[error("the log changed faster than it could be held; try again")]
    Busy,
}

impl From<io::Error> for UpkeepError {
    fn from(source: io::Error) -> Self {
        Self::Disk { doing: "reading the data directory", source }
    }
}
