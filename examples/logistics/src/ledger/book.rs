//! Writing a ledger: what an agent does with each event, at most once.
//!
//! Constraints: an effect is looked up and written under a lock that all processes of the agent share; it is on disk before the
//! handler goes on.

use std::collections::HashSet;
use std::fs::File;
use std::future::pending;
use std::io::{self, Write};
use std::path::Path;
use std::process;
use std::sync::{Arc, Mutex, PoisonError};

use agent_client::Delivery;
use tokio::task::spawn_blocking;
use waypost_proto::v1::Event;

use super::{Entry, Fact, LedgerReader, Seen, micros_now};

/// The ledger of an agent. Clones write to the same one.
#[derive(Debug, Clone)]
pub(crate) struct Ledger {
    who: Arc<str>,
    book: Arc<Mutex<Book>>,
    hang_at: Option<Arc<str>>,
}

/// The work that one delivery asks for.
#[derive(Debug)]
#[must_use = "an event without an effect is lost"]
pub(crate) struct Work {
    ledger: Ledger,
    event: Seen,
}

#[derive(Debug)]
struct Book {
    file: File,
    reader: LedgerReader,
    /// The ids of the events that were done.
    done: HashSet<String>,
}

impl Ledger {
    /// Opens the ledger `WHO.jsonl` in this folder.
    pub(crate) fn open(folder: &Path, who: &str) -> io::Result<Self> {
        let file = File::options().create(true).append(true).read(true).open(folder.join(format!("{who}.jsonl")))?;
        let reader = LedgerReader::new(file.try_clone()?);
        let book = Book { file, reader, done: HashSet::new() };
        Ok(Self { who: who.into(), book: Arc::new(Mutex::new(book)), hang_at: None })
    }

    /// For the simulated crash: once this process has done an event whose subject ends with this, it goes no further.
    pub(crate) fn hang_at(self, subject_end: Option<String>) -> Self {
        Self { hang_at: subject_end.map(Into::into), ..self }
    }

    /// Writes a line.
    pub(crate) async fn note(&self, fact: Fact) -> io::Result<()> {
        self.write_unless(|_| false, fact).await.map(drop)
    }

    /// Notes that a delivery came, and begins its work.
    pub(crate) async fn begin<T>(&self, delivery: &Delivery<T>) -> io::Result<Work> {
        let event = Seen::of(delivery);
        self.note(Fact::Received { event: event.clone(), attempt: delivery.attempt() }).await?;
        Ok(Work { ledger: self.clone(), event })
    }

    /// Writes a line unless that is so, and tells whether it was written.
    async fn write_unless(&self, is_so: impl FnOnce(&Book) -> bool + Send + 'static, fact: Fact) -> io::Result<bool> {
        let entry = Entry { who: self.who.to_string(), process: process::id(), at: micros_now(), fact };
        let book = Arc::clone(&self.book);
        let writing = spawn_blocking(move || {
            let mut book = book.lock().unwrap_or_else(PoisonError::into_inner);
            book.file.lock()?;
            let written = book.catch_up().and_then(|()| match is_so(&book) {
                true => Ok(false),
                false => book.append(&entry).map(|()| true),
            });
            book.file.unlock()?;
            written
        });
        writing.await.map_err(io::Error::other)?
    }
}

impl Work {
    /// Does the work, unless some process of this agent has done it before, and gives back what is to be published with the ack.
    ///
    /// The deed is the line in the ledger: "the mail was sent" stands for sending one with the event's id as its idempotency key.
    pub(crate) async fn once(self, did: impl Into<String>, outputs: impl Into<Vec<Event>>) -> io::Result<Vec<Event>> {
        let outputs = outputs.into();
        let publishes = outputs.iter().map(|output| output.r#type.clone()).collect();
        let Self { ledger, event } = self;
        let (id, subject) = (event.id.clone(), event.subject.clone());
        let is_first = ledger.write_unless(move |book| book.done.contains(&id), Fact::Effect { event, did: did.into(), publishes }).await?;
        if is_first && ledger.hang_at.is_some_and(|end| subject.ends_with(&*end)) {
            // Done, on disk, and not acked: here comes the SIGKILL.
            pending::<()>().await;
        }
        Ok(outputs)
    }
}

impl Book {
    /// Reads what other processes wrote meanwhile.
    fn catch_up(&mut self) -> io::Result<()> {
        for entry in self.reader.read()? {
            if let Fact::Effect { event, .. } = entry.fact {
                self.done.insert(event.id);
            }
        }
        if self.reader.ends_torn()? {
            self.file.write_all(b"\n")?;
        }
        Ok(())
    }

    fn append(&mut self, entry: &Entry) -> io::Result<()> {
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        self.file.write_all(&line)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;
    use crate::ledger::Ledgers;

    fn work(ledger: &Ledger, id: &str) -> Work {
        let event = Seen { id: id.into(), r#type: "a.v1.B".into(), subject: "s".into(), cause: String::new() };
        Work { ledger: ledger.clone(), event }
    }

    #[tokio::test]
    async fn an_effect_is_written_once_by_however_many_processes() {
        let folder = tempfile::tempdir().unwrap();
        // Two processes open the file for themselves, as here.
        let (one, other) = (Ledger::open(folder.path(), "a").unwrap(), Ledger::open(folder.path(), "a").unwrap());
        work(&one, "1").once("it", []).await.unwrap();
        work(&other, "1").once("it", []).await.unwrap();
        work(&other, "2").once("it", []).await.unwrap();
        work(&one, "2").once("it", []).await.unwrap();
        assert_eq!(Ledgers::of(folder.path()).read().unwrap().len(), 2);
    }

    #[tokio::test]
    async fn half_a_line_of_a_killed_process_spoils_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(folder.path(), "a").unwrap();
        work(&ledger, "1").once("it", []).await.unwrap();
        let mut torn = File::options().append(true).open(folder.path().join("a.jsonl")).unwrap();
        torn.write_all(b"{\"who\":\"a\",\"proc").unwrap();
        work(&ledger, "2").once("it", []).await.unwrap();
        let ids: Vec<_> = Ledgers::of(folder.path()).read().unwrap().into_iter().map(|entry| entry.fact).collect();
        assert!(
            matches!(&ids[..], [Fact::Effect { event: a, .. }, Fact::Effect { event: b, .. }] if a.id == "1" && b.id == "2"),
            "{ids:?}"
        );
    }
}
