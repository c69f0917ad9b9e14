//! The disk as the operating system gives it: one directory.
//!
//! Constraint: [`OsDisk::lock`] must be held by whoever writes. Two processes on one directory would destroy it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::time::Instant;

use super::{
    direct::{DurableWriter, fill},
    disk::{Disk, DiskFile},
    options::ObserveSyncs,
};

/// A directory of the operating system.
pub(super) struct OsDisk {
    directory: PathBuf,
    /// An open handle of the directory, to sync names with.
    handle: File,
    syncs: Option<Arc<dyn ObserveSyncs>>,
}

impl OsDisk {
    /// Opens a directory, and makes it if it is not there.
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), handle: File::open(directory)?, syncs: None })
    }

    /// Tells how long each durable write takes.
    pub(super) fn observed(self, syncs: Option<Arc<dyn ObserveSyncs>>) -> Self {
        Self { syncs, ..self }
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
        Ok(Arc::new(OsFile { file, durable: None, syncs: None }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(OsFile { file, durable: None, syncs: None }))
    }

    fn open_log(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.directory.join(name);
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        Ok(Arc::new(OsFile { file, durable: DurableWriter::open(&path)?, syncs: self.syncs.clone() }))
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

/// An open file, and how it is written durably, if it was opened for that and the file system can.
struct OsFile {
    file: File,
    durable: Option<DurableWriter>,
    syncs: Option<Arc<dyn ObserveSyncs>>,
}

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write_durably(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        let begun = Instant::now();
        let is_written = self.durable.as_ref().map_or(Ok(false), |writer| writer.write(bytes, at))?;
        if !is_written {
            self.write_at(bytes, at)?;
            self.sync()?;
        }
        if let Some(syncs) = &self.syncs {
            syncs.synced(begun.elapsed());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::embedded::{frame::PAGE, wire::index};

    const PIECE: u64 = 1024 * 1024;

    fn is_written_whole(directory: &Path) {
        let disk = OsDisk::open(directory).unwrap();
        for (name, bytes) in [("none", 0), ("odd", 5_001), ("page", PAGE), ("pieces", 2 * PIECE + 3 * PAGE), ("tail", PIECE + 77)] {
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
