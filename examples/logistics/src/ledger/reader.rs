//! Reading ledgers while they grow.
//!
//! Constraint: only whole lines count. A process that was killed may have left half of one; whoever writes next ends it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use super::Entry;

/// One ledger.
#[derive(Debug)]
pub(crate) struct LedgerReader {
    file: File,
    read_to: u64,
}

impl LedgerReader {
    pub(crate) fn new(file: File) -> Self {
        Self { file, read_to: 0 }
    }

    /// The lines since the last call.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Entry>> {
        let mut bytes = Vec::new();
        self.file.seek(SeekFrom::Start(self.read_to))?;
        self.file.read_to_end(&mut bytes)?;
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        self.read_to += whole as u64;
        bytes.truncate(whole);
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        // Half a line is what a killed process had not done yet.
        Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).collect())
    }

    /// Whether the ledger ends in the middle of a line that nobody is writing any more. To be asked under the lock, after `read`.
    pub(crate) fn ends_torn(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() > self.read_to)
    }
}

/// All ledgers of a folder, also those that appear later.
#[derive(Debug)]
pub(crate) struct Ledgers {
    folder: PathBuf,
    readers: BTreeMap<PathBuf, LedgerReader>,
}

impl Ledgers {
    pub(crate) fn of(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), readers: BTreeMap::new() }
    }

    /// The lines since the last call, those of each ledger in order.
    pub(crate) fn read(&mut self) -> io::Result<Vec<Entry>> {
        for entry in std::fs::read_dir(&self.folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "jsonl") && !self.readers.contains_key(&path) {
                let reader = LedgerReader::new(File::open(&path)?);
                self.readers.insert(path, reader);
            }
        }
        let mut entries = Vec::new();
        for reader in self.readers.values_mut() {
            entries.extend(reader.read()?);
        }
        Ok(entries)
    }
}
