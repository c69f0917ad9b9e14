//! Salvaging the tables: what can still be read of a damaged file goes into a new one.
//!
//! Constraints:
//! - Of the damaged file only the first page is written: what is the same in every such file.
//! - Whenever the power goes, the next opening has the damaged file with its log, or a whole new one: the new one is `.new` until all of it is
//!   durable. Under its next name it is good for all that is in the damaged one, which is then moved aside, each file in any order; and only
//!   when those names are durable it takes its own. It is never seen beside a log that is not its own.
//! - Only values whose checksum holds are taken. Of an owner's records nothing behind a damaged one is: what is before it is a state that
//!   the owner had.
//! - The new file says that it was salvaged until the changes that the log still has were folded over it.

use std::{
    collections::BTreeSet,
    fs::{File, OpenOptions},
    io,
    ops::Range,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, Row, Transaction, params};

use super::{
    table_file::{Watermark, checkpoint, connect, disk_trouble, put_watermark, read_watermark, unseal},
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

/// Ends the name of a salvaged file that is whole and durable, and has not the name of the tables yet.
const WHOLE: &str = ".salvaged";

/// What the names of a database's files end with.
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
    File::open(empty)?.read_exact_at(&mut page, 0)?;
    let file = OpenOptions::new().write(true).open(path)?;
    if file.metadata()?.len() >= page.len() as u64 {
        for range in FIXED {
            file.write_all_at(&page[range.clone()], range.start as u64)?;
        }
    }
    Ok(())
}

/// Puts what can be salvaged of the damaged file of a directory into a new one, which [`take_name`] puts in its place. Nobody may have it
/// open. `None` if that was done before, and only the name was not taken.
pub(super) fn salvage(directory: &Path) -> rusqlite::Result<Option<Salvaged>> {
    if beside(directory, WHOLE, "").exists() {
        return Ok(None);
    }
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
        checkpoint(&target)?;
    }
    let become_whole = || {
        File::open(beside(directory, ".new", ""))?.sync_all()?;
        // Those of an earlier salvage: what is kept must belong together.
        SUFFIXES.iter().for_each(|suffix| remove(&beside(directory, ".damaged", suffix)));
        std::fs::rename(beside(directory, ".new", ""), beside(directory, WHOLE, ""))?;
        sync_names(directory)
    };
    become_whole().map_err(disk_trouble)?;
    Ok(Some(salvaged))
}

/// Moves the damaged file aside and gives the salvaged one its name, if there is one that is whole.
pub(super) fn take_name(directory: &Path) -> rusqlite::Result<()> {
    let whole = beside(directory, WHOLE, "");
    if !whole.exists() {
        return Ok(());
    }
    let take = || {
        for suffix in SUFFIXES {
            match std::fs::rename(beside(directory, "", suffix), beside(directory, ".damaged", suffix)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        sync_names(directory)?;
        std::fs::rename(&whole, beside(directory, "", ""))?;
        sync_names(directory)
    };
    take().map_err(disk_trouble)
}

fn sync_names(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

type RecordKey = (String, i64);

/// A place where records may be missing without a trace: behind the first key, which is there, and before the second.
struct Hole {
    from: Option<RecordKey>,
    to: Option<RecordKey>,
}

impl Hole {
    /// Whether what may be missing comes before this record of its owner.
    fn is_before(&self, owner: &str, through: i64) -> bool {
        self.from.as_ref().is_none_or(|(first, last_good)| (&**first, *last_good) < (owner, through))
            && self.to.as_ref().is_none_or(|(last, _)| owner <= &**last)
    }
}

/// What is no key stands where one should; so does one of two that are out of order. That one is hidden.
fn holes_in(mut keys: Vec<Option<RecordKey>>, is_reversed: bool) -> Vec<Hole> {
    if is_reversed {
        keys.reverse();
    }
    let hole = |good: usize, next: usize| Hole {
        from: keys[..good].iter().rev().flatten().next().cloned(),
        to: keys.iter().skip(next).flatten().next().cloned(),
    };
    let hole_at = |place: usize| match (&keys[place], place.checked_sub(1).and_then(|before| keys[before].as_ref())) {
        (None, _) => Some(hole(place, place + 1)),
        (Some(key), Some(before)) if key <= before => Some(hole(place - 1, place + 1)),
        _ => None,
    };
    (0..keys.len()).filter_map(hole_at).collect()
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
        let keys = ["owner, through", "owner DESC, through DESC"].map(|order| self.record_keys(order));
        owners.extend(keys.iter().flatten().flatten().map(|(owner, _)| owner.clone()));
        let holes: Vec<Hole> = keys.into_iter().zip([false, true]).flat_map(|(keys, is_reversed)| holes_in(keys, is_reversed)).collect();
        let mut newest = 1;
        for owner in &owners {
            newest = newest.max(self.records(owner, &holes)?);
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

    /// The keys of all records, as far as they can be read in this order. What is no key is `None`.
    fn record_keys(&mut self, order: &str) -> Vec<Option<RecordKey>> {
        let mut keys = Vec::new();
        let sql = format!("SELECT owner, through FROM records ORDER BY {order}");
        let read = self.source.prepare(&sql).and_then(|mut statement| {
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                keys.push(row.get(0).and_then(|owner| Ok((owner, row.get(1)?))).ok());
            }
            Ok(())
        });
        self.salvaged.broken += u64::from(read.is_err());
        keys
    }

    /// Copies the records of an owner up to the first damaged place. Answers the newest fold that was copied.
    fn records(&mut self, owner: &str, holes: &[Hole]) -> rusqlite::Result<u64> {
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
            let is_behind_hole = holes.iter().any(|hole| hole.is_before(owner, through));
            if is_behind_hole || unseal(&[b"records", owner.as_bytes(), &through.to_le_bytes()], &value).is_none() {
                self.salvaged.lost += 1;
                return Ok(newest);
            }
            put.execute(params![owner, through, value])?;
            self.salvaged.kept += 1;
            newest = newest.max(through.cast_unsigned());
        }
    }
}
