//! Sessions: which agents are there.

use std::sync::Arc;

use axum::extract::{Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use tonic::Status;
use waypost_proto::v1::{self, SessionState, session_admin_service_server::SessionAdminService};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::Visit,
    shown,
};
use crate::limits;

/// Which part of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listed {
    after: String,
}

pub(super) async fn list(State(pages): State<Arc<Pages>>, visit: Visit, Query(query): Query<Listed>) -> Result<Markup, Trouble> {
    let live = shown::link("/live", &[("view", "sessions"), ("after", &query.after)]);
    let content = parts(&pages, &visit, &query.after).await?;
    Ok(layout::page(&visit, Place::Sessions, "Sessions", Some(&live), &content))
}

/// What is kept up to date.
pub(super) async fn parts(pages: &Pages, visit: &Visit, after: &str) -> Result<Markup, Status> {
    let request = v1::ListSessionsRequest { page_size: Some(limits::PAGE_ROWS), page_token: after.to_owned(), subscription: String::new() };
    let listed = pages.sessions.list_sessions(visit.asks(request)).await?.into_inner();
    let next = Some(&listed.next_page_token).filter(|token| !token.is_empty()).map(|token| shown::link("/sessions", &[("after", token)]));
    Ok(html! {
        section #sessions aria-label="Sessions" {
            @if listed.sessions.is_empty() {
                (layout::empty("No agent is connected."))
            } @else {
                (rows(&listed.sessions, visit))
            }
            (layout::pager(after.is_empty(), "/sessions", next.as_deref()))
        }
    })
}

/// A table of sessions.
pub(super) fn rows(sessions: &[v1::Session], visit: &Visit) -> Markup {
    let columns = [
        ("Subscription", ""),
        ("Client", ""),
        ("State", ""),
        ("Outstanding", "number"),
        ("Of at most", "number"),
        ("Bytes", "number"),
        ("Oldest delivery", ""),
        ("Connected", ""),
        ("From", ""),
        ("Session", ""),
    ];
    let rows = html! {
        @for session in sessions {
            tr {
                th scope="row" {
                    @if session.subscription.is_empty() { span.muted { "(no name)" } }
                    @else { a href={ "/subscriptions/" (shown::encoded(&session.subscription)) } { (shown::plain(&session.subscription)) } }
                }
                td {
                    @if session.client.is_empty() { (shown::nothing()) } @else { (shown::short(&shown::plain(&session.client), 40)) }
                    @if !session.principal.is_empty() { div.under { "token " (shown::plain(&session.principal)) } }
                }
                td { (state(session)) }
                td.number { (shown::count(session.outstanding.into())) }
                td.number { @if let Some(limits) = session.limits { (shown::count(limits.max_outstanding.unwrap_or(0).into())) } }
                td.number { (shown::size(session.outstanding_bytes)) }
                td { (shown::when(session.oldest_delivery_at.as_ref(), visit.now)) }
                td { (shown::when(session.connected_at.as_ref(), visit.now)) }
                td.id { (shown::plain(&session.peer_address)) }
                td.id { (shown::plain(&session.id)) }
            }
        }
    };
    layout::table("Sessions and what each holds", &columns, &rows)
}

fn state(session: &v1::Session) -> Markup {
    match session.state() {
        SessionState::Draining => shown::badge("warn", "draining"),
        SessionState::Resumable => shown::badge("warn", "may come back"),
        _ if session.outstanding > 0 => shown::badge("busy", "working"),
        _ => shown::badge("good", "waiting"),
    }
}
