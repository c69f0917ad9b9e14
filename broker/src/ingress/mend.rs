//! Quarantined webhooks, once the mapping is mended: understood again, or thrown away.
//!
//! Constraints:
//! - What fits now leaves the quarantine in the same commit that stores its event: never both, never neither.
//! - It is understood by the same code as on arrival, and gets the identity, the time and the recognition of duplicates of its arrival.
//! - One is decided about at a time: without an identity, two retries of one webhook at once would be two events.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use tokio::sync::{Mutex, MutexGuard};
use waypost_proto::v1::{GetQuarantinedWebhookResponse, QuarantinedWebhook};
use waypost_store::{Appended, Commit, CommitError, Duplicate, Micros, NewEvent, Row, RowChange, Table};

use super::{
    LiveSources, Source,
    body::{self, Kind},
    coding::unpacked,
    quarantine::{self, MASKED, Reason, Undecodable, Unfit},
    understand::{Batch, Meaning, Meaningless, Webhook},
    webhook::conflict,
};
use crate::{broker::Broker, envelope::timestamp, error::Fault};

/// What the mending of one broker has in common, wherever it is asked for.
#[derive(Debug, Default)]
pub struct Mending {
    turn: Mutex<()>,
    stored: AtomicU64,
    duplicates: AtomicU64,
    kept: AtomicU64,
    discarded: AtomicU64,
    expired: AtomicU64,
}

impl Mending {
    /// Webhooks that were looked at again, by what became of them.
    #[must_use]
    pub fn counts(&self) -> [(&'static str, u64); 5] {
        let Self { turn: _, stored, duplicates, kept, discarded, expired } = self;
        [("stored", stored), ("duplicate", duplicates), ("kept", kept), ("discarded", discarded), ("expired", expired)]
            .map(|(outcome, count)| (outcome, count.load(Relaxed)))
    }

    /// Counts those that nobody mended in time.
    pub fn expired(&self, count: usize) {
        self.expired.fetch_add(count as u64, Relaxed);
    }
}

/// What became of a webhook that was retried.
#[derive(Clone, Debug, PartialEq)]
pub enum Mended {
    /// It is an event now, or several: the id of the first; empty if it holds none.
    Stored(String),
    /// Its event was there already.
    Duplicate(String),
    /// It does not fit yet: how it is in quarantine now.
    Kept(Box<QuarantinedWebhook>),
}

/// Retries and discards.
#[derive(Clone, Debug)]
pub struct Mender {
    broker: Arc<Broker>,
    sources: LiveSources,
}

/// A webhook with its row.
struct Found {
    key: Bytes,
    row: GetQuarantinedWebhookResponse,
    webhook: QuarantinedWebhook,
}

/// What is to become of a webhook and its row.
struct Plan {
    events: Vec<(NewEvent, Bytes)>,
    /// What does not fit, with the bytes that it is about.
    aside: Vec<(Bytes, Undecodable)>,
    duplicates: usize,
    first: Option<String>,
}

/// What becomes of the row of a webhook.
struct Changes {
    rows: Vec<RowChange>,
    /// What is told of parts that are in quarantine by themselves now.
    told: Vec<NewEvent>,
    /// How it is in quarantine afterwards, if it is.
    kept: Option<QuarantinedWebhook>,
}

impl Mender {
    /// For a broker and the sources that it has at the time.
    #[must_use]
    pub fn new(broker: Arc<Broker>, sources: LiveSources) -> Self {
        Self { broker, sources }
    }

    /// Understands a webhook again.
    ///
    /// Cancel safety: dropped, it may have been done or not; doing it again is harmless.
    ///
    /// # Errors
    /// When it or its source is gone, or the store does not take it; then it is in quarantine as it was. After
    /// [`OutcomeUnknown`](waypost_proto::v1::ErrorReason::OutcomeUnknown) it may also be an event.
    pub async fn retry(&self, id: &str) -> Result<Mended, Fault> {
        let _turn = self.turn().await;
        let found = self.find(id).await?;
        let sources = self.sources.current();
        let source = sources.get(&found.webhook.source).ok_or_else(|| {
            let name = &found.webhook.source;
            Fault::not_found(format!(
                "there is no source {name:?} in the configuration, whose mapping would be used; it can only be discarded"
            ))
        })?;
        let plan = match source.understand_again(&found, &self.broker.entropy) {
            Ok(batch) => Plan { events: batch.events, aside: batch.aside, duplicates: 0, first: None },
            Err(why) => Plan { events: Vec::new(), aside: vec![(found.row.body.clone(), why)], duplicates: 0, first: None },
        };
        let mended = self.carry_out(source, found, plan).await?;
        let counts = &self.broker.mending;
        let (count, outcome) = match &mended {
            Mended::Stored(_) => (&counts.stored, "stored"),
            Mended::Duplicate(_) => (&counts.duplicates, "duplicate"),
            Mended::Kept(_) => (&counts.kept, "kept"),
        };
        count.fetch_add(1, Relaxed);
        tracing::info!(source = &*source.name, id, outcome, "a quarantined webhook was retried");
        Ok(mended)
    }

    /// Throws a webhook away.
    ///
    /// Cancel safety: dropped, it may have been done or not.
    ///
    /// # Errors
    /// When it is gone, or the store does not answer.
    pub async fn discard(&self, id: &str) -> Result<(), Fault> {
        let _turn = self.turn().await;
        let found = self.find(id).await?;
        let rows = vec![RowChange::Delete(Table::Quarantine, found.key)];
        self.broker.store.commit(self.broker.clock.now(), Commit { rows, ..Commit::default() }).await?;
        self.broker.mending.discarded.fetch_add(1, Relaxed);
        Ok(())
    }

    async fn turn(&self) -> MutexGuard<'_, ()> {
        self.broker.mending.turn.lock().await
    }

    async fn find(&self, id: &str) -> Result<Found, Fault> {
        let gone = || Fault::not_found(format!("there is no quarantined webhook {id:?}"));
        let key = quarantine::key(id).ok_or_else(gone)?;
        let row = quarantine::get(&*self.broker.store, id).await?.ok_or_else(gone)?;
        let webhook = row.webhook.clone().unwrap_or_default();
        Ok(Found { key: key.into(), row, webhook })
    }

    /// Stores what fits and lets go of the row, in one step, as often as an identity that is taken stands against it: once for each event.
    async fn carry_out(&self, source: &Source, found: Found, mut plan: Plan) -> Result<Mended, Fault> {
        loop {
            let now = self.broker.clock.now();
            let Changes { rows, told, kept } = self.changes(source, &found, &plan, now);
            let events: Vec<NewEvent> = plan.events.iter().map(|(event, _)| event.clone()).chain(told).collect();
            match self.broker.store.commit(now, Commit { events, rows, ..Commit::default() }).await {
                Ok(appended) => return Ok(plan.outcome(&appended, kept)),
                Err(CommitError::Conflict { index, .. }) if index < plan.events.len() => {
                    let (event, bytes) = plan.events.remove(index);
                    if source.identity.forbids_changes() {
                        plan.aside.push((bytes, conflict(&event.head)));
                    } else {
                        // Another body under a delivery's id is the same delivery, here as on arrival.
                        plan.duplicates += 1;
                        plan.first.get_or_insert_with(|| event.head.id().to_owned());
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What becomes of the row.
    fn changes(&self, source: &Source, found: &Found, plan: &Plan, now: Micros) -> Changes {
        let put = |key: &Bytes, row: &GetQuarantinedWebhookResponse| {
            RowChange::Put(Table::Quarantine, Row { key: key.clone(), value: quarantine::encode(row) })
        };
        if let [(bytes, why)] = &*plan.aside
            && *bytes == found.row.body
        {
            let retries = found.webhook.retries + 1;
            let webhook = why.clone().told_of(found.webhook.clone());
            let webhook = QuarantinedWebhook { retries, retried_at: Some(timestamp(now)), ..webhook };
            let row = GetQuarantinedWebhookResponse { webhook: Some(webhook.clone()), ..found.row.clone() };
            let rows = vec![put(&found.key, &row)];
            return Changes { rows, told: Vec::new(), kept: Some(quarantine::as_shown(webhook)) };
        }
        let mut rows = vec![RowChange::Delete(Table::Quarantine, found.key.clone())];
        let (headers, mut told, mut first) = (headers_of(&found.row), Vec::new(), None);
        for (raw, why) in &plan.aside {
            let arrived = received_at(&found.webhook);
            let key = quarantine::new_key(arrived, &self.broker.entropy);
            let (id, unfit) = (hex::encode(&key), Unfit { source, headers: &headers, raw, is_part: true });
            told.extend(quarantine::notice(&id, source, why).seal(None, now, &self.broker.entropy));
            let mut row = quarantine::new_row(&id, arrived, unfit, why.clone());
            // What was masked on arrival is masked still.
            row.headers.clone_from(&found.row.headers);
            first = first.or_else(|| row.webhook.clone());
            rows.push(put(&key, &row));
        }
        Changes { rows, told, kept: first.map(quarantine::as_shown) }
    }
}

impl Plan {
    fn outcome(self, appended: &[Appended], kept: Option<QuarantinedWebhook>) -> Mended {
        if let Some(webhook) = kept {
            return Mended::Kept(Box::new(webhook));
        }
        let is_new = appended.iter().any(|place| place.duplicate.is_none());
        debug_assert!(appended.iter().all(|place| place.duplicate != Some(Duplicate::OtherContent)), "a commit refuses those");
        let first = self.events.first().map(|(event, _)| event.head.id().to_owned()).or(self.first).unwrap_or_default();
        let was_there = self.duplicates > 0 || !appended.is_empty();
        if !is_new && was_there { Mended::Duplicate(first) } else { Mended::Stored(first) }
    }
}

impl Source {
    /// The events of a webhook that was kept.
    fn understand_again(&self, found: &Found, entropy: &crate::entropy::Entropy) -> Result<Batch, Undecodable> {
        let Found { row, webhook: kept, .. } = found;
        let headers = headers_of(row);
        // Whatever the content type of the whole, the part of it that was kept is JSON.
        let kind = if row.is_part { Ok(Kind::Json) } else { body::kind(&headers, self.taken()) };
        let kind =
            kind.map_err(|_| Undecodable::new(Reason::MalformedBody, "the source does not take its content type any more".to_owned()))?;
        let (mut head, ()) = Request::post(&*self.path).body(()).unwrap_or_default().into_parts();
        head.headers = headers;
        // What could not be unpacked on arrival is compressed still.
        let unpacked = if row.is_part { Ok(row.body.clone()) } else { unpacked(&mut head.headers, &row.body, self.max_body) };
        let raw = unpacked.map_err(|problem| Undecodable::new(Reason::MalformedBody, problem))?;
        let webhook = Webhook { head: &head, raw: raw.clone(), kind, now: received_at(kept), arrival: None, replay_of: None };
        if row.is_part {
            let id = Some(kept.identity.clone()).filter(|id| !id.is_empty() && !self.identity.looks_inside());
            let event = self.event_of(&webhook, &raw, &raw, id, entropy)?.event;
            return Ok(Batch { events: vec![(event, raw)], ..Batch::default() });
        }
        match self.understand(&webhook, entropy) {
            Ok(Meaning::Event(made)) => Ok(Batch { events: vec![(made.event, raw)], ..Batch::default() }),
            Ok(Meaning::Batch(batch)) => Ok(batch),
            Ok(Meaning::Greeting(_)) | Err(Meaningless::Refused(_)) => Err(Undecodable::new(
                Reason::InvalidEvent,
                "the scheme takes it for a handshake now, which is no event; discard it".to_owned(),
            )),
            Err(Meaningless::Undecodable(why)) => Err(why),
        }
    }
}

/// The headers as far as they were kept.
fn headers_of(row: &GetQuarantinedWebhookResponse) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, text) in row.headers.iter().filter(|(_, text)| *text != MASKED) {
        let Ok(name) = HeaderName::try_from(name) else { continue };
        for value in text.split('\n').filter_map(|text| HeaderValue::from_str(text).ok()) {
            headers.append(&name, value);
        }
    }
    headers
}

fn received_at(webhook: &QuarantinedWebhook) -> Micros {
    let at = webhook.received_at.unwrap_or_default();
    let (seconds, nanos) = (u64::try_from(at.seconds).unwrap_or(0), u64::try_from(at.nanos).unwrap_or(0));
    seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)
}
