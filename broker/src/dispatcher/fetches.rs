//! Events that are read again, because their bytes are not at hand when they are handed out.
//!
//! Constraints:
//! - One read is under way at a time, and it is tried until the store answers.
//! - What was read goes only to the stream that it was handed out to: on another one of its session the client did not name it as held, so
//!   it was given back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use tokio::time::sleep;
use waypost_delivery::{Deliver, StreamId, Token};
use waypost_store::{BoxFuture, EventStore, Offset, StoredEvent};

use super::reader;
use crate::{
    dead_letters::{self, DeadLetterKey},
    defect::{self, Defect},
    limits,
    registry::Handle,
};

/// How many events are read again at a time: each may have a mebibyte.
const FETCH: usize = 16;

/// An event that was read again; `None` if it is gone.
pub(super) type Fetched = (Deliver, Option<StoredEvent>);

/// What is to be read, and what is being read.
#[derive(Default)]
pub(super) struct Fetches {
    pub(super) running: Option<BoxFuture<'static, Vec<Fetched>>>,
    waiting: VecDeque<Deliver>,
    /// Handed out, but not sent; by the stream that each is for.
    awaited: BTreeMap<Token, StreamId>,
}

impl Fetches {
    /// One more is to be read, for a stream.
    pub(super) fn ask(&mut self, deliver: Deliver, stream: StreamId) {
        self.awaited.insert(deliver.token, stream);
        self.waiting.push_back(deliver);
    }

    /// Nobody waits for this one any more. Answers whether somebody did.
    pub(super) fn forget(&mut self, token: &Token) -> bool {
        self.awaited.remove(token).is_some()
    }

    /// One was read. Answers whether it is still to be sent, to the stream that its session has now.
    pub(super) fn arrived(&mut self, token: &Token, stream: Option<StreamId>) -> bool {
        self.awaited.remove(token).is_some_and(|asked| Some(asked) == stream || defect::is_on(Defect::StaleFetch))
    }

    /// Reads on, unless a read is under way.
    pub(super) fn start(&mut self, store: &Arc<dyn EventStore>, handle: &Arc<Handle>) {
        if self.running.is_some() || self.waiting.is_empty() {
            return;
        }
        let count = self.waiting.len().min(FETCH);
        let wanted: Vec<_> = self.waiting.drain(..count).filter(|deliver| self.awaited.contains_key(&deliver.token)).collect();
        let (store, handle) = (Arc::clone(store), Arc::clone(handle));
        self.running = Some(Box::pin(async move {
            let mut found = Vec::with_capacity(wanted.len());
            for deliver in wanted {
                let event = fetch(&*store, &handle, &deliver).await;
                found.push((deliver, event));
            }
            found
        }));
    }
}

/// Of a redriven event the dead letter has the bytes; the log may have let them go.
async fn fetch(store: &dyn EventStore, handle: &Handle, deliver: &Deliver) -> Option<StoredEvent> {
    let offset = deliver.token.offset;
    if deliver.redriven
        && let Some(event) = dead_letter(store, handle, offset).await
    {
        return Some(event);
    }
    reader::fetch(store, &handle.name, offset).await
}

/// Reads the event of a dead letter until the store answers; `None` if it was not kept.
async fn dead_letter(store: &dyn EventStore, handle: &Handle, offset: Offset) -> Option<StoredEvent> {
    let key = DeadLetterKey { incarnation: handle.incarnation, offset };
    loop {
        match dead_letters::find(store, key).await {
            Ok(row) => return row.and_then(|row| row.event()),
            Err(error) => {
                tracing::warn!(subscription = &*handle.name, %error, offset, "reading a dead letter failed; trying again");
                sleep(limits::STORE_RETRY).await;
            }
        }
    }
}
