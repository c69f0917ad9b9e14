//! The events of one story.
//!
//! Constraint: all pages are fetched, up to a bound that is told.

use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::Code;
use waypost_proto::v1::get_lineage_request::Story as Wire;
use waypost_proto::v1::{EventRef, GetLineageRequest, GetLineageResponse, LineageEvent};

use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::rpc::Rpc;

/// A longer story is cut.
const MAX_EVENTS: usize = 10_000;
const PAGE: u32 = 500;

/// Names a story.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Story {
    /// The one that this event belongs to.
    OfEvent {
        /// Its source.
        source: String,
        /// Its id.
        id: String,
    },
    /// The one with this correlation id.
    Correlation(String),
}

/// A story.
#[derive(Debug, Clone, PartialEq)]
pub struct Lineage {
    /// Names it.
    pub correlation_id: String,
    /// Its events that are still kept, in offset order.
    pub events: Vec<LineageEvent>,
    /// It has more than 10,000 events; these are the first.
    pub truncated: bool,
}

/// Why there is no lineage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LineageError {
    /// The event, or the story, is not kept (any more).
    #[error("there is no such story: {0}")]
    NotFound(#[source] Failure),
    /// The broker refuses, or did not answer within the call deadline.
    #[error("the lineage could not be read: {0}")]
    Failed(#[source] Failure),
}

pub(crate) async fn get(rpc: Rpc, story: Story, deadline: Duration) -> Result<Lineage, LineageError> {
    let give_up_at = Instant::now() + deadline;
    let story = match story {
        Story::OfEvent { source, id } => Wire::Event(EventRef { source, id }),
        Story::Correlation(id) => Wire::CorrelationId(id),
    };
    let mut lineage = Lineage { correlation_id: String::new(), events: Vec::new(), truncated: false };
    let mut page_token = String::new();
    loop {
        let request = GetLineageRequest { story: Some(story.clone()), page_size: Some(PAGE), page_token };
        let page = fetch(&rpc, &request, give_up_at).await.map_err(|failure| match failure.code {
            Code::NotFound => LineageError::NotFound(failure),
            _ => LineageError::Failed(failure),
        })?;
        lineage.correlation_id = page.correlation_id;
        lineage.events.extend(page.events);
        page_token = page.next_page_token;
        lineage.truncated = lineage.events.len() >= MAX_EVENTS && !page_token.is_empty();
        if page_token.is_empty() || lineage.truncated {
            return Ok(lineage);
        }
    }
}

/// One page, tried until the deadline.
async fn fetch(rpc: &Rpc, request: &GetLineageRequest, give_up_at: Instant) -> Result<GetLineageResponse, Failure> {
    let mut backoff = Backoff::without_immediate();
    loop {
        let mut rpc = rpc.clone();
        let Ok(answer) = timeout_at(give_up_at, rpc.get_lineage(request.clone())).await else {
            return Err(Failure::local(Code::DeadlineExceeded, "GetLineage was not answered before the call deadline"));
        };
        let failure = match answer {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => Failure::from(status),
        };
        let next = Instant::now() + backoff.next(failure.retry_after);
        if !failure.is_transient() || next >= give_up_at {
            return Err(failure);
        }
        sleep_until(next).await;
    }
}
