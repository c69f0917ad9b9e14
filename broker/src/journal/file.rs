//! The file of the journal, and what is found in it.
//!
//! Constraints:
//! - An id is the time of arrival in microseconds, or one more than the last: order, page and age are one index.
//! - What was refused takes no more than half of the rows: whoever floods the edge with nonsense does not push out what was accepted.
//! - A damaged file is set aside under another name, of which there is one, and begun anew; a disk that is full or gone is tried again
//!   later. Neither is an error of anybody who posts.
//! - The layout is versioned: a file of another version is set aside.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use prost::Message as _;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, ToSql, Transaction, params, params_from_iter};
use tokio::time::Instant;
use waypost_proto::v1::{GetWebhookResponse, JournaledWebhook, WebhookOutcome};
use waypost_store::Micros;

use crate::limits;

const VERSION: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE webhooks (
        id INTEGER PRIMARY KEY, source TEXT NOT NULL, outcome INTEGER NOT NULL, reason TEXT NOT NULL,
        event_id TEXT NOT NULL, delivery_id TEXT NOT NULL, head BLOB NOT NULL, content BLOB NOT NULL);
    CREATE INDEX by_source ON webhooks (source, id);
    CREATE INDEX by_outcome ON webhooks (outcome, id);
    CREATE INDEX by_event ON webhooks (event_id, id) WHERE event_id <> '';
    CREATE INDEX by_delivery ON webhooks (delivery_id, id) WHERE delivery_id <> '';
";

/// Which requests; all conditions that are set must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Search {
    /// Of this source; empty for any.
    pub source: String,
    /// With this outcome; unspecified for any.
    pub outcome: WebhookOutcome,
    /// For this reason; empty for any.
    pub reason: String,
    /// That came at this time or later.
    pub since: Option<Micros>,
    /// That came before this time.
    pub until: Option<Micros>,
    /// Answered with this id; empty for any.
    pub event_id: String,
    /// Of this delivery; empty for any.
    pub delivery_id: String,
}

/// Why the file was not read or written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct FileError(String);

/// The file.
#[derive(Debug)]
pub(super) struct File {
    path: Option<PathBuf>,
    max_age: Duration,
    max_size: u64,
    state: Mutex<State>,
    damage: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    open: Option<Opened>,
    /// After trouble, when it is tried again.
    again: Option<Instant>,
}

#[derive(Debug)]
struct Opened {
    connection: Connection,
    last: i64,
    rows: i64,
    /// How many of them were refused.
    refused: i64,
}

impl File {
    pub(super) fn new(path: Option<PathBuf>, max_age: Duration, max_size: u64) -> Self {
        Self { path, max_age, max_size, state: Mutex::default(), damage: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    pub(super) fn damage(&self) -> u64 {
        self.damage.load(Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    /// Writes requests, in one step, and lets go of what is too old or too much.
    ///
    /// # Errors
    /// When they are not written.
    pub(super) fn write(&self, now: Micros, entries: Vec<GetWebhookResponse>) -> Result<(), FileError> {
        self.with(|opened| {
            let transaction = opened.connection.transaction()?;
            for entry in &entries {
                let refused = insert(&transaction, &mut opened.last, entry)?;
                opened.rows += 1;
                opened.refused += i64::from(refused);
            }
            transaction.commit()?;
            self.prune(now, opened)
        })
    }

    /// As [`Journal::list`](super::Journal::list).
    pub(super) fn list(&self, search: &Search, before: Option<i64>, size: usize) -> Result<Vec<JournaledWebhook>, FileError> {
        let (sql, values) = query(search, before, size);
        self.with(|opened| {
            let mut statement = opened.connection.prepare_cached(&sql)?;
            let found = statement.query_map(params_from_iter(values.iter().map(|value| &**value)), head)?;
            found.collect()
        })
    }

    /// As [`Journal::get`](super::Journal::get).
    pub(super) fn get(&self, id: i64) -> Result<Option<GetWebhookResponse>, FileError> {
        self.with(|opened| {
            let row = |row: &Row<'_>| Ok((head(row)?, row.get::<_, Vec<u8>>(2)?));
            let found = opened.connection.query_row("SELECT id, head, content FROM webhooks WHERE id = ?1", params![id], row).optional()?;
            Ok(found.map(|(webhook, content)| {
                let content = GetWebhookResponse::decode(&*content).unwrap_or_default();
                GetWebhookResponse { webhook: Some(webhook), ..content }
            }))
        })
    }

    /// Opens the file if it is not open, and works on it. A file that turns out to be damaged is set aside, and the work done once more, on a
    /// new one.
    fn with<T>(&self, mut work: impl FnMut(&mut Opened) -> rusqlite::Result<T>) -> Result<T, FileError> {
        let mut state = self.state();
        let mut try_once = |state: &mut State| match &mut state.open {
            Some(opened) => work(opened),
            None => work(state.open.insert(self.open()?)),
        };
        if state.again.is_some_and(|again| Instant::now() < again) {
            return Err(FileError("it could not be written a moment ago".to_owned()));
        }
        let error = match try_once(&mut state) {
            Ok(done) => {
                state.again = None;
                return Ok(done);
            }
            Err(error) => error,
        };
        // What is remembered of it is not to be relied on any more.
        state.open = None;
        let error = match is_damage(&error) {
            true => {
                self.set_aside(&error);
                match try_once(&mut state) {
                    Ok(done) => return Ok(done),
                    Err(error) => error,
                }
            }
            false => error,
        };
        state.open = None;
        state.again = Some(Instant::now() + limits::JOURNAL_RETRY);
        tracing::warn!(%error, "the journal of webhooks cannot be written; webhooks are not concerned, and it is tried again");
        Err(FileError(error.to_string()))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open(&self) -> rusqlite::Result<Opened> {
        let connection = match &self.path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        connection.busy_timeout(Duration::from_secs(1))?;
        let version: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if version == 0 {
            connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        connection.query_row("PRAGMA journal_mode = WAL", [], |_| Ok(()))?;
        // What a power cut takes is the last moments of the journal, which nobody was promised.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.pragma_update(None, "journal_size_limit", limits::JOURNAL_LOG_BYTES)?;
        match version {
            0 => {
                connection.execute_batch(&format!("BEGIN; {SCHEMA} PRAGMA user_version = {VERSION}; COMMIT"))?;
            }
            VERSION => {}
            _ => return Err(rusqlite::Error::InvalidQuery),
        }
        let last = connection.query_row("SELECT COALESCE(MAX(id), 0) FROM webhooks", [], |row| row.get(0))?;
        let count = |condition: &str| connection.query_row(&format!("SELECT COUNT(*) FROM webhooks {condition}"), [], |row| row.get(0));
        let (rows, refused) = (count("")?, count(&format!("WHERE outcome = {}", WebhookOutcome::Refused as i32))?);
        Ok(Opened { connection, last, rows, refused })
    }

    /// Puts a damaged file out of the way, in the place of an earlier one.
    fn set_aside(&self, error: &rusqlite::Error) {
        self.damage.fetch_add(1, Relaxed);
        let Some(path) = &self.path else { return };
        let aside = with_suffix(path, ".damaged");
        tracing::error!(%error, file = %path.display(), aside = %aside.display(), "the journal of webhooks is damaged; it is set aside and begun anew");
        if let Err(error) = std::fs::rename(path, &aside) {
            tracing::error!(%error, "the damaged journal cannot be set aside");
        }
        // Without its file, SQLite's own log means nothing.
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(with_suffix(path, suffix));
        }
    }

    fn prune(&self, now: Micros, opened: &mut Opened) -> rusqlite::Result<()> {
        let now = opened.last.max(i64::try_from(now).unwrap_or(i64::MAX));
        let oldest = now.saturating_sub(i64::try_from(self.max_age.as_micros()).unwrap_or(i64::MAX));
        opened.delete("WHERE id < ?1", oldest)?;
        let mut bytes = used(&opened.connection)?;
        while bytes > self.max_size && opened.rows > 0 {
            let which = if opened.refused > opened.rows / 2 { "WHERE outcome = ?1" } else { "WHERE ?1 = ?1" };
            opened.delete(which, i64::from(WebhookOutcome::Refused as i32))?;
            bytes = used(&opened.connection)?;
        }
        opened.connection.execute_batch(&format!("PRAGMA incremental_vacuum({})", limits::JOURNAL_VACUUM_PAGES))?;
        self.bytes.store(bytes, Relaxed);
        Ok(())
    }
}

impl Opened {
    /// Lets go of some of the oldest of a selection.
    fn delete(&mut self, which: &str, value: i64) -> rusqlite::Result<()> {
        let sql = format!(
            "DELETE FROM webhooks WHERE id IN (SELECT id FROM webhooks {which} ORDER BY id LIMIT {}) RETURNING outcome",
            limits::JOURNAL_BATCH
        );
        let mut statement = self.connection.prepare_cached(&sql)?;
        let outcomes: Vec<i32> = statement.query_map(params![value], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        self.rows -= i64::try_from(outcomes.len()).unwrap_or(i64::MAX);
        self.refused -= outcomes.iter().map(|outcome| i64::from(*outcome == WebhookOutcome::Refused as i32)).sum::<i64>();
        Ok(())
    }
}

/// Whether it was refused.
fn insert(transaction: &Transaction<'_>, last: &mut i64, entry: &GetWebhookResponse) -> rusqlite::Result<bool> {
    let webhook = entry.webhook.clone().unwrap_or_default();
    let id = (*last + 1).max(arrived(&webhook));
    let content = GetWebhookResponse { webhook: None, ..entry.clone() }.encode_to_vec();
    let mut statement = transaction.prepare_cached("INSERT INTO webhooks VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    let JournaledWebhook { source, outcome, reason, event_id, delivery_id, .. } = &webhook;
    statement.execute(params![id, source, outcome, reason, event_id, delivery_id, webhook.encode_to_vec(), content])?;
    *last = id;
    Ok(webhook.outcome() == WebhookOutcome::Refused)
}

fn arrived(webhook: &JournaledWebhook) -> i64 {
    webhook.received_at.map_or(0, |at| at.seconds.saturating_mul(1_000_000).saturating_add(i64::from(at.nanos / 1_000)))
}

/// A row that begins with its id and its head.
fn head(row: &Row<'_>) -> rusqlite::Result<JournaledWebhook> {
    let (id, head): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
    // One whose bytes are not what they were is shown as far as it can be told: by its id.
    let webhook = JournaledWebhook::decode(&*head).unwrap_or_default();
    Ok(JournaledWebhook { id: id.to_string(), ..webhook })
}

fn query(search: &Search, before: Option<i64>, size: usize) -> (String, Vec<Box<dyn ToSql>>) {
    let Search { source, outcome, reason, since, until, event_id, delivery_id } = search;
    let (mut conditions, mut values): (Vec<&str>, Vec<Box<dyn ToSql>>) = (vec!["id < ?", "id >= ?"], Vec::new());
    let micros = |time: &Micros| i64::try_from(*time).unwrap_or(i64::MAX);
    values.push(Box::new(before.unwrap_or(i64::MAX).min(until.as_ref().map_or(i64::MAX, micros))));
    values.push(Box::new(since.as_ref().map_or(0, micros)));
    if *outcome != WebhookOutcome::Unspecified {
        conditions.push("outcome = ?");
        values.push(Box::new(*outcome as i32));
    }
    // The condition on the empty text is what lets the index be used that leaves those out.
    for (condition, text) in [
        ("source = ?", source),
        ("reason = ?", reason),
        ("event_id <> '' AND event_id = ?", event_id),
        ("delivery_id <> '' AND delivery_id = ?", delivery_id),
    ] {
        if !text.is_empty() {
            conditions.push(condition);
            values.push(Box::new(text.clone()));
        }
    }
    (format!("SELECT id, head FROM webhooks WHERE {} ORDER BY id DESC LIMIT {size}", conditions.join(" AND ")), values)
}

/// Bytes that rows and indexes take; what is free in the file is given back little by little.
fn used(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// Whether an error means that the file itself is bad, and not the machine in trouble.
fn is_damage(error: &rusqlite::Error) -> bool {
    use ErrorCode::{
        CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, FileLockingProtocolFailed, OperationInterrupted, OutOfMemory, PermissionDenied,
        ReadOnly, SystemIoFailure,
    };
    let is_trouble = |code| {
        matches!(
            code,
            CannotOpen
                | DatabaseBusy
                | DatabaseLocked
                | DiskFull
                | FileLockingProtocolFailed
                | OperationInterrupted
                | OutOfMemory
                | PermissionDenied
                | ReadOnly
                | SystemIoFailure
        )
    };
    error.sqlite_error_code().is_none_or(|code| !is_trouble(code))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
