//! The tables: rows and records, folded from durable frames into SQLite.
//!
//! Constraints:
//! - Folding happens off the write path, rows and watermark in one transaction, `synchronous = FULL`. Only durable frames are folded.
//! - What is answered is what SQLite has, with the layers that it does not have yet laid over it.
//! - Every blob has a version and a checksum over its place and its value, verified when it is read (P14).
//! - A damaged file is set aside. A new one gets what can be read of it, and what the log still has: see [`Shared::repairing`].
//!
//! [`Shared::repairing`]: super::view::Shared::repairing

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, Transaction, params};

use super::{
    home::Damage,
    layer::{Layer, OwnerChange},
    salvage::{Salvaged, salvage, take_name},
    table_file::{
        LOG_PAGES, PATIENCE, Watermark, check, checkpoint, connect, damaged, fold_layer, is_damage, is_salvaged, read_watermark, split,
        unseal,
    },
    wire::Cursor,
};
use crate::contract::{Offset, Row, Table};

/// The name of the file. SQLite adds its own beside it.
pub(super) const FILE: &str = "tables.db";

/// How long a checkpoint waits for readers.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(1);

/// Up to this size, opening looks at every page.
const CHECKED_BYTES: u64 = 32 << 20;

/// The layers over SQLite.
struct Layers {
    open: Layer,
    /// Whether what came before the log's first frame is lost: then the records of an owner count only once they were superseded.
    is_base_lost: bool,
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
    /// Read by whoever uses the file, written by whoever repairs it.
    pub(super) repair: RwLock<Repair>,
    damage: Arc<Damage>,
}

/// How the file is.
#[derive(Clone, Copy)]
pub(super) struct Repair {
    /// How many times it was repaired since it was opened.
    pub(super) done: u64,
    pub(super) condition: Condition,
}

/// Whether the file may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    Good,
    /// What can be read of it must go into a new file first.
    Damaged,
    /// That was done, and it lacks what the log has still.
    Salvaged,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tables {
    /// Opens the tables of a directory. What can be read of a damaged file is in a new one then; see [`Condition::Salvaged`].
    pub(super) fn open(directory: &Path, fold_bytes: usize, damage: Arc<Damage>) -> rusqlite::Result<Self> {
        let path = directory.join(FILE);
        take_name(directory)?;
        let opened = connect(&path).and_then(|opened| {
            if std::fs::metadata(&path).is_ok_and(|file| file.len() <= CHECKED_BYTES) {
                check(&opened.0)?;
            }
            Ok(opened)
        });
        let (writer, watermark) = match opened {
            Ok(opened) => opened,
            Err(error) if is_damage(&error) => {
                replace(directory, &damage, &error)?;
                connect(&path)?
            }
            Err(error) => return Err(error),
        };
        let reader = Connection::open(&path)?;
        let condition = if is_salvaged(&writer)? { Condition::Salvaged } else { Condition::Good };
        let repair = RwLock::new(Repair { done: 0, condition });
        let layers = Layers { open: Layer::after(watermark.sequence, watermark.next), is_base_lost: false, folding: None };
        Ok(Self {
            path,
            log_bytes: (LOG_PAGES * 4096 + fold_bytes) as u64,
            writer: Mutex::new(writer),
            reader: Mutex::new(reader),
            layers: Mutex::new(layers),
            watermark: Mutex::new(watermark),
            repair,
            damage,
        })
    }

    /// Replaces the damaged file by one with what can be read of it, while the store runs. Nothing is lost of the layers.
    pub(super) fn salvage(&self, error: &rusqlite::Error) -> rusqlite::Result<()> {
        let (mut writer, mut reader) = (lock(&self.writer), lock(&self.reader));
        // Nobody may have the file open meanwhile.
        *writer = Connection::open_in_memory()?;
        *reader = Connection::open_in_memory()?;
        replace(self.path.parent().unwrap_or(Path::new(".")), &self.damage, error)?;
        *writer = connect(&self.path)?.0;
        *reader = Connection::open(&self.path)?;
        Ok(())
    }

    /// How far the file has come, by its own account: after a salvage it can be less than was folded.
    pub(super) fn watermark_in_file(&self) -> rusqlite::Result<Watermark> {
        Ok(read_watermark(&lock(&self.writer))?.unwrap_or(Watermark { sequence: 1, next: 1 }))
    }

    /// Folds layers over a salvaged file: what it lacks of what was folded.
    pub(super) fn fold_over(&self, layers: &[Layer]) -> rusqlite::Result<()> {
        let mut writer = lock(&self.writer);
        let transaction = writer.transaction()?;
        for layer in layers {
            fold_layer(&transaction, layer)?;
        }
        transaction.execute("DELETE FROM meta WHERE key = 'salvaged'", [])?;
        transaction.commit()
    }

    /// Whether opening did not look at every page.
    pub(super) fn is_unchecked(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|file| file.len() > CHECKED_BYTES)
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

    /// Takes in the changes of a durable frame: those of every frame before `through` are then here. If they are already, nothing changes.
    pub(super) fn apply(&self, changes: impl IntoIterator<Item = super::item::Change>, through: u64, next: Offset) {
        let mut layers = lock(&self.layers);
        if through <= layers.open.through {
            return;
        }
        let is_base_lost = layers.is_base_lost;
        for change in changes {
            let follows_nothing = is_base_lost
                && matches!(&change, super::item::Change::Records { owner, supersede: false, .. }
                    if layers.open.owners.get(owner).is_none_or(|owner| !owner.supersede));
            if !follows_nothing {
                layers.open.apply(change);
            }
        }
        layers.open.through = through;
        layers.open.next = layers.open.next.max(next);
    }

    /// Says whether what came before the frames that are applied from now on is lost.
    pub(super) fn base_is_lost(&self, is_lost: bool) {
        lock(&self.layers).is_base_lost = is_lost;
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
                let Layers { open, folding, .. } = &mut *layers;
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
    /// Somebody who reads for long (a backup, a verification) is waited for no longer than folding can do without.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        let writer = lock(&self.writer);
        writer.busy_timeout(CHECKPOINT_PATIENCE)?;
        let done = checkpoint(&writer);
        writer.busy_timeout(PATIENCE)?;
        done
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
            records = folded_records(&transaction, owner)?;
        }
        for change in over {
            if change.supersede {
                records.clear();
            }
            records.extend(change.records);
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
        merge(&transaction, table, from, limit, changed)
    }
}

/// What SQLite has of an owner.
fn folded_records(transaction: &Transaction<'_>, owner: &str) -> rusqlite::Result<Vec<Bytes>> {
    let mut statement = transaction.prepare_cached("SELECT through, value FROM records WHERE owner = ?1 ORDER BY through")?;
    let mut rows = statement.query([owner])?;
    let mut records = Vec::new();
    while let Some(row) = rows.next()? {
        let through: i64 = row.get(0)?;
        let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
        match unseal(&[b"records", owner.as_bytes(), &through.to_le_bytes()], blob).and_then(split) {
            Some(chunk) => records.extend(chunk),
            // After a repair there is none.
            None => return Err(damaged()),
        }
    }
    Ok(records)
}

fn merge(
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
    let mut next = next_row(&mut folded, table, None)?;
    while rows.len() < limit {
        let takes_change = match (&next, changed.peek()) {
            (None, None) => break,
            (Some(row), Some((key, _))) => *key <= row.key,
            (None, Some(_)) => true,
            (Some(_), None) => false,
        };
        if !takes_change {
            let row = next.take();
            next = next_row(&mut folded, table, row.as_ref())?;
            rows.extend(row);
        } else if let Some((key, value)) = changed.next() {
            if let Some(replaced) = next.take_if(|row| row.key == key) {
                next = next_row(&mut folded, table, Some(&replaced))?;
            }
            rows.extend(value.map(|value| Row { key, value }));
        }
    }
    Ok(rows)
}

/// The next row. One that is not behind the last shows that the file is damaged: out of order, keys hide others.
fn next_row(rows: &mut rusqlite::Rows<'_>, table: Table, last: Option<&Row>) -> rusqlite::Result<Option<Row>> {
    let Some(row) = rows.next()? else { return Ok(None) };
    let key = row.get_ref(0)?.as_blob().unwrap_or_default();
    if last.is_some_and(|last| *key <= *last.key) {
        return Err(damaged());
    }
    let blob = row.get_ref(1)?.as_blob().unwrap_or_default();
    let value = unseal(&[b"row", &[table as u8], key], blob).ok_or_else(damaged)?;
    Ok(Some(Row { key: Bytes::copy_from_slice(key), value: Bytes::copy_from_slice(value) }))
}

/// Says what an error means.
pub(super) fn explain(error: &rusqlite::Error) -> String {
    format!("the tables: {error}")
}

/// Puts a file with what can be read of the damaged one in its place, and reports it.
fn replace(directory: &Path, damage: &Damage, error: &rusqlite::Error) -> rusqlite::Result<()> {
    if let Some(Salvaged { kept, lost, broken }) = salvage(directory)? {
        let cost = format!(
            "{error}. {kept} values were salvaged into a new file, {lost} were damaged, {broken} places could not be read; what the log still \
             has is folded over it. What is in neither is lost: settled events may come back. The damaged file is kept as {FILE}.damaged"
        );
        damage.report(FILE, &cost);
    }
    take_name(directory)
}
