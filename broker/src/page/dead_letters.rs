//! Dead letters: those that are asked for, and each with its event and its history.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use waypost_proto::v1::{self, AttemptOutcome, DeadLetterReason, dead_letter_admin_service_server::DeadLetterAdminService};

use super::{
    Pages, forms,
    layout::{self, Place, Trouble},
    pages::Visit,
    payload::Payload,
    shown, story,
};
use crate::limits;

/// Which of them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listed {
    subscription: String,
    event_type: String,
    /// By the number of the contract.
    reason: String,
    after: String,
}

const REASONS: [(DeadLetterReason, &str); 3] = [
    (DeadLetterReason::MaxAttempts, "too many attempts"),
    (DeadLetterReason::MaxLosses, "too many lost sessions"),
    (DeadLetterReason::Rejected, "rejected"),
];

/// Why, in words.
pub(super) fn reason(number: i32) -> &'static str {
    layout::reason(&REASONS, number)
}

pub(super) async fn list(State(pages): State<Arc<Pages>>, visit: Visit, Query(query): Query<Listed>) -> Result<Markup, Trouble> {
    let request = v1::ListDeadLettersRequest {
        page_size: Some(limits::PAGE_ROWS),
        page_token: query.after.clone(),
        subscription: query.subscription.clone(),
        event_type: query.event_type.clone(),
        reason: query.reason.parse().unwrap_or_default(),
    };
    let listed = pages.dead_letters.list_dead_letters(visit.asks(request)).await?.into_inner();
    let here = |after: &str| {
        let Listed { subscription, event_type, reason, .. } = &query;
        shown::link("/dead-letters", &[("subscription", subscription), ("event_type", event_type), ("reason", reason), ("after", after)])
    };
    let next = Some(&listed.next_page_token).filter(|token| !token.is_empty()).map(|token| here(token));
    let content = html! {
        (filter(&query))
        @if listed.dead_letters.is_empty() {
            (layout::empty("There is no such dead letter. Events come here that were rejected, or failed too often."))
        } @else {
            form method="post" action="/dead-letters/redrive" {
                (forms::hidden(&pages, &here(&query.after)))
                input type="hidden" name="subscription" value=(query.subscription);
                input type="hidden" name="event_type" value=(query.event_type);
                input type="hidden" name="reason" value=(query.reason);
                p.actions {
                    label.all hidden { input type="checkbox" data-all="id"; "All on this page" }
                    button { "Redrive the chosen" }
                    button formaction="/dead-letters/redrive-all" { "Redrive all that match…" }
                    button.danger formaction="/dead-letters/discard" { "Discard the chosen…" }
                }
                (rows(&listed.dead_letters, &visit))
            }
        }
        (layout::pager(query.after.is_empty(), &here(""), next.as_deref()))
    };
    Ok(layout::page(&visit, Place::DeadLetters, "Dead letters", None, &content))
}

fn filter(query: &Listed) -> Markup {
    html! {
        form.filter method="get" action="/dead-letters" role="search" {
            label { "Subscription" input name="subscription" value=(query.subscription) maxlength="128" autocomplete="off"; }
            label { "Event type" input name="event_type" value=(query.event_type) maxlength="256" autocomplete="off"; }
            (layout::reasons(&REASONS, &query.reason))
            button { "Show" }
        }
    }
}

fn rows(dead_letters: &[v1::DeadLetter], visit: &Visit) -> Markup {
    let columns = [
        ("Choose", "choose"),
        ("Event type", ""),
        ("Subscription", ""),
        ("Reason", ""),
        ("What was said last", ""),
        ("Attempts", "number"),
        ("Since", ""),
        ("Event", ""),
    ];
    let rows = html! {
        @for dead in dead_letters {
            tr {
                td.choose {
                    input type="checkbox" name="id" value=(dead.id) aria-label={ "Choose " (shown::plain(&dead.event_type)) " " (dead.id) };
                }
                th scope="row" {
                    a href={ "/dead-letters/" (dead.id) } {
                        @if dead.event_type.is_empty() { (dead.id) } @else { (shown::short(&shown::plain(&dead.event_type), 48)) }
                    }
                }
                td { (shown::plain(&dead.subscription)) }
                td { (reason(dead.reason)) @if dead.redriving { " " (shown::badge("busy", "redriving")) } }
                td.wide { (shown::short(&shown::plain(&dead.detail), 120)) }
                td.number { (dead.attempts + dead.losses) }
                td { (shown::when(dead.dead_lettered_at.as_ref(), visit.now)) }
                td.id { (shown::short(&shown::plain(&dead.event_source), 24)) " " (shown::short(&shown::plain(&dead.event_id), 40)) }
            }
        }
    };
    layout::table("Dead letters, the newest first", &columns, &rows)
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let request = visit.asks(v1::GetDeadLetterRequest { id: id.clone() });
    let found = pages.dead_letters.get_dead_letter(request).await?.into_inner();
    let dead = found.dead_letter.unwrap_or_default();
    let event = found.event.as_ref().and_then(|stored| stored.event.as_ref());
    let content = html! {
        form.actions method="post" action="/dead-letters/redrive" {
            (forms::hidden(&pages, &format!("/dead-letters/{}", dead.id)))
            input type="hidden" name="id" value=(dead.id);
            button disabled[dead.redriving] { "Redrive" }
            button.danger formaction="/dead-letters/discard" { "Discard…" }
            @if dead.redriving { (shown::badge("busy", "it is on its way again")) }
        }
        (layout::facts(&[
            ("Subscription", html! { a href={ "/subscriptions/" (shown::encoded(&dead.subscription)) } { (shown::plain(&dead.subscription)) } }),
            ("Reason", html! { (reason(dead.reason)) }),
            ("What was said last", html! { (shown::lines(&dead.detail)) }),
            ("Attempts, lost sessions", html! { (dead.attempts) ", " (dead.losses) }),
            ("Redriven", html! { (dead.redrives) " times" }),
            ("Since", shown::exactly(dead.dead_lettered_at.as_ref(), visit.now)),
            ("Acked late", shown::exactly(dead.acked_late_at.as_ref(), visit.now)),
            ("Goes", shown::exactly(dead.expires_at.as_ref(), visit.now)),
            ("Offset", html! { (dead.offset) }),
            ("Incarnation", html! { code { (shown::plain(&dead.incarnation)) } }),
        ]))
        section aria-labelledby="history-title" {
            h2 #history-title { "History" }
            @if found.history.is_empty() { (layout::empty("Nothing is kept of its attempts.")) } @else { (history(&found.history, &visit)) }
        }
        section aria-labelledby="event-title" {
            h2 #event-title { "Event" }
            @match event {
                None => (layout::empty("The event was lost before it could be copied.")),
                Some(event) => {
                    (story::event_facts(event, &visit))
                    p { a href=(shown::link("/story", &[("source", &event.source), ("id", &event.id)])) { "Its story" } }
                    @if let Some(data) = &event.data {
                        (Payload::of_data(pages.broker.schemas.pool(), data, limits::MAX_SHOWN_PAYLOAD_BYTES).render("Payload"))
                    }
                }
            }
        }
    };
    Ok(layout::page(&visit, Place::DeadLetters, &format!("Dead letter {}", dead.id), None, &content))
}

fn history(history: &[v1::AttemptRecord], visit: &Visit) -> Markup {
    let outcome = |number: i32| match AttemptOutcome::try_from(number) {
        Ok(AttemptOutcome::Nacked) => "given back as failed",
        Ok(AttemptOutcome::Expired) => "not settled in time",
        Ok(AttemptOutcome::Lost) => "its session was lost",
        Ok(AttemptOutcome::Rejected) => "rejected",
        _ => "unknown",
    };
    let rows = html! {
        @for attempt in history {
            tr {
                td.number { (attempt.attempt) }
                td { (outcome(attempt.outcome)) }
                td { (shown::exactly(attempt.ended_at.as_ref(), visit.now)) }
                td.wide { (shown::lines(&attempt.reason)) }
            }
        }
    };
    layout::table(
        "What was tried, the oldest first",
        &[("Attempt", "number"), ("How it ended", ""), ("When", ""), ("What was said", "")],
        &rows,
    )
}
