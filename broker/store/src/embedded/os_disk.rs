//! The disk as the operating system gives it: one directory.
//!
//! Constraint: [`OsDisk::lock`] must be held by whoever writes. Two processes on one directory would destroy it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::OFlags;

use super::{
    disk::{Disk, DiskFile},
    frame::PAGE,
    wire::index,
};

/// Zeros are written in pieces of this size.
const ZEROS: usize = 1024 * 1024;

/// A directory of the operating system.
pub(super) struct OsDisk {
    directory: PathBuf,
    /// An open handle of the directory, to sync names with.
    handle: File,
}

impl OsDisk {
    /// Opens a directory, and makes it if it is not there.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), handle: File::open(directory)? })
    }

    /// Takes the lock of the directory. `None` if another process (or another store of this one) has it.
    pub(super) fn lock(directory: &Path) -> io::Result<Option<File>> {
        std::fs::create_dir_all(directory)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("LOCK"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Disk for OsDisk {
    fn names(&self) -> io::Result<Vec<String>> {
        std::fs::read_dir(&self.directory)?
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect()
    }

    fn create(&self, name: &str, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path)?;
        if bytes > 0 {
            fill(&path, &file, bytes)?;
        }
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        std::fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        std::fs::remove_file(self.directory.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        self.handle.sync_all()
    }

    fn available(&self) -> io::Result<u64> {
        let state = rustix::fs::fstatvfs(&self.handle)?;
        Ok(state.f_bavail * state.f_frsize)
    }
}

/// Writes zeros into a new file: past the page cache where the file system can, for copying them there costs more than writing them.
fn fill(path: &Path, file: &File, bytes: u64) -> io::Result<()> {
    let page = index(PAGE);
    let memory = vec![0; ZEROS.min(index(bytes)) + page];
    let aligned = memory.as_ptr().align_offset(page).min(page);
    let zeros = &memory[aligned..aligned + memory.len() - page];
    let direct = OFlags::DIRECT.bits().cast_signed();
    let whole = bytes - bytes % PAGE;
    let written = match OpenOptions::new().write(true).custom_flags(direct).open(path) {
        Ok(direct) => write_zeros(&direct, zeros, 0, whole),
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => write_zeros(file, zeros, whole, bytes),
        // The file system does not know direct writes, or wants them aligned in another way.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => write_zeros(file, zeros, 0, bytes),
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

struct OsFile(File);

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.0.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn is_written_whole(directory: &Path) {
        let disk = OsDisk::open(directory).unwrap();
        for (name, bytes) in
            [("none", 0), ("odd", 5_001), ("page", PAGE), ("pieces", 2 * ZEROS as u64 + 3 * PAGE), ("tail", ZEROS as u64 + 77)]
        {
            let file = disk.create(name, bytes).unwrap();
            assert_eq!(file.len().unwrap(), bytes, "{name}");
            let mut content = vec![1; index(bytes)];
            file.read_at(&mut content, 0).unwrap();
            assert!(content.iter().all(|byte| *byte == 0), "{name}");
            file.sync().unwrap();
            // A sparse file would make the first write into it wait for the file system.
            let allocated = std::os::unix::fs::MetadataExt::blocks(&directory.join(name).metadata().unwrap()) * 512;
            assert!(allocated >= bytes, "{name}: {allocated} of {bytes}");
        }
    }

    #[test]
    fn a_new_file_is_written_whole() {
        is_written_whole(tempfile::tempdir().unwrap().path());
    }

    #[test]
    fn a_new_file_is_written_whole_in_memory_too() {
        // A file system that may refuse direct writes.
        let Ok(directory) = tempfile::tempdir_in("/dev/shm") else { return };
        is_written_whole(directory.path());
    }
}
