//! Verifying the file of the tables: every page as SQLite checks it, and every value by its own checksum.
//!
//! Constraint: the file is opened to be read; beside a file that nobody has open nothing is made, unless it has a log of its own.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, Row, types::ValueRef};

use super::{
    table_file::{PATIENCE, Watermark, is_damage, is_salvaged, read_watermark, unseal},
    tables::FILE,
};
use crate::{
    contract::Table,
    upkeep::{Finding, UpkeepError, Verified},
};

const COST: &str = "what the log still has is folded again; what is older is lost: settled events may come back";

/// The most findings of SQLite's own check.
const FINDINGS: usize = 100;

/// Verifies the file, which somebody may have open. Answers how far it says it is.
pub(super) fn verify_tables(
    path: &Path,
    is_in_use: bool,
    verified: &mut Verified,
    tell: &mut dyn FnMut(Finding),
) -> Result<Option<Watermark>, UpkeepError> {
    let mut look = Look { verified, tell };
    match open(path, is_in_use).and_then(|connection| look.file(connection)) {
        Ok(watermark) => Ok(watermark),
        Err(error) if is_damage(&error) => {
            look.damage(format!("cannot be read: {error}"));
            Ok(None)
        }
        Err(error) => Err(UpkeepError::Tables { doing: "read", why: error.to_string() }),
    }
}

struct Look<'a> {
    verified: &'a mut Verified,
    tell: &'a mut dyn FnMut(Finding),
}

impl Look<'_> {
    fn damage(&mut self, what: impl Into<String>) {
        self.verified.damage += 1;
        (self.tell)(Finding::damage(FILE, None, what, COST));
    }

    fn file(&mut self, mut connection: Connection) -> rusqlite::Result<Option<Watermark>> {
        // One state, whatever is folded meanwhile.
        let transaction = connection.transaction()?;
        let encoding: String = transaction.query_row("PRAGMA encoding", [], |row| row.get(0))?;
        if encoding != "UTF-8" {
            self.damage(format!("says that its texts are {encoding}"));
        }
        self.pages(&transaction)?;
        for table in Table::ALL.map(|table| table as u8) {
            let sql = format!("SELECT key, value FROM rows WHERE tbl = {table} ORDER BY key");
            self.values(&transaction, &sql, |row| {
                Ok((blob(row, 0)?, unseal(&[b"row", &[table], &blob(row, 0)?], &blob(row, 1)?).is_some()))
            })?;
        }
        self.values(&transaction, "SELECT owner, value FROM owners", |row| {
            Ok((blob(row, 0)?, unseal(&[b"owner", &blob(row, 0)?], &blob(row, 1)?).is_some()))
        })?;
        self.values(&transaction, "SELECT owner, value, through FROM records ORDER BY owner, through", |row| {
            let through: i64 = row.get(2)?;
            let place: [&[u8]; 3] = [b"records", &blob(row, 0)?, &through.to_le_bytes()];
            Ok((blob(row, 0)?, unseal(&place, &blob(row, 1)?).is_some()))
        })?;
        if is_salvaged(&transaction)? {
            (self.tell)(Finding::note(FILE, "was salvaged, and the log is yet to be folded over it: that is done at the next opening"));
        }
        read_watermark(&transaction).or_else(|error| {
            if is_damage(&error) {
                self.damage("the checksum of its watermark does not hold");
                return Ok(None);
            }
            Err(error)
        })
    }

    fn pages(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(&format!("PRAGMA integrity_check({FINDINGS})"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let found: String = row.get(0)?;
            if found != "ok" {
                self.damage(found.replace('\n', " "));
            }
        }
        Ok(())
    }

    /// Visits values; the visitor answers with the key, and whether the checksum holds.
    fn values(
        &mut self,
        connection: &Connection,
        sql: &str,
        mut check: impl FnMut(&Row<'_>) -> rusqlite::Result<(Vec<u8>, bool)>,
    ) -> rusqlite::Result<()> {
        let table = sql.split_whitespace().skip_while(|word| *word != "FROM").nth(1).unwrap_or_default();
        let mut read = || -> rusqlite::Result<Vec<Vec<u8>>> {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut damaged = Vec::new();
            while let Some(row) = rows.next()? {
                self.verified.values += 1;
                let (key, is_good) = check(row)?;
                if !is_good {
                    damaged.push(key);
                }
            }
            Ok(damaged)
        };
        match read() {
            Ok(damaged) => damaged
                .iter()
                .for_each(|key| self.damage(format!("the checksum of {table} {:?} does not hold", key.escape_ascii().to_string()))),
            Err(error) if is_damage(&error) => self.damage(format!("{table} cannot be read to the end: {error}")),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// A text or a blob, whichever it is.
fn blob(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<u8>> {
    Ok(match row.get_ref(column)? {
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.to_vec(),
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => Vec::new(),
    })
}

fn open(path: &Path, is_in_use: bool) -> rusqlite::Result<Connection> {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let has_log = std::fs::metadata(log).is_ok_and(|log| log.len() > 0);
    let connection = match path.to_str().filter(|_| !is_in_use && !has_log) {
        // All of it is in the file: then nothing at all need be made beside it.
        Some(path) => {
            let escaped = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
            Connection::open_with_flags(format!("file:{escaped}?immutable=1"), flags | OpenFlags::SQLITE_OPEN_URI)?
        }
        None => Connection::open_with_flags(path, flags)?,
    };
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}
