//! Where notes are handed in, and what the journal is asked.
//!
//! Constraint: handing in takes no lock and never waits.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use http::HeaderName;
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use waypost_proto::v1::{GetWebhookResponse, JournaledWebhook, WebhookOutcome};

use super::{
    Decided, Note, Search, Writer,
    file::{File, FileError},
    mask::{PathPattern, Rules},
};
use crate::{
    access::Rate,
    clock::Clock,
    ingress::{LiveSources, Source},
    limits,
};

/// What an operator sets.
#[derive(Clone, Debug)]
pub struct JournalRules {
    /// The file; without one, everything is forgotten at the end.
    pub file: Option<PathBuf>,
    /// How long a request is kept.
    pub max_age: Duration,
    /// The most bytes of the file.
    pub max_size: u64,
    /// The most bytes that are kept of a body.
    pub max_body: usize,
    /// Headers whose values are masked, beside those that always are.
    pub mask_headers: Vec<HeaderName>,
    /// Values of payloads that are masked.
    pub mask_paths: Vec<PathPattern>,
}

/// Why the journal does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// There is none.
    #[error("the journal of webhooks is turned off; journal.enabled = true turns it on with the next start")]
    Off,
    /// It cannot be read.
    #[error("the journal of webhooks cannot be read: {0}; what was kept is set aside if it is damaged; try again")]
    Unreadable(String),
}

/// What became of notes, since the broker started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// They are in the file.
    pub written: u64,
    /// They came faster than they could be written.
    pub dropped: u64,
    /// The file could not be written.
    pub failed: u64,
    /// How many times a file was set aside because it was damaged.
    pub damage: u64,
    /// The bytes that the file uses.
    pub bytes: u64,
}

/// Where the edge hands its notes in. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Journal(Option<Arc<Inner>>);

#[derive(Debug)]
struct Inner {
    queue: mpsc::Sender<Message>,
    shared: Arc<Shared>,
}

/// What the queue and the writer have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rules: JournalRules,
    pub(super) sources: LiveSources,
    pub(super) clock: Clock,
    pub(super) file: File,
    /// Bytes of notes that wait.
    pub(super) waiting: AtomicUsize,
    /// How many notes are taken: sanitising and writing one costs about as much as the webhook did.
    pace: Rate,
    /// How many of requests that were refused: anybody can send those, and they must not take the place of the others.
    refused_pace: Rate,
    /// How many signatures that do not fit are looked into.
    pub(super) findings: Rate,
    pub(super) written: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) failed: AtomicU64,
}

/// What waits to be written.
#[derive(Debug)]
pub(super) enum Message {
    Note(Box<Note>),
    /// Answered once everything before it is written.
    Flush(oneshot::Sender<()>),
}

impl Journal {
    /// None: nothing is kept, and nothing costs anything.
    #[must_use]
    pub fn off() -> Self {
        Self(None)
    }

    /// One for the requests of these sources. Who starts the broker runs the [`Writer`]; the file is opened when it first writes.
    #[must_use]
    pub fn new(rules: JournalRules, sources: LiveSources, clock: Clock) -> (Self, Writer) {
        let (queue, waiting) = mpsc::channel(limits::JOURNAL_QUEUE);
        let file = File::new(rules.file.clone(), rules.max_age, rules.max_size);
        let [written, dropped, failed] = [const { AtomicU64::new(0) }; 3];
        let shared = Arc::new(Shared {
            rules,
            sources,
            clock,
            file,
            pace: Rate::new(limits::JOURNAL_NOTES_PER_SECOND),
            refused_pace: Rate::new(limits::JOURNAL_NOTES_PER_SECOND),
            findings: Rate::new(limits::JOURNAL_FINDINGS_PER_SECOND),
            waiting: AtomicUsize::new(0),
            written,
            dropped,
            failed,
        });
        (Self(Some(Arc::new(Inner { queue, shared: Arc::clone(&shared) }))), Writer::new(waiting, shared))
    }

    /// Whether there is one.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Hands a note in, or drops it if there is no room; then it is not even made.
    pub fn note(&self, decided: Decided, note: impl FnOnce() -> Note) {
        let Some(inner) = &self.0 else { return };
        let shared = &inner.shared;
        let pace = if decided.outcome == WebhookOutcome::Refused { &shared.refused_pace } else { &shared.pace };
        if pace.spend(shared.clock.now(), 1).is_err() {
            shared.dropped.fetch_add(1, Relaxed);
            return;
        }
        let note = note();
        let bytes = note.bytes();
        let fits = shared.waiting.fetch_add(bytes, Relaxed) + bytes <= limits::JOURNAL_QUEUE_BYTES;
        if !fits || inner.queue.try_send(Message::Note(Box::new(note))).is_err() {
            shared.waiting.fetch_sub(bytes, Relaxed);
            shared.dropped.fetch_add(1, Relaxed);
        }
    }

    /// What became of the notes; `None` if there is no journal.
    #[must_use]
    pub fn counts(&self) -> Option<JournalCounts> {
        let shared = &self.0.as_ref()?.shared;
        let get = |count: &AtomicU64| count.load(Relaxed);
        Some(JournalCounts {
            written: get(&shared.written),
            dropped: get(&shared.dropped),
            failed: get(&shared.failed),
            damage: shared.file.damage(),
            bytes: shared.file.bytes(),
        })
    }

    /// Requests that fit, newest first: at most `size`, of those with ids below `before`.
    ///
    /// What was answered before the call is among them, unless writing lags behind by more than a second.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn list(&self, search: Search, before: Option<i64>, size: usize) -> Result<Vec<JournaledWebhook>, JournalError> {
        self.ask(move |file| file.list(&search, before, size)).await
    }

    /// One request, if it is kept.
    ///
    /// # Errors
    /// [`JournalError`].
    pub async fn get(&self, id: i64) -> Result<Option<GetWebhookResponse>, JournalError> {
        self.ask(move |file| file.get(id)).await
    }

    async fn ask<T: Send + 'static>(&self, ask: impl FnOnce(&File) -> Result<T, FileError> + Send + 'static) -> Result<T, JournalError> {
        let Inner { queue, shared } = self.0.as_deref().ok_or(JournalError::Off)?;
        let (written, all_written) = oneshot::channel();
        if queue.try_send(Message::Flush(written)).is_ok() {
            let _ = timeout(limits::JOURNAL_FLUSH, all_written).await;
        }
        let shared = Arc::clone(shared);
        let asked = tokio::task::spawn_blocking(move || ask(&shared.file)).await;
        let asked = asked.map_err(|error| JournalError::Unreadable(error.to_string()))?;
        asked.map_err(|error| JournalError::Unreadable(error.to_string()))
    }

    /// What must not be shown of the webhooks of a source, by the rules of the journal; those that always hold if there is none.
    #[must_use]
    pub fn rules<'a>(&'a self, source: Option<&'a Source>) -> Rules<'a> {
        let (headers, paths) =
            self.0.as_ref().map_or((&[][..], &[][..]), |inner| (&*inner.shared.rules.mask_headers, &*inner.shared.rules.mask_paths));
        Rules::new(headers, paths, source, source)
    }
}

impl Note {
    /// About what it takes while it waits.
    pub(super) fn bytes(&self) -> usize {
        self.body.len() + 64 * self.head.headers.len() + size_of::<Self>()
    }
}
