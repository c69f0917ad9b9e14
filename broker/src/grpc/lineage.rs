//! GetLineage: the events of a story.
//!
//! Constraint: read by the index of stories, a page at a time.

use std::sync::Arc;

use waypost_proto::{v1, v1::get_lineage_request::Story, wire};
use waypost_store::{ReadLimits, Selection};

use super::{convert::stored_event, page::Page};
use crate::{broker::Broker, error::Fault, limits};

pub(super) async fn lineage(broker: &Broker, request: v1::GetLineageRequest) -> Result<wire::GetLineageResponse, Fault> {
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
        let found = batch.events.iter().map(|event| wire::LineageEvent { event: Some(stored_event(event)), outcomes: Vec::new() });
        events.extend(found);
        from = batch.next;
    }
    if events.is_empty() && page.after.is_none() {
        return Err(Fault::not_found(format!("no event of story {correlation_id:?} is kept")));
    }
    let next_page_token = if from < tail { page.next(from.to_be_bytes().to_vec()) } else { String::new() };
    Ok(wire::GetLineageResponse { correlation_id, events, next_page_token })
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
