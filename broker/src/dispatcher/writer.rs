//! The machine's commits, as the store takes them.
//!
//! Constraints:
//! - One write is under way at a time, so that what is read to build it cannot change before it is written.
//! - Before anything is written an error is a refusal; after that the store says whether it is unknown.
//! - A dead letter takes its event and its history with it, and a system event tells of it, in the same step (P5).

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use waypost_delivery::{Commit as Fate, CommitPlan, Completion, Offset, Record, Refusal, record::DeadLetter};
use waypost_proto::v1;
use waypost_store::{
    AppendError, BoxFuture, Claim, Commit, CommitError, EventHead, EventStore, NewEvent, ReadError, RowChange, StoredEvent, Table,
};

use super::Shared;
use crate::{
    dead_letters::{self, DeadLetterKey, DeadLetterRow},
    metrics::Facts,
    registry::{Handle, Info, row},
    system::{Notice, SYSTEM_PREFIX, Topic},
};

/// One write, and everything that it needs.
pub(super) enum Write {
    /// A step of the machine.
    Plan {
        /// The step.
        plan: CommitPlan,
        /// The outputs of each completion.
        outputs: Vec<Vec<NewEvent>>,
        /// What is known about the subscription after it, if that changes.
        info: Option<Box<Info>>,
    },
    /// Acks that came when the event was a dead letter already.
    LateAcks(Vec<Offset>),
    /// What is known about the subscription when it is written: nothing that is decided meanwhile is taken back.
    Info,
}

/// What became of a write.
pub(super) enum Written {
    /// For the machine.
    Plan(Fate),
    /// The output that refused a step: which completion, which of its outputs, and who has the id.
    Conflict { completion: Completion, index: usize, output: usize, first: Offset },
    /// Nobody waits for it.
    Aside,
    /// It is not known: the machine must be restored.
    Lost(String),
}

/// Why a step could not be put together or written.
enum Failed {
    Unavailable(String),
    Commit(CommitError),
}

impl From<ReadError> for Failed {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

impl From<CommitError> for Failed {
    fn from(error: CommitError) -> Self {
        Self::Commit(error)
    }
}

/// Starts a write.
pub(super) fn start(shared: &Arc<Shared>, handle: &Arc<Handle>, claim: Option<Claim>, write: Write) -> BoxFuture<'static, Written> {
    let (shared, handle) = (Arc::clone(shared), Arc::clone(handle));
    Box::pin(async move {
        match write {
            Write::Plan { plan, outputs, info } => {
                let completions = plan.completions.clone();
                let counts: Vec<_> = outputs.iter().map(Vec::len).collect();
                let facts = Facts::of(&plan.records);
                let result = commit(&shared, &handle, claim, plan, outputs, info).await;
                if result.is_ok() {
                    handle.metrics.add(facts);
                }
                fate(&handle, result, &completions, &counts)
            }
            Write::LateAcks(offsets) => {
                if let Err(Failed::Commit(error)) = note_late(&shared, &handle, claim, &offsets).await {
                    tracing::warn!(subscription = &*handle.name, %error, "a late ack could not be noted");
                }
                Written::Aside
            }
            Write::Info => {
                let rows = vec![handle.info().put(&handle.name, handle.incarnation)];
                if let Err(error) = shared.store.commit(shared.clock.now(), Commit { claim, rows, ..Commit::default() }).await {
                    tracing::warn!(subscription = &*handle.name, %error, "the time of the last session could not be kept");
                }
                Written::Aside
            }
        }
    })
}

fn fate(handle: &Handle, result: Result<(), Failed>, completions: &[Completion], counts: &[usize]) -> Written {
    let error = match result {
        Ok(()) => return Written::Plan(Fate::Committed),
        Err(Failed::Unavailable(error)) => {
            tracing::warn!(subscription = &*handle.name, %error, "a commit was refused");
            return Written::Plan(Fate::Refused(Refusal::Unavailable));
        }
        Err(Failed::Commit(error)) => error,
    };
    match error {
        CommitError::Conflict { mut index, first } => {
            for (at, (completion, &count)) in completions.iter().zip(counts).enumerate() {
                if index < count {
                    return Written::Conflict { completion: *completion, index: at, output: index, first };
                }
                index -= count;
            }
            Written::Lost(format!("the store refused output {index} of a step that has fewer"))
        }
        CommitError::Append(AppendError::Unknown(_)) | CommitError::Fenced { .. } | CommitError::Unclaimed { .. } => {
            Written::Lost(error.to_string())
        }
        CommitError::Append(error) => {
            tracing::warn!(subscription = &*handle.name, %error, "a commit was refused");
            Written::Plan(Fate::Refused(Refusal::Unavailable))
        }
    }
}

async fn commit(
    shared: &Shared,
    handle: &Handle,
    claim: Option<Claim>,
    plan: CommitPlan,
    outputs: Vec<Vec<NewEvent>>,
    info: Option<Box<Info>>,
) -> Result<(), Failed> {
    let mut events: Vec<_> = outputs.into_iter().flatten().collect();
    let now = shared.clock.now();
    if handle.is_ephemeral() {
        // Nothing of an ephemeral subscription is kept, but what its agents publish is.
        if !events.is_empty() {
            shared.store.commit(now, Commit { events, ..Commit::default() }).await?;
        }
        return Ok(());
    }
    let is_deletion = plan.records.iter().any(|record| matches!(record, Record::Deleted));
    // After the outputs, whose place says whose they are.
    let mut rows = rows(shared, handle, &plan, now, &mut events).await?;
    if is_deletion {
        rows.push(row::delete(&handle.name));
    } else if let Some(info) = info {
        rows.push(info.put(&handle.name, handle.incarnation));
    }
    let records = if is_deletion { Vec::new() } else { plan.records.iter().map(|record| Bytes::from(record.encode())).collect() };
    let commit = Commit { claim, records, supersede: plan.supersede || is_deletion, events, rows };
    shared.store.commit(now, commit).await?;
    tell_of_dead_letters(handle, &plan);
    Ok(())
}

/// Somebody has to look at each of them.
fn tell_of_dead_letters(handle: &Handle, plan: &CommitPlan) {
    for record in &plan.records {
        if let Record::DeadLettered(dead) = record {
            let reason = dead.history.last().map_or("", |attempt| &*attempt.reason);
            tracing::warn!(
                subscription = &*handle.name,
                offset = dead.offset,
                dead_letter = key(handle, dead.offset).id(),
                cause = ?dead.cause,
                attempts = dead.attempts,
                losses = dead.losses,
                reason,
                "an event became a dead letter"
            );
        }
    }
}

/// The rows that a step changes with it: dead letters that begin, go on their way, and end. Those that begin are told of in `events`.
async fn rows(
    shared: &Shared,
    handle: &Handle,
    plan: &CommitPlan,
    now: u64,
    events: &mut Vec<NewEvent>,
) -> Result<Vec<RowChange>, ReadError> {
    let store = &*shared.store;
    let mut rows = Vec::new();
    for record in &plan.records {
        match record {
            Record::DeadLettered(dead) => {
                let (row, event) = bury(shared, handle, dead, now).await?;
                events.extend(notice(shared, &row, event.as_ref(), now));
                rows.push(put(&row));
            }
            Record::Redriven(events) => {
                for event in events {
                    if let Some(row) = dead_letters::find(store, key(handle, event.offset)).await? {
                        rows.push(put(&DeadLetterRow { redrives: row.redrives + 1, redriving: true, ..row }));
                    }
                }
            }
            _ => {}
        }
    }
    let ended = plan.ended_dead_letters.iter();
    rows.extend(ended.map(|&offset| RowChange::Delete(Table::DeadLetters, key(handle, offset).bytes())));
    Ok(rows)
}

/// The row of an event that becomes a dead letter, maybe not for the first time; and the event, if it is still kept.
async fn bury(shared: &Shared, handle: &Handle, dead: &DeadLetter, now: u64) -> Result<(DeadLetterRow, Option<StoredEvent>), ReadError> {
    let earlier = dead_letters::find(&*shared.store, key(handle, dead.offset)).await?;
    let event = match earlier.as_ref().and_then(DeadLetterRow::event) {
        Some(event) => Some(event),
        None => read(&*shared.store, dead.offset).await?,
    };
    let row = DeadLetterRow::new(&handle.name, handle.incarnation, dead, event.as_ref(), now);
    Ok((DeadLetterRow { redrives: earlier.map_or(0, |row| row.redrives), ..row }, event))
}

/// What is told of a new dead letter. Nothing is told of one of the broker's own events: an agent that fails at these would make them. Nor
/// while the store is full: the reserve is for settling (P11).
fn notice(shared: &Shared, row: &DeadLetterRow, event: Option<&StoredEvent>, now: u64) -> Option<NewEvent> {
    let head = event.map(|event| &event.head);
    let event_type = head.map_or("", EventHead::event_type);
    if event_type.starts_with(SYSTEM_PREFIX) || shared.store.disk().full {
        return None;
    }
    let facts = json!({
        "dead_letter": row.key().id(),
        "subscription": row.subscription,
        "event_source": head.map_or("", EventHead::source),
        "event_id": head.map_or("", EventHead::id),
        "event_type": event_type,
        "offset": row.offset,
        "cause": v1::DeadLetterReason::try_from(row.reason).unwrap_or_default().as_str_name(),
        "attempts": row.attempts,
        "losses": row.losses,
        "redrives": row.redrives,
        "reason": row.history.last().map_or("", |attempt| &attempt.reason),
    });
    let notice = Notice { topic: Topic::DeadLetterAdded, subject: row.subscription.as_str().into(), facts };
    shared.publisher.seal_notice(&notice, event, now)
}

async fn read(store: &dyn EventStore, offset: Offset) -> Result<Option<StoredEvent>, ReadError> {
    use waypost_store::{ReadLimits, Selection};
    let batch = store.read(offset, &Selection::All, ReadLimits { events: 1, bytes: 1 }).await?;
    Ok(batch.events.into_iter().next().filter(|event| event.offset == offset))
}

async fn note_late(shared: &Shared, handle: &Handle, claim: Option<Claim>, offsets: &[Offset]) -> Result<(), Failed> {
    let now = shared.clock.now();
    let mut rows = Vec::new();
    for &offset in offsets {
        let row = dead_letters::find(&*shared.store, key(handle, offset)).await?;
        if let Some(row) = row.filter(|row| row.acked_late_at.is_none()) {
            rows.push(put(&DeadLetterRow { acked_late_at: Some(now), ..row }));
        }
    }
    if !rows.is_empty() {
        shared.store.commit(now, Commit { claim, rows, ..Commit::default() }).await?;
    }
    Ok(())
}

fn key(handle: &Handle, offset: Offset) -> DeadLetterKey {
    DeadLetterKey { incarnation: handle.incarnation, offset }
}

fn put(row: &DeadLetterRow) -> RowChange {
    RowChange::Put(Table::DeadLetters, row.row())
}
