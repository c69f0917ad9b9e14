//! The disk as the log sees it: everything that can be lost when the power goes.
//!
//! Constraints:
//! - The log does every file operation through [`Disk`], so that a test can cut the power at each of them.
//! - A write is durable after [`DiskFile::sync`] of its file. A name (created, renamed, removed) is durable after
//!   [`Disk::sync_names`]: no operation promises more, whatever a kind file system does.
//! - Names are flat: one directory, no separators.

use std::{io, sync::Arc};

/// One directory of files.
pub trait Disk: Send + Sync + 'static {
    /// The names of all files, in no order.
    ///
    /// # Errors
    /// As the operating system says.
    fn names(&self) -> io::Result<Vec<String>>;

    /// Creates a file of `bytes` zero bytes, all of them written, so that later writes into it never wait for the file system to
    /// allocate. Neither content nor name is durable yet.
    ///
    /// # Errors
    /// `AlreadyExists`, `StorageFull`, or as the operating system says.
    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// `NotFound`, or as the operating system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file as the log that is being written: [`DiskFile::write_durably`] takes the shortest way that the disk has.
    ///
    /// # Errors
    /// As [`Disk::open`].
    fn open_log(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.open(name)
    }

    /// Gives a file another name, replacing a file that has it. Durable after [`Disk::sync_names`].
    ///
    /// # Errors
    /// As the operating system says.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file. Durable after [`Disk::sync_names`].
    ///
    /// # Errors
    /// As the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes all names durable as they are now.
    ///
    /// # Errors
    /// After an error, which names are durable is unknown.
    fn sync_names(&self) -> io::Result<()>;

    /// Bytes that the file system would still give us.
    ///
    /// # Errors
    /// As the operating system says.
    fn available(&self) -> io::Result<u64>;
}

/// An open file.
#[allow(clippy::len_without_is_empty, reason = "the log asks how long a file is, never whether it is empty")]
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// As the operating system says.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `at`. Never returns less than was asked for.
    ///
    /// # Errors
    /// `UnexpectedEof` if the file ends before, or as the operating system says.
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `at`. Not durable yet.
    ///
    /// # Errors
    /// After an error any part may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()>;

    /// Changes the length.
    ///
    /// # Errors
    /// As the operating system says.
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// Makes the content durable.
    ///
    /// # Errors
    /// After an error any unsynced write may be lost, even if a later sync succeeds: never sync this file again.
    fn sync(&self) -> io::Result<()>;

    /// Writes all of `bytes` at `at` and makes them durable: them, not necessarily what was written before.
    ///
    /// # Errors
    /// As [`DiskFile::write_at`] and [`DiskFile::sync`]: any part may be there, and the file must not be written again.
    fn write_durably(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.write_at(bytes, at)?;
        self.sync()
    }
}
