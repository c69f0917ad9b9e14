//! The file of the tables: its schema, its values, and one fold.
//!
//! Constraints:
//! - Every value has a version and a checksum over its place and its bytes: what SQLite hands out is never believed without it.
//! - The layout is on disk and frozen; `docs/storage-format.md` draws it.

use std::{io, path::Path};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, ffi, params};

use super::{
    layer::Layer,
    wire::{Cursor, narrow},
};
use crate::contract::Offset;

const VERSION: i64 = 1;
const BLOB_VERSION: u8 = 1;

/// How long one user of the file waits for another.
pub(super) const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);

/// Pages that SQLite's own log may have before it is moved into the file.
pub(super) const LOG_PAGES: usize = 256;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS rows (tbl INTEGER NOT NULL, key BLOB NOT NULL, value BLOB NOT NULL, PRIMARY KEY (tbl, key)) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS owners (owner TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS records (owner TEXT NOT NULL, through INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (owner, through)) WITHOUT ROWID;
";

/// How far the tables have come: every frame before `sequence` is folded; `next` was the next offset then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watermark {
    pub(super) sequence: u64,
    pub(super) next: Offset,
}

/// A value with its version and its checksum.
pub(super) fn seal(place: &[&[u8]], value: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(5 + value.len());
    blob.push(BLOB_VERSION);
    blob.extend_from_slice(&blob_checksum(place, value).to_le_bytes());
    blob.extend_from_slice(value);
    blob
}

pub(super) fn unseal<'a>(place: &[&[u8]], blob: &'a [u8]) -> Option<&'a [u8]> {
    let mut cursor = Cursor::new(blob);
    let (version, checksum) = (cursor.u8()?, cursor.u32()?);
    (version == BLOB_VERSION && checksum == blob_checksum(place, cursor.rest())).then_some(cursor.rest())
}

fn blob_checksum(place: &[&[u8]], value: &[u8]) -> u32 {
    let start = place
        .iter()
        .fold(0, |checksum, part| crc32c::crc32c_append(crc32c::crc32c_append(checksum, &(part.len() as u64).to_le_bytes()), part));
    crc32c::crc32c_append(start, value)
}

/// Whether an error means that the file itself is bad. The statements are fixed: what is not the machine's trouble is the file's.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    let is_trouble = |code: ErrorCode| {
        use ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, OperationInterrupted, OutOfMemory, PermissionDenied, SystemIoFailure,
        };
        matches!(
            code,
            CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | OperationInterrupted | OutOfMemory | PermissionDenied | SystemIoFailure
        )
    };
    error.sqlite_error_code().is_none_or(|code| !is_trouble(code))
}

/// Opens the file, and makes it if it is not there.
pub(super) fn connect(path: &Path) -> rusqlite::Result<(Connection, Watermark)> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(PATIENCE)?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES.to_string())?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    let encoding: String = connection.query_row("PRAGMA encoding", [], |row| row.get(0))?;
    if encoding != "UTF-8" {
        return Err(damaged());
    }
    let watermark = read_watermark(&connection)?.unwrap_or(Watermark { sequence: 1, next: 1 });
    Ok((connection, watermark))
}

/// Moves all of SQLite's own log into the file.
pub(super) fn checkpoint(connection: &Connection) -> rusqlite::Result<()> {
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    if is_busy { Err(trouble(ffi::SQLITE_BUSY, "a reader holds on to SQLite's log".to_owned())) } else { Ok(()) }
}

/// What the operating system says, as SQLite would say it.
pub(super) fn disk_trouble(error: io::Error) -> rusqlite::Error {
    trouble(ffi::SQLITE_IOERR, error.to_string())
}

fn trouble(code: i32, why: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(code), Some(why))
}

/// Stands for a value that is not what was written.
pub(super) fn damaged() -> rusqlite::Error {
    rusqlite::Error::InvalidQuery
}

/// Looks at every page and at the order of all keys: a key that is out of order hides others from a search.
pub(super) fn check(connection: &Connection) -> rusqlite::Result<()> {
    let found: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(damaged()) }
}

/// Whether the file was salvaged, and the log was not folded over it yet.
pub(super) fn is_salvaged(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT count(*) FROM meta WHERE key = 'salvaged'", [], |row| row.get(0))
}

pub(super) fn read_watermark(connection: &Connection) -> rusqlite::Result<Option<Watermark>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = 'watermark'")?;
    let blob: Option<Vec<u8>> = statement.query_row([], |row| row.get(0)).optional()?;
    let Some(blob) = blob else { return Ok(None) };
    let decode = || {
        let mut cursor = Cursor::new(unseal(&[b"watermark"], &blob)?);
        Some(Watermark { sequence: cursor.u64()?, next: cursor.u64()? })
    };
    decode().map(Some).ok_or_else(damaged)
}

pub(super) fn fold_layer(transaction: &Transaction<'_>, layer: &Layer) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached("INSERT OR REPLACE INTO rows (tbl, key, value) VALUES (?1, ?2, ?3)")?;
    let mut delete = transaction.prepare_cached("DELETE FROM rows WHERE tbl = ?1 AND key = ?2")?;
    for ((table, key), value) in &layer.rows {
        let table = *table as u8;
        match value {
            Some(value) => put.execute(params![table, &key[..], seal(&[b"row", &[table], key], value)])?,
            None => delete.execute(params![table, &key[..]])?,
        };
    }
    let mut supersede = transaction.prepare_cached("DELETE FROM records WHERE owner = ?1")?;
    let mut claim = transaction.prepare_cached("INSERT OR REPLACE INTO owners (owner, value) VALUES (?1, ?2)")?;
    let mut record = transaction.prepare_cached("INSERT OR REPLACE INTO records (owner, through, value) VALUES (?1, ?2, ?3)")?;
    let through = layer.through.cast_signed();
    for (owner, change) in &layer.owners {
        if change.supersede {
            supersede.execute([&**owner])?;
        }
        // Of an owner without records the epoch stays: a later claim must not go below it.
        if let Some(epoch) = change.epoch {
            claim.execute(params![&**owner, seal(&[b"owner", owner.as_bytes()], &epoch.to_le_bytes())])?;
        }
        if !change.records.is_empty() {
            let place: [&[u8]; 3] = [b"records", owner.as_bytes(), &through.to_le_bytes()];
            record.execute(params![&**owner, through, seal(&place, &join(&change.records))])?;
        }
    }
    put_watermark(transaction, Watermark { sequence: layer.through, next: layer.next })
}

pub(super) fn put_watermark(transaction: &Transaction<'_>, watermark: Watermark) -> rusqlite::Result<()> {
    let value = [watermark.sequence.to_le_bytes(), watermark.next.to_le_bytes()].concat();
    let mut meta = transaction.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('watermark', ?1)")?;
    meta.execute([seal(&[b"watermark"], &value)])?;
    Ok(())
}

/// Records one after the other, each behind its length.
fn join(records: &[Bytes]) -> Vec<u8> {
    let mut joined = Vec::with_capacity(records.iter().map(|record| 4 + record.len()).sum());
    for record in records {
        joined.extend_from_slice(&narrow(record.len()).to_le_bytes());
        joined.extend_from_slice(record);
    }
    joined
}

pub(super) fn split(joined: &[u8]) -> Option<Vec<Bytes>> {
    let mut cursor = Cursor::new(joined);
    let mut records = Vec::new();
    while !cursor.rest().is_empty() {
        let length = usize::try_from(cursor.u32()?).ok()?;
        records.push(Bytes::copy_from_slice(cursor.take(length)?));
    }
    Some(records)
}
