//! Writes past the page cache: what the log writes is read from memory, so a copy in the page cache costs more than it gives.
//!
//! Constraints:
//! - Direct writes come from aligned memory, to aligned places. What cannot be aligned goes through the page cache.
//! - A file system that refuses direct writes (`EINVAL`, before anything is written) costs speed, nothing else.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    sync::{Mutex, PoisonError},
};

use rustix::fs::OFlags;

use super::{
    frame::{PAGE, SECTOR},
    wire::index,
};

/// Zeros are written in pieces of this size: a commit of the log that meets one waits for it.
const ZEROS: usize = 256 * 1024;

/// A file whose writes are durable when they return.
pub(super) struct DurableWriter {
    file: File,
    /// Aligned memory for one write. One thread writes a log, so nobody waits for it.
    memory: Mutex<Aligned>,
}

impl DurableWriter {
    /// `None` if the file system has no direct writes.
    pub(super) fn open(path: &Path) -> io::Result<Option<Self>> {
        let file = direct(path, OFlags::DSYNC)?;
        Ok(file.map(|file| Self { file, memory: Mutex::new(Aligned::default()) }))
    }

    /// Writes and makes durable. `false` if nothing was written, because the file system or the disk wants another alignment.
    pub(super) fn write(&self, bytes: &[u8], at: u64) -> io::Result<bool> {
        if !(bytes.len() as u64).is_multiple_of(SECTOR) || !at.is_multiple_of(SECTOR) {
            return Ok(false);
        }
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let aligned = memory.of(bytes.len());
        aligned.copy_from_slice(bytes);
        match self.file.write_all_at(aligned, at) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            Err(error) => Err(error),
        }
    }
}

/// Writes zeros into a new file.
pub(super) fn fill(path: &Path, file: &File, bytes: u64) -> io::Result<()> {
    let mut memory = Aligned::default();
    let zeros = &*memory.of(ZEROS);
    let whole = bytes - bytes % PAGE;
    let written = match direct(path, OFlags::empty())? {
        Some(direct) => write_zeros(&direct, zeros, 0, whole),
        None => Err(io::ErrorKind::InvalidInput.into()),
    };
    match written {
        Ok(()) => write_zeros(file, zeros, whole, bytes),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => write_zeros(file, zeros, 0, bytes),
        Err(error) => Err(error),
    }
}

/// `None` if the file system has no direct writes.
fn direct(path: &Path, more: OFlags) -> io::Result<Option<File>> {
    let flags = (OFlags::DIRECT | more).bits().cast_signed();
    match OpenOptions::new().write(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_zeros(file: &File, zeros: &[u8], from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let piece = index(to - at).min(zeros.len());
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// Zeroed memory that starts at a page.
#[derive(Default)]
struct Aligned(Vec<u8>);

impl Aligned {
    /// So many bytes of it.
    fn of(&mut self, bytes: usize) -> &mut [u8] {
        let page = index(PAGE);
        if self.0.len() < bytes + page {
            self.0 = vec![0; bytes + page];
        }
        let start = self.0.as_ptr().align_offset(page).min(page);
        &mut self.0[start..start + bytes]
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_durable_write_is_what_a_read_sees() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let (page, sector) = (index(PAGE), index(SECTOR));
        std::fs::write(&path, vec![7; 4 * page]).unwrap();
        let file = File::open(&path).unwrap();
        // Reading it puts it into the page cache, which must not be what is seen afterwards.
        let mut seen = vec![0; 4 * page];
        file.read_exact_at(&mut seen, 0).unwrap();
        let Some(writer) = DurableWriter::open(&path).unwrap() else { return };
        let mut expected = vec![7; 4 * page];
        for (at, bytes) in [(sector, 3 * sector), (0, sector), (page + sector, 2 * page)] {
            expected[at..at + bytes].fill(u8::try_from(at / sector).unwrap());
            assert!(writer.write(&expected[at..at + bytes], at as u64).unwrap());
            file.read_exact_at(&mut seen, 0).unwrap();
            assert_eq!(seen, expected, "{bytes} bytes at {at}");
        }
        assert!(!writer.write(&[1; 100], 0).unwrap(), "100 bytes are no sector");
        assert!(!writer.write(&[1; 512], 5).unwrap(), "5 is no sector's start");
        file.read_exact_at(&mut seen, 0).unwrap();
        assert_eq!(seen, expected);
    }
}
