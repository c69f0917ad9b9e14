//! The frame around every page, and how errors look.
//!
//! Constraint: a page is whole without its script: everything is there when it comes, and every action is a link or a form.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use maud::{DOCTYPE, Markup, html};
use tonic::Status;

use super::{
    pages::{Note, Visit},
    shown,
};
use crate::error::{self, Fault};

/// Where somebody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Subscriptions,
    Sessions,
    DeadLetters,
    Quarantine,
    Webhooks,
    Story,
    Nowhere,
    /// Before the door.
    Outside,
}

const PLACES: [(Place, &str, &str); 7] = [
    (Place::Overview, "/", "Overview"),
    (Place::Subscriptions, "/subscriptions", "Subscriptions"),
    (Place::Sessions, "/sessions", "Sessions"),
    (Place::DeadLetters, "/dead-letters", "Dead letters"),
    (Place::Quarantine, "/quarantine", "Quarantine"),
    (Place::Webhooks, "/webhooks", "Webhooks"),
    (Place::Story, "/story", "Find an event"),
];

/// A page. `live` is where newer parts of it come from.
pub(super) fn page(visit: &Visit, place: Place, title: &str, live: Option<&str>, content: &Markup) -> Markup {
    let caller = visit.caller();
    let who = html! {
        @if !caller.name().is_empty() {
            form.who method="post" action="/sign-out" {
                input type="hidden" name="key" value=(visit.form_key);
                span { "Signed in as " strong { (shown::plain(caller.name())) } }
                button.quiet { "Sign out" }
            }
        }
    };
    frame(place, title, visit.note.as_ref(), live, &who, content)
}

/// A page for who has not signed in.
pub(super) fn outside(title: &str, content: &Markup) -> Markup {
    frame(Place::Outside, title, None, None, &html! {}, content)
}

fn frame(place: Place, title: &str, note: Option<&Note>, live: Option<&str>, who: &Markup, content: &Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (shown::plain(title)) " · Waypost" }
                link rel="icon" href="/page/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/page/style.css";
                script src="/page/live.js" defer {}
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    a.home href="/" { img src="/page/icon.svg" alt="" width="24" height="24"; "Waypost" }
                    @if place != Place::Outside {
                        nav aria-label="Pages" {
                            ul {
                                @for (each, path, name) in PLACES {
                                    li { a href=(path) aria-current=[(each == place).then_some("page")] { (name) } }
                                }
                            }
                        }
                    }
                    (who)
                }
                main #content tabindex="-1" data-live=[live] {
                    div.title {
                        h1 { (shown::plain(title)) }
                        @if live.is_some() {
                            // The script fills it in: without it nothing is live, and there is nothing to pause.
                            p.live hidden { span role="status" {} " " button.quiet type="button" { "Pause" } }
                        }
                    }
                    @if let Some(note) = note {
                        p.note.good[note.is_good].bad[!note.is_good] role=(if note.is_good { "status" } else { "alert" }) {
                            (shown::plain(&note.text))
                        }
                    }
                    (content)
                }
            }
        }
    }
}

/// The choice of a reason in a filter; `chosen` is the number of one, as text.
pub(super) fn reasons<R: Copy + Into<i32>>(reasons: &[(R, &str)], chosen: &str) -> Markup {
    choice("Reason", reasons, chosen)
}

/// A field, sent as `reason`, to choose one of several things or none of them.
pub(super) fn choice<R: Copy + Into<i32>>(label: &str, reasons: &[(R, &str)], chosen: &str) -> Markup {
    html! {
        label {
            (label)
            select name="reason" {
                option value="" { "any" }
                @for &(reason, text) in reasons {
                    @let value = reason.into().to_string();
                    option value=(value) selected[value == chosen] { (text) }
                }
            }
        }
    }
}

/// A reason in words.
pub(super) fn reason<R: Copy + Into<i32>>(reasons: &[(R, &'static str)], number: i32) -> &'static str {
    reasons.iter().find(|(reason, _)| (*reason).into() == number).map_or("unknown", |(_, text)| text)
}

/// One fact after the other.
pub(super) fn facts(facts: &[(&str, Markup)]) -> Markup {
    html! {
        dl.facts {
            @for (name, value) in facts {
                div { dt { (name) } dd { (value) } }
            }
        }
    }
}

/// A table that scrolls by itself where it is too wide, also by keyboard.
pub(super) fn table(caption: &str, columns: &[(&str, &str)], rows: &Markup) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label=(caption) {
            table {
                caption.unseen { (caption) }
                thead { tr { @for (name, class) in columns { th scope="col" class=[(!class.is_empty()).then_some(*class)] { (name) } } } }
                tbody { (rows) }
            }
        }
    }
}

/// What there is instead of an empty table.
pub(super) fn empty(text: &str) -> Markup {
    html! { p.empty { (text) } }
}

/// From one page of a list to the next.
pub(super) fn pager(is_first: bool, first: &str, next: Option<&str>) -> Markup {
    html! {
        @if !is_first || next.is_some() {
            nav.pager aria-label="Pages of this list" {
                @if !is_first { a href=(first) rel="first" { "← First page" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next page →" } }
            }
        }
    }
}

/// Why there is no page.
#[derive(Debug)]
pub(super) struct Trouble {
    status: StatusCode,
    text: String,
}

impl Trouble {
    pub(super) fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<Status> for Trouble {
    fn from(status: Status) -> Self {
        Self::new(error::http(status.code()), status.message())
    }
}

impl From<Fault> for Trouble {
    fn from(fault: Fault) -> Self {
        Self::new(fault.http(), fault.message)
    }
}

impl IntoResponse for Trouble {
    fn into_response(self) -> Response {
        let content = html! {
            p.note.bad role="alert" { (shown::plain(&self.text)) }
            p {
                a href="/" { "Back to the overview" }
                @if self.status == StatusCode::FORBIDDEN || self.status == StatusCode::UNAUTHORIZED { " · " a href="/sign-in" { "Sign in with another token" } }
            }
        };
        let title = self.status.canonical_reason().unwrap_or("That did not work");
        (self.status, frame(Place::Nowhere, title, None, None, &html! {}, &content)).into_response()
    }
}
