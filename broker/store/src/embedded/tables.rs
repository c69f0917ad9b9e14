//! The tables: rows and records, folded from durable frames into SQLite.
//!
//! Constraints:
//! - Folding happens off the write path, rows and watermark in one transaction, `synchronous = FULL`. Only durable frames are folded.
//! - What is answered is what SQLite has, with the layers that it does not have yet laid over it.
//! - Every blob has a version and a checksum over its place and its value, verified when it is read (P14).
//! - A damaged file is set aside, never removed, and made again from the log as far as the log goes back.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, params};

use super::{
    home::Damage,
    layer::{Layer, OwnerChange},
    wire::{Cursor, narrow},
};
use crate::contract::{Offset, Row, Table};

/// The name of the file. SQLite adds its own beside it.
pub(super) const FILE: &str = "tables.db";
const VERSION: i64 = 1;
const BLOB_VERSION: u8 = 1;

/// Pages that SQLite's own log may have before it is moved into the file.
const LOG_PAGES: usize = 256;

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

/// The layers over SQLite.
struct Layers {
    open: Layer,
    /// Being folded: no change comes any more.
    folding: Option<Arc<Layer>>,
}

/// The tables and what lies over them.
pub(super) struct Tables {
    path: PathBuf,
    /// Bytes that SQLite's own log may have.
    log_bytes: u64,
    writer: Mutex<Connection>,
    reader: Mutex<Connection>,
    layers: Mutex<Layers>,
    watermark: Mutex<Watermark>,
    damage: Arc<Damage>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A value with its version and its checksum.
fn seal(place: &[&[u8]], value: &[u8]) -> Vec<u8> {
    let mut blob = Vec::with_capacity(5 + value.len());
    blob.push(BLOB_VERSION);
    blob.extend_from_slice(&blob_checksum(place, value).to_le_bytes());
    blob.extend_from_slice(value);
    blob
}

fn unseal<'a>(place: &[&[u8]], blob: &'a [u8]) -> Option<&'a [u8]> {
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

/// Whether SQLite says that the file itself is bad.
fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

impl Tables {
    /// Opens the tables of a directory. A damaged file is set aside and replaced by an empty one; the watermark then says that the log
    /// has to be folded from its beginning.
    pub(super) fn open(directory: &Path, fold_bytes: usize, damage: Arc<Damage>) -> rusqlite::Result<Self> {
        let path = directory.join(FILE);
        let (writer, watermark) = match connect(&path) {
            Ok(opened) => opened,
            Err(error) => {
                let is_bad =
                    is_damage(&error) || matches!(error, rusqlite::Error::InvalidQuery | rusqlite::Error::FromSqlConversionFailure(..));
                if !is_bad {
                    return Err(error);
                }
                damage.report(FILE, &format!("set aside as {FILE}.damaged; what the log still has is folded again: {error}"));
                for suffix in ["", "-wal", "-shm"] {
                    let from = directory.join(format!("{FILE}{suffix}"));
                    // Not being there is fine; anything else shows when the new file is made.
                    let _ = std::fs::rename(from, directory.join(format!("{FILE}.damaged{suffix}")));
                }
                connect(&path)?
            }
        };
        let reader = Connection::open(&path)?;
        let layers = Layers { open: Layer::after(watermark.sequence, watermark.next), folding: None };
        Ok(Self {
            path,
            log_bytes: (LOG_PAGES * 4096 + fold_bytes) as u64,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            layers: Mutex::new(layers),
            watermark: Mutex::new(watermark),
            damage,
        })
    }

    pub(super) fn watermark(&self) -> Watermark {
        *lock(&self.watermark)
    }

    /// Bytes of the files.
    pub(super) fn bytes(&self) -> u64 {
        let size = |suffix: &str| {
            let mut path = self.path.clone().into_os_string();
            path.push(suffix);
            std::fs::metadata(path).map_or(0, |metadata| metadata.len())
        };
        let rest: u64 = ["", "-shm", ".damaged", ".damaged-wal"].into_iter().map(size).sum();
        // SQLite's log comes and goes: it counts with what it may have.
        rest + size("-wal").max(self.log_bytes)
    }

    /// Takes in the changes of a durable frame: those of every frame before `through` are then here.
    pub(super) fn apply(&self, changes: impl IntoIterator<Item = super::item::Change>, through: u64, next: Offset) {
        let mut layers = lock(&self.layers);
        changes.into_iter().for_each(|change| layers.open.apply(change));
        layers.open.through = layers.open.through.max(through);
        layers.open.next = layers.open.next.max(next);
    }

    /// Bytes that are not folded yet.
    pub(super) fn unfolded(&self) -> usize {
        let layers = lock(&self.layers);
        layers.open.bytes + layers.folding.as_ref().map_or(0, |layer| layer.bytes)
    }

    /// Folds everything that is durable now.
    pub(super) fn fold(&self) -> rusqlite::Result<()> {
        let mut writer = lock(&self.writer);
        loop {
            let layer = {
                let mut layers = lock(&self.layers);
                let Layers { open, folding } = &mut *layers;
                match folding {
                    Some(layer) => layer.clone(),
                    None if open.through <= self.watermark().sequence => return Ok(()),
                    None => {
                        let empty = Layer::after(open.through, open.next);
                        folding.insert(Arc::new(std::mem::replace(open, empty))).clone()
                    }
                }
            };
            let transaction = writer.transaction()?;
            fold_layer(&transaction, &layer)?;
            transaction.commit()?;
            *lock(&self.watermark) = Watermark { sequence: layer.through, next: layer.next };
            lock(&self.layers).folding = None;
        }
    }

    /// Moves what is folded from SQLite's log into its file, so that a segment may go: a damaged log would take folded frames with it.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        lock(&self.writer).query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
    }

    /// The epochs of all owners.
    pub(super) fn epochs(&self) -> rusqlite::Result<Vec<(Arc<str>, u64)>> {
        let reader = lock(&self.reader);
        let mut statement = reader.prepare("SELECT owner, value FROM owners")?;
        let mut rows = statement.query([])?;
        let mut epochs = Vec::new();
        while let Some(row) = rows.next()? {
            let (Ok(owner), Ok(blob)) = (row.get_ref(0)?.as_str(), row.get_ref(1)?.as_blob()) else { continue };
            match unseal(&[b"owner", owner.as_bytes()], blob).and_then(|value| Cursor::new(value).u64()) {
                Some(epoch) => epochs.push((Arc::from(owner), epoch)),
                None => self.damage.report(FILE, &format!("the epoch of {owner:?} is lost; its claims are void")),
            }
        }
        let layers = lock(&self.layers);
        let newer = layers.folding.as_deref().into_iter().chain([&layers.open]).flat_map(|layer| &layer.owners);
        epochs.extend(newer.filter_map(|(owner, change)| Some((owner.clone(), change.epoch?))));
        Ok(epochs)
    }

    /// The records of an owner, oldest first.
    pub(super) fn records(&self, owner: &str) -> rusqlite::Result<Vec<Bytes>> {
        let layers: Vec<(u64, OwnerChange)> = {
            let layers = lock(&self.layers);
            let both = layers.folding.as_deref().into_iter().chain([&layers.open]);
            both.filter_map(|layer| Some((layer.through, layer.owners.get(owner)?.clone()))).collect()
        };
        let mut reader = lock(&self.reader);
        let transaction = reader.transaction()?;
        let folded = read_watermark(&transaction)?.map_or(0, |watermark| watermark.sequence);
        let mut records = Vec::new();
        let over: Vec<OwnerChange> = layers.into_iter().filter(|(through, _)| *through > folded).map(|(_, change)| change).collect();
        if !over.iter().any(|change| change.supersede) {
            records = self.folded_records(&transaction, owner)?;
        }
        for change in over {
            if change.supersede {
                records.clear();
            }
            records.extend(change.records);
        }
        Ok(records)
    }

    /// What SQLite has of an owner. Behind a damaged blob nothing is served: what is before it is a state that the owner had, which may
    /// bring settled events back but loses none.
    fn folded_records(&self, transaction: &Transaction<'_>, owner: &str) -> rusqlite::Result<Vec<Bytes>> {
        let mut statement = transaction.prepare_cached("SELECT through, value FROM records WHERE owner = ?1 ORDER BY through")?;
        let mut rows = statement.query([owner])?;
        let mut records = Vec::new();
        while let Some(row) = rows.next()? {
            let through: i64 = row.get(0)?;
            let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
            match unseal(&[b"records", owner.as_bytes(), &through.to_le_bytes()], blob).and_then(split) {
                Some(chunk) => records.extend(chunk),
                None => {
                    self.damage.report(FILE, &format!("records of {owner:?} are lost; settled events may come back"));
                    break;
                }
            }
        }
        Ok(records)
    }

    /// Rows of a table, in key order.
    pub(super) fn scan(&self, table: Table, from: &[u8], limit: usize) -> rusqlite::Result<Vec<Row>> {
        let mut over: Vec<(u64, BTreeMap<Bytes, Option<Bytes>>)> = Vec::new();
        {
            let layers = lock(&self.layers);
            for layer in layers.folding.as_deref().into_iter().chain([&layers.open]) {
                let mut rows = BTreeMap::new();
                layer.overlay(table, from, &mut rows);
                over.push((layer.through, rows));
            }
        }
        let mut reader = lock(&self.reader);
        let transaction = reader.transaction()?;
        let folded = read_watermark(&transaction)?.map_or(0, |watermark| watermark.sequence);
        let mut changed = BTreeMap::new();
        over.into_iter().filter(|(through, _)| *through > folded).for_each(|(_, rows)| changed.extend(rows));
        self.merge(&transaction, table, from, limit, changed)
    }

    fn merge(
        &self,
        transaction: &Transaction<'_>,
        table: Table,
        from: &[u8],
        limit: usize,
        changed: BTreeMap<Bytes, Option<Bytes>>,
    ) -> rusqlite::Result<Vec<Row>> {
        let mut statement = transaction.prepare_cached("SELECT key, value FROM rows WHERE tbl = ?1 AND key >= ?2 ORDER BY key")?;
        let mut folded = statement.query(params![table as u8, from])?;
        let mut changed = changed.into_iter().peekable();
        let mut rows = Vec::new();
        let mut next = self.next_row(&mut folded, table)?;
        while rows.len() < limit {
            let takes_change = match (&next, changed.peek()) {
                (None, None) => break,
                (Some(row), Some((key, _))) => *key <= row.key,
                (None, Some(_)) => true,
                (Some(_), None) => false,
            };
            if !takes_change {
                rows.extend(next.take());
                next = self.next_row(&mut folded, table)?;
            } else if let Some((key, value)) = changed.next() {
                if next.as_ref().is_some_and(|row| row.key == key) {
                    next = self.next_row(&mut folded, table)?;
                }
                rows.extend(value.map(|value| Row { key, value }));
            }
        }
        Ok(rows)
    }

    /// The next row whose checksum holds.
    fn next_row(&self, rows: &mut rusqlite::Rows<'_>, table: Table) -> rusqlite::Result<Option<Row>> {
        while let Some(row) = rows.next()? {
            let key = row.get_ref(0)?.as_blob().unwrap_or_default();
            let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
            match unseal(&[b"row", &[table as u8], key], blob) {
                Some(value) => return Ok(Some(Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) })),
                None => self.damage.report(FILE, &format!("a row of {table:?} is lost")),
            }
        }
        Ok(None)
    }

    /// Says what an error means, and counts it if it is damage.
    pub(super) fn explain(&self, error: &rusqlite::Error) -> String {
        if is_damage(error) {
            self.damage.report(FILE, "the tables cannot be read");
        }
        format!("the tables: {error}")
    }
}

/// Opens the file, and makes it if it is not there.
fn connect(path: &Path) -> rusqlite::Result<(Connection, Watermark)> {
    let connection = Connection::open(path)?;
    connection.busy_timeout(std::time::Duration::from_secs(10))?;
    connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", LOG_PAGES.to_string())?;
    let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    if version != VERSION {
        connection.execute_batch(SCHEMA)?;
        connection.pragma_update(None, "user_version", VERSION)?;
    }
    let watermark = read_watermark(&connection)?.unwrap_or(Watermark { sequence: 1, next: 1 });
    Ok((connection, watermark))
}

/// `InvalidQuery` stands for a watermark that is not one.
fn read_watermark(connection: &Connection) -> rusqlite::Result<Option<Watermark>> {
    let mut statement = connection.prepare_cached("SELECT value FROM meta WHERE key = 'watermark'")?;
    let blob: Option<Vec<u8>> = statement.query_row([], |row| row.get(0)).optional()?;
    let Some(blob) = blob else { return Ok(None) };
    let decode = || {
        let mut cursor = Cursor::new(unseal(&[b"watermark"], &blob)?);
        Some(Watermark { sequence: cursor.u64()?, next: cursor.u64()? })
    };
    decode().map(Some).ok_or(rusqlite::Error::InvalidQuery)
}

fn fold_layer(transaction: &Transaction<'_>, layer: &Layer) -> rusqlite::Result<()> {
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
    let watermark = [layer.through.to_le_bytes(), layer.next.to_le_bytes()].concat();
    let mut meta = transaction.prepare_cached("INSERT OR REPLACE INTO meta (key, value) VALUES ('watermark', ?1)")?;
    meta.execute([seal(&[b"watermark"], &watermark)])?;
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

fn split(joined: &[u8]) -> Option<Vec<Bytes>> {
    let mut cursor = Cursor::new(joined);
    let mut records = Vec::new();
    while !cursor.rest().is_empty() {
        let length = usize::try_from(cursor.u32()?).ok()?;
        records.push(Bytes::copy_from_slice(cursor.take(length)?));
    }
    Some(records)
}
