//! GetLineage: the events of a story, and how far the subscriptions are with them.
//!
//! Constraints: read by the index of stories, a page at a time; each subscription is asked once for a page; what became of an event that is
//! settled is not kept by anybody, so only what is open or dead is told.

use std::sync::Arc;

use tokio::time::timeout;
use waypost_delivery::Progress;
use waypost_proto::{v1, v1::get_lineage_request::Story, wire};
use waypost_store::{ReadLimits, Selection, StoredEvent};

use super::{
    convert::{session_text, stored_event, timestamp},
    page::Page,
};
use crate::{
    access::{Act, Caller},
    broker::Broker,
    dead_letters::{self, DeadLetterKey},
    dispatcher::Inspection,
    error::Fault,
    limits,
    registry::Handle,
};

pub(super) async fn lineage(broker: &Broker, caller: &Caller, request: v1::GetLineageRequest) -> Result<wire::GetLineageResponse, Fault> {
    caller.may(&Act::ReadStories)?;
    let query = v1::GetLineageRequest { page_size: None, page_token: String::new(), ..request.clone() };
    let page = Page::new(request.page_size, limits::MAX_LINEAGE_PAGE, &request.page_token, &query)?;
    let correlation_id = story(broker, request.story).await?;
    let selection = Selection::Correlation(Arc::from(&*correlation_id));
    let mut from = page.after.as_deref().and_then(|after| after.try_into().ok()).map_or(0, u64::from_be_bytes);
    let mut events = Vec::new();
    let mut bytes = 0;
    let tail = *broker.store.tail().borrow();
    while from < tail && events.len() < page.size && bytes < limits::MAX_RESPONSE_BYTES - limits::MAX_EVENT_BYTES {
        let room = limits::MAX_RESPONSE_BYTES - limits::MAX_EVENT_BYTES - bytes;
        let batch = broker.store.read(from, &selection, ReadLimits { events: page.size - events.len(), bytes: room }).await?;
        bytes += batch.events.iter().map(|event| event.body.len()).sum::<usize>();
        events.extend(batch.events);
        from = batch.next;
    }
    if events.is_empty() && page.after.is_none() {
        return Err(Fault::not_found(format!("no event of story {correlation_id:?} is kept")));
    }
    let next_page_token = if from < tail { page.next(from.to_be_bytes().to_vec()) } else { String::new() };
    let outcomes = outcomes(broker, &events).await;
    let told = events.iter().zip(outcomes).map(|(event, outcomes)| wire::LineageEvent { event: Some(stored_event(event)), outcomes });
    Ok(wire::GetLineageResponse { correlation_id, events: told.collect(), next_page_token })
}

/// For each event, the subscriptions that are not done with it, by name.
async fn outcomes(broker: &Broker, events: &[StoredEvent]) -> Vec<Vec<v1::LineageOutcome>> {
    let offsets: Vec<_> = events.iter().map(|event| event.offset).collect();
    let mut outcomes = vec![Vec::new(); events.len()];
    for handle in broker.registry.list() {
        // One that was deleted meanwhile, has failed, or does not answer (P12), has nothing to tell.
        let asked = timeout(limits::INSPECT_WITHIN, handle.inspect_events(broker.registry.shared(), &offsets));
        let Ok(Ok(inspection)) = asked.await else { continue };
        for ((event, progress), outcomes) in events.iter().zip(&inspection.progress).zip(&mut outcomes) {
            outcomes.extend(outcome(broker, &handle, &inspection, event, *progress).await);
        }
    }
    outcomes
}

async fn outcome(
    broker: &Broker,
    handle: &Handle,
    inspection: &Inspection,
    event: &StoredEvent,
    progress: Progress,
) -> Option<v1::LineageOutcome> {
    let mut outcome = v1::LineageOutcome { subscription: handle.name.to_string(), ..v1::LineageOutcome::default() };
    match progress {
        Progress::Past => return None,
        Progress::Ahead => {
            let deciding = inspection.filters.iter().rev().find(|(begins, _)| *begins <= event.offset);
            if !deciding.is_some_and(|(_, filter)| filter.matches(event)) {
                return None;
            }
            outcome.set_state(v1::OutcomeState::Waiting);
        }
        Progress::Waiting { attempts } => {
            outcome.set_state(v1::OutcomeState::Waiting);
            outcome.attempts = attempts;
        }
        Progress::Leased { attempts, session } => {
            outcome.set_state(v1::OutcomeState::Leased);
            outcome.attempts = attempts;
            outcome.session_id = session_text(session);
            let holder = inspection.sessions.iter().find(|info| info.id == session);
            outcome.client = holder.map_or_else(String::new, |info| info.client.clone());
        }
        Progress::Dead => {
            outcome.set_state(v1::OutcomeState::DeadLettered);
            let key = DeadLetterKey { incarnation: handle.incarnation, offset: event.offset };
            // A row that cannot be read now hides its figures, not the story.
            if let Ok(Some(row)) = dead_letters::find(&*broker.store, key).await {
                outcome.attempts = row.attempts + row.losses;
                outcome.settled_at = Some(timestamp(row.dead_lettered_at));
            }
        }
    }
    Some(outcome)
}

async fn story(broker: &Broker, story: Option<Story>) -> Result<String, Fault> {
    match story {
        None => Err(Fault::invalid("story", "one of event and correlation_id is required")),
        Some(Story::CorrelationId(id)) if id.is_empty() => Err(Fault::invalid("correlation_id", "is empty")),
        Some(Story::CorrelationId(id)) => Ok(id),
        Some(Story::Event(event)) => {
            let selection = Selection::Id { source: event.source.as_str().into(), id: event.id.as_str().into() };
            let batch = broker.store.read(0, &selection, ReadLimits { events: 1, bytes: 1 }).await?;
            let gone = || Fault::not_found(format!("no event {:?} of source {:?} is kept", event.id, event.source));
            batch.events.first().map(|event| event.head.correlation_id().to_owned()).ok_or_else(gone)
        }
    }
}
