//! The task that sanitises notes and writes them.
//!
//! Constraints: what came together is written together, and nothing waits for more to come; the work is done where it holds up no other task.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use http::{HeaderMap, request::Parts};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::sync::CancellationToken;
use waypost_proto::v1::{GetWebhookResponse, JournaledHeader, JournaledWebhook, WebhookStep};
use waypost_store::Micros;

use super::{
    Note, mask,
    mask::Rules,
    queue::{Message, Shared},
};
use crate::{
    envelope::timestamp,
    ingress::{
        Source, unpacked,
        verify::{Around, Incoming, diagnose},
    },
    limits,
};

/// Writes what was handed in, until the broker ends.
#[derive(Debug)]
pub struct Writer {
    queue: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
}

impl Writer {
    pub(super) fn new(queue: mpsc::Receiver<Message>, shared: Arc<Shared>) -> Self {
        Self { queue, shared }
    }

    /// Writes until `stop` is cancelled, and then what is left.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let mut batch = Vec::new();
            let is_over = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.queue.close();
                    true
                }
                count = self.queue.recv_many(&mut batch, limits::JOURNAL_BATCH) => count == 0,
                // Nothing comes: what is old goes all the same.
                () = sleep(limits::JOURNAL_PRUNE_INTERVAL) => false,
            };
            while batch.len() < limits::JOURNAL_QUEUE
                && is_over
                && let Ok(message) = self.queue.try_recv()
            {
                batch.push(message);
            }
            let shared = Arc::clone(&self.shared);
            // A batch that panics is lost, and no other one.
            if let Err(error) = tokio::task::spawn_blocking(move || shared.write(batch)).await {
                tracing::error!(%error, "a part of the journal of webhooks could not be written");
            }
            if is_over {
                return;
            }
        }
    }
}

impl Shared {
    fn write(&self, batch: Vec<Message>) {
        let (mut entries, mut flushed) = (Vec::new(), Vec::new());
        for message in batch {
            match message {
                Message::Note(note) => {
                    self.waiting.fetch_sub(note.bytes(), Relaxed);
                    entries.push(self.entry(*note));
                }
                Message::Flush(done) => flushed.push(done),
            }
        }
        let count = entries.len() as u64;
        match self.file.write(self.clock.now(), entries) {
            Ok(()) => self.written.fetch_add(count, Relaxed),
            Err(_) => self.failed.fetch_add(count, Relaxed),
        };
        for done in flushed {
            // Who asked may not wait any more.
            let _ = done.send(());
        }
    }

    /// What is kept of a request.
    fn entry(&self, note: Note) -> GetWebhookResponse {
        let Note { at, latency, source, peer, head, body, decided, id, detail } = note;
        let sources = self.sources.current();
        let (headers, paths) = (&self.rules.mask_headers, &self.rules.mask_paths);
        // A request for nobody's path may hold the secret of any source.
        let rules = match source.as_deref() {
            Some(source) => Rules::new(headers, paths, Some(source), [source]),
            None => Rules::new(headers, paths, None, sources.iter().map(|source| &**source)),
        };
        let detail = source.as_deref().and_then(|source| self.finding(source, &head, &body, at, decided.step)).unwrap_or(detail);
        let shown = |text: String| mask::plain(&text, &rules);
        let delivery_id = source.as_deref().map(|source| delivery_id(source, &head, &body)).unwrap_or_default();
        let webhook = JournaledWebhook {
            id: String::new(),
            received_at: Some(timestamp(at)),
            source: source.as_deref().map(|source| source.name.to_string()).unwrap_or_default(),
            peer: peer.map(|peer| peer.to_string()).unwrap_or_default(),
            method: head.method.to_string(),
            target: cut(mask::address(&head.uri, &rules), limits::MAX_JOURNAL_TEXT_BYTES),
            outcome: decided.outcome.into(),
            reason: decided.reason.to_owned(),
            step: decided.step.into(),
            status: decided.status.into(),
            delivery_id: cut(shown(delivery_id), limits::MAX_NAME_BYTES),
            event_id: id,
            latency: std::time::Duration::from_micros(latency).try_into().ok(),
            body_size: body.len() as u64,
            detail: cut(shown(detail), limits::MAX_JOURNAL_TEXT_BYTES),
        };
        // What is compressed cannot be looked into as it is; what cannot be unpacked is not kept.
        let mut plain_headers = head.headers.clone();
        let plain = unpacked(&mut plain_headers, &body, limits::MAX_WEBHOOK_BYTES).unwrap_or_default();
        let is_as_received = plain == body;
        let masked = mask::body(&plain_headers, &plain, &rules);
        let body_cut = masked.kept.len() > self.rules.max_body;
        GetWebhookResponse {
            webhook: Some(webhook),
            headers: kept_headers(&head.headers, &rules),
            body: masked.kept.slice(..masked.kept.len().min(self.rules.max_body)),
            body_masked: masked.is_masked || !is_as_received,
            body_cut,
        }
    }
}

impl Shared {
    /// Why a signature does not fit, if it is one of the few that are looked into.
    fn finding(&self, source: &Source, head: &Parts, body: &[u8], at: Micros, step: WebhookStep) -> Option<String> {
        let is_one = matches!(step, WebhookStep::Signature | WebhookStep::Timestamp) && body.len() <= limits::MAX_JOURNAL_FINDING_BYTES;
        let verifier = source.verifier().filter(|verifier| is_one && verifier.scheme().keys.is_none())?;
        self.findings.spend(self.clock.now(), 1).ok()?;
        let request = Incoming { method: &head.method, target: &head.uri, headers: &head.headers, body };
        diagnose(verifier, request, at, Around::default()).err().map(|(_, fault)| fault.to_string())
    }
}

fn delivery_id(source: &Source, head: &Parts, body: &[u8]) -> String {
    source.delivery_id_of(Incoming { method: &head.method, target: &head.uri, headers: &head.headers, body })
}

fn kept_headers(headers: &HeaderMap, rules: &Rules<'_>) -> Vec<JournaledHeader> {
    let kept = mask::headers(headers, rules).into_iter().take(limits::MAX_KEPT_HEADERS);
    kept.map(|(name, value)| JournaledHeader { name, value: cut(value.kept, limits::MAX_JOURNAL_TEXT_BYTES), masked: value.is_masked })
        .collect()
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}
