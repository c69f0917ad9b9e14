//! Newer parts of a page, as they come: server-sent events.
//!
//! Constraints: a part is the HTML that the page itself would have; nothing is sent while nothing changes; at most one message waits for a
//! viewer; of more viewers than can be served, the later ones read without.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::{Query, State},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use http::StatusCode;
use maud::Markup;
use serde::Deserialize;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use xxhash_rust::xxh3::xxh3_64;

use super::{Pages, layout::Trouble, overview, pages::Visit, sessions, subscriptions};
use crate::limits;

/// Which page.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct View {
    view: String,
    name: String,
    after: String,
}

impl View {
    async fn parts(&self, pages: &Pages, visit: &Visit) -> Result<Markup, Status> {
        match self.view.as_str() {
            "overview" => overview::parts(pages, visit).await,
            "subscription" => subscriptions::parts(pages, visit, &self.name).await,
            "sessions" => sessions::parts(pages, visit, &self.after).await,
            other => Err(Status::not_found(format!("{other:?} is no page that is kept up to date"))),
        }
    }
}

pub(super) async fn stream(State(pages): State<Arc<Pages>>, visit: Visit, Query(view): Query<View>) -> Result<Response, Trouble> {
    let Ok(permit) = Arc::clone(&pages.viewers).try_acquire_owned() else {
        return Err(Trouble::new(StatusCode::SERVICE_UNAVAILABLE, "Too many pages are kept up to date already; this one stays as it is."));
    };
    let first = view.parts(&pages, &visit).await?;
    let (out, events) = mpsc::channel(1);
    let (stop, following) = (pages.broker.stopping(), follow(Arc::clone(&pages), visit, view, first, out));
    pages.broker.spawn(async move {
        let _served = permit;
        // Also from a viewer who takes nothing any more.
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = following => {}
        }
    });
    Ok(Sse::new(ReceiverStream::new(events)).keep_alive(KeepAlive::default()).into_response())
}

/// Sends what changed until nobody listens, or there is nothing to show any more: the viewer asks again then, and is told why.
async fn follow(pages: Arc<Pages>, visit: Visit, view: View, first: Markup, out: mpsc::Sender<Result<Event, Infallible>>) {
    let mut ticks = interval(limits::PAGE_LIVE_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut sent, mut next) = (0, first.into_string());
    loop {
        let hash = xxh3_64(next.as_bytes());
        if hash != sent {
            sent = hash;
            if out.send(Ok(Event::default().event("parts").data(next))).await.is_err() {
                return;
            }
        }
        tokio::select! {
            biased;
            () = out.closed() => return,
            _ = ticks.tick() => {}
        }
        let Ok(parts) = view.parts(&pages, &visit.at(pages.broker.clock.now())).await else { return };
        next = parts.into_string();
    }
}
