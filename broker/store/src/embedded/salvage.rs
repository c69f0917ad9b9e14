//! Salvaging the tables: what can still be read of a damaged file goes into a new one.
//!
//! Constraints:
//! - Of the damaged file only the first page is written: what is the same in every such file. The new one takes its name when it is whole; the
//!   damaged one is kept under another name.
//! - Only values whose checksum holds are taken. Of an owner's records nothing behind a damaged one is: what is before it is a state that
//!   the owner had.
//! - The new file says that it was salvaged until the changes that the log still has were folded over it.

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Row, Transaction, params};

use super::{
    table_file::{Watermark, connect, put_watermark, read_watermark, unseal},
    tables::FILE,
};
use crate::contract::Table;

/// What a salvage found.
#[derive(Debug, Default)]
pub(super) struct Salvaged {
    pub(super) kept: u64,
    /// Values whose checksum does not hold.
    pub(super) lost: u64,
    /// Walks through the file that ended at a place that cannot be read.
    pub(super) broken: u64,
}

/// The files of a database beside its own name.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

fn beside(directory: &Path, name: &str, suffix: &str) -> PathBuf {
    directory.join(format!("{FILE}{name}{suffix}"))
}

/// Removes a file that need not be there.
fn remove(path: &Path) {
    // One that cannot be removed shows when the new file is made.
    let _ = std::fs::remove_file(path);
}

/// Bytes of the first page that are the same in every file of tables: the kind of file, the format of the schema, the encoding, and behind
/// the header the schema, which is made in one go and never changes.
const FIXED: [Range<usize>; 4] = [0..24, 44..48, 56..60, 100..4096];

/// Mends the first page, from a file without rows, so that the rest can be read.
fn mend_first_page(path: &Path, empty: &Path) -> io::Result<()> {
    let mut page = [0; 4096];
    std::fs::File::open(empty)?.read_exact_at(&mut page, 0)?;
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() >= page.len() as u64 {
        for range in FIXED {
            file.write_all_at(&page[range.clone()], range.start as u64)?;
        }
    }
    Ok(())
}

/// Replaces the damaged file of a directory by what can be salvaged of it. Nobody may have it open.
pub(super) fn salvage(directory: &Path) -> rusqlite::Result<Salvaged> {
    SUFFIXES.iter().for_each(|suffix| remove(&beside(directory, ".new", suffix)));
    let mut salvaged = Salvaged::default();
    // Closed again, so that all of it is in the file.
    drop(connect(&beside(directory, ".new", ""))?);
    if let Err(error) = mend_first_page(&beside(directory, "", ""), &beside(directory, ".new", "")) {
        tracing::warn!(%error, "the first page of the damaged tables could not be mended");
    }
    {
        let (mut target, _) = connect(&beside(directory, ".new", ""))?;
        let transaction = target.transaction()?;
        if let Ok(source) = Connection::open(beside(directory, "", "")) {
            Copy { source: &source, target: &transaction, salvaged: &mut salvaged }.everything()?;
        }
        transaction.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('salvaged', x'')", [])?;
        transaction.commit()?;
        // Closing it moves all of it into the file.
    }
    for suffix in SUFFIXES {
        remove(&beside(directory, ".damaged", suffix));
        let _ = std::fs::rename(beside(directory, "", suffix), beside(directory, ".damaged", suffix));
    }
    take_name(directory);
    Ok(salvaged)
}

/// Gives a salvaged file its name, if a crash came in between.
pub(super) fn take_name(directory: &Path) {
    if !beside(directory, "", "").exists() {
        let _ = std::fs::rename(beside(directory, ".new", ""), beside(directory, "", ""));
    }
}

/// Copying from one file to another.
struct Copy<'a> {
    source: &'a Connection,
    target: &'a Transaction<'a>,
    salvaged: &'a mut Salvaged,
}

impl Copy<'_> {
    fn everything(&mut self) -> rusqlite::Result<()> {
        let mut put_row = self.target.prepare("INSERT OR REPLACE INTO rows (tbl, key, value) VALUES (?1, ?2, ?3)")?;
        for table in Table::ALL.map(|table| table as u8) {
            self.walk("SELECT key, value FROM rows WHERE tbl = ?1 ORDER BY key", table, |row| {
                let (key, value) = (row.get_ref(0)?.as_blob()?, row.get_ref(1)?.as_blob()?);
                let is_good = unseal(&[b"row", &[table], key], value).is_some();
                if is_good {
                    put_row.execute(params![table, key, value])?;
                }
                Ok(is_good)
            })?;
        }
        let mut owners = BTreeSet::new();
        let mut put_owner = self.target.prepare("INSERT OR REPLACE INTO owners (owner, value) VALUES (?1, ?2)")?;
        self.walk("SELECT owner, value FROM owners WHERE ?1 = 0 ORDER BY owner", 0, |row| {
            let (owner, value) = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_blob()?);
            let is_good = unseal(&[b"owner", owner.as_bytes()], value).is_some();
            if is_good {
                owners.insert(owner.to_owned());
                put_owner.execute(params![owner, value])?;
            }
            Ok(is_good)
        })?;
        self.walk("SELECT owner FROM records WHERE ?1 = 0 ORDER BY owner", 0, |row| {
            owners.insert(row.get_ref(0)?.as_str()?.to_owned());
            Ok(true)
        })?;
        let mut newest = 1;
        for owner in &owners {
            newest = newest.max(self.records(owner)?);
        }
        // Without its own value, the newest fold that is known of is the watermark.
        let watermark = read_watermark(self.source).ok().flatten().unwrap_or(Watermark { sequence: newest, next: 1 });
        put_watermark(self.target, watermark)
    }

    /// Visits rows in order, and from the other end if that breaks off. The visitor says whether a row is good; twice the same is fine.
    fn walk(&mut self, forward: &str, argument: u8, mut visit: impl FnMut(&Row<'_>) -> rusqlite::Result<bool>) -> rusqlite::Result<()> {
        for sql in [forward.to_owned(), format!("{forward} DESC")] {
            let Ok(mut statement) = self.source.prepare(&sql) else {
                self.salvaged.broken += 1;
                return Ok(());
            };
            let Ok(mut rows) = statement.query([argument]) else {
                self.salvaged.broken += 1;
                continue;
            };
            loop {
                match rows.next() {
                    Ok(None) => return Ok(()),
                    Ok(Some(row)) => match visit(row) {
                        Ok(true) => self.salvaged.kept += 1,
                        // What is not even of the right kind is as lost as what has a wrong checksum.
                        Ok(false) | Err(rusqlite::Error::FromSqlConversionFailure(..) | rusqlite::Error::InvalidColumnType(..)) => {
                            self.salvaged.lost += 1;
                        }
                        Err(rusqlite::Error::SqliteFailure(error, message)) => {
                            return Err(rusqlite::Error::SqliteFailure(error, message));
                        }
                        Err(_) => self.salvaged.lost += 1,
                    },
                    Err(_) => {
                        self.salvaged.broken += 1;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Copies the records of an owner up to the first damaged place. Answers the newest fold that was copied.
    fn records(&mut self, owner: &str) -> rusqlite::Result<u64> {
        let mut put = self.target.prepare_cached("INSERT OR REPLACE INTO records (owner, through, value) VALUES (?1, ?2, ?3)")?;
        let mut newest = 0;
        let Ok(mut statement) = self.source.prepare_cached("SELECT through, value FROM records WHERE owner = ?1 ORDER BY through") else {
            return Ok(newest);
        };
        let Ok(mut rows) = statement.query([owner]) else { return Ok(newest) };
        loop {
            let row = match rows.next() {
                Ok(None) => return Ok(newest),
                Ok(Some(row)) => row,
                Err(_) => {
                    self.salvaged.broken += 1;
                    return Ok(newest);
                }
            };
            let (Ok(through), Ok(value)) = (row.get::<_, i64>(0), row.get::<_, Vec<u8>>(1)) else {
                self.salvaged.lost += 1;
                return Ok(newest);
            };
            if unseal(&[b"records", owner.as_bytes(), &through.to_le_bytes()], &value).is_none() {
                self.salvaged.lost += 1;
                return Ok(newest);
            }
            put.execute(params![owner, through, value])?;
            self.salvaged.kept += 1;
            newest = newest.max(through.cast_unsigned());
        }
    }
}
