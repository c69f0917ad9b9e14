//! Finding an event, and the story that it belongs to.

use std::sync::Arc;

use axum::extract::{Query, State};
use maud::{Markup, html};
use prost::Message;
use serde::Deserialize;
use tonic::{Code, Status};
use waypost_proto::{
    v1::{self, OutcomeState, get_lineage_request::Story},
    wire::agent_service_server::AgentService,
};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::Visit,
    payload::Payload,
    shown,
    tree::{self, Look},
};
use crate::{dead_letters::DeadLetterKey, limits};

/// What is looked for: an event, or a whole story.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Sought {
    source: String,
    id: String,
    correlation_id: String,
    after: String,
}

/// One event of a story.
pub(super) struct Told {
    pub(super) offset: u64,
    pub(super) accepted_at: Option<prost_types::Timestamp>,
    pub(super) event: v1::Event,
    pub(super) outcomes: Vec<v1::LineageOutcome>,
}

impl Sought {
    fn story(&self) -> Option<Story> {
        let [source, id, correlation_id] = [&self.source, &self.id, &self.correlation_id].map(|text| text.trim().to_owned());
        match () {
            () if !correlation_id.is_empty() => Some(Story::CorrelationId(correlation_id)),
            () if !source.is_empty() && !id.is_empty() => Some(Story::Event(v1::EventRef { source, id })),
            () => None,
        }
    }
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit, Query(sought): Query<Sought>) -> Result<Markup, Trouble> {
    let half_said = sought.story().is_none() && !(sought.source.is_empty() && sought.id.is_empty());
    let found = match sought.story() {
        None => html! {
            @if half_said { p.note.bad role="alert" { "Give both the source and the id of the event, or the correlation id of its story." } }
            @else { p { "Every event that led to it, and every event that it led to, are one story." } }
        },
        Some(story) => match told(&pages, &visit, story, &sought.after).await {
            Ok((correlation_id, told, next)) => render(&pages, &visit, &sought, &correlation_id, &told, &next),
            Err(status) if status.code() == Code::NotFound => html! { p.note.bad role="alert" { (shown::plain(status.message())) } },
            Err(status) => return Err(status.into()),
        },
    };
    let content = html! {
        form.filter method="get" action="/story" role="search" {
            fieldset {
                legend { "An event" }
                label { "Source" input name="source" value=(sought.source) maxlength="256" autocomplete="off"; }
                label { "Id" input name="id" value=(sought.id) maxlength="256" autocomplete="off"; }
            }
            fieldset {
                legend { "or a whole story" }
                label { "Correlation id" input name="correlation_id" value=(sought.correlation_id) maxlength="256" autocomplete="off"; }
            }
            button { "Find" }
        }
        (found)
    };
    Ok(layout::page(&visit, Place::Story, "Find an event", None, &content))
}

/// Its correlation id, its events in their order, and where it goes on.
async fn told(pages: &Pages, visit: &Visit, story: Story, after: &str) -> Result<(String, Vec<Told>, String), Status> {
    let request = v1::GetLineageRequest { story: Some(story), page_size: Some(limits::PAGE_STORY_EVENTS), page_token: after.to_owned() };
    let lineage = pages.agent.get_lineage(visit.asks(request)).await?.into_inner();
    let told = lineage.events.into_iter().filter_map(|line| {
        let stored = line.event?;
        let event = v1::Event::decode(stored.event?.0).ok()?;
        Some(Told { offset: stored.offset, accepted_at: stored.accepted_at, event, outcomes: line.outcomes })
    });
    Ok((lineage.correlation_id, told.collect(), lineage.next_page_token))
}

fn render(pages: &Pages, visit: &Visit, sought: &Sought, correlation_id: &str, told: &[Told], next: &str) -> Markup {
    let here = |after: &str| shown::link("/story", &[("correlation_id", correlation_id), ("after", after)]);
    let is_sought = |told: &Told| told.event.source == sought.source.trim() && told.event.id == sought.id.trim();
    html! {
        section aria-labelledby="story-title" {
            h2 #story-title { "Story " code { (shown::plain(correlation_id)) } }
            p.caption {
                (told.len()) @if told.len() == 1 { " event" } @else { " events" }
                @if !next.is_empty() { " of more" }
                ". Colours tell what is not done yet; what is settled has none."
            }
            (tree::render(told, is_sought))
        }
        section aria-labelledby="events-title" {
            h2 #events-title { "Its events" }
            ol.events { @for each in told { li { (article(pages, visit, each, is_sought(each))) } } }
        }
        (layout::pager(sought.after.is_empty(), &here(""), (!next.is_empty()).then(|| here(next)).as_deref()))
    }
}

fn article(pages: &Pages, visit: &Visit, told: &Told, is_sought: bool) -> Markup {
    let event = &told.event;
    html! {
        article.event.sought[is_sought] id={ "e" (told.offset) } tabindex="-1" {
            h3 { (shown::short(&shown::plain(&event.r#type), 80)) @if is_sought { " " (shown::badge("busy", "looked for")) } }
            (event_facts(event, visit))
            (layout::facts(&[
                ("Accepted", shown::exactly(told.accepted_at.as_ref(), visit.now)),
                ("Offset", html! { (told.offset) }),
                ("Not done yet", outcomes(pages, told)),
            ]))
            @if let Some(data) = &event.data {
                details {
                    summary { "Payload" }
                    (Payload::of_data(pages.broker.schemas.pool(), data, limits::MAX_SHOWN_STORY_PAYLOAD_BYTES).render("Payload"))
                }
            }
        }
    }
}

/// What an event says of itself.
pub(super) fn event_facts(event: &v1::Event, visit: &Visit) -> Markup {
    let text = |text: &str| html! { @if text.is_empty() { (shown::nothing()) } @else { (shown::plain(text)) } };
    let lineage = event.lineage.clone().unwrap_or_default();
    let attributes = html! {
        @if event.attributes.is_empty() { (shown::nothing()) }
        @else { ul { @for (name, value) in &event.attributes { li { code { (shown::plain(name)) " = " (shown::plain(value)) } } } } }
    };
    layout::facts(&[
        ("Type", text(&event.r#type)),
        ("Source", text(&event.source)),
        ("Id", html! { code { (shown::plain(&event.id)) } }),
        ("Subject", text(&event.subject)),
        ("Time", shown::exactly(event.time.as_ref(), visit.now)),
        ("Ordering key", text(&event.ordering_key)),
        (
            "Story",
            html! { a href=(shown::link("/story", &[("correlation_id", &lineage.correlation_id)])) { code { (shown::plain(&lineage.correlation_id)) } } },
        ),
        ("Caused by", html! { code { (text(&lineage.causation_id)) } }),
        ("Hops", html! { (lineage.hops) }),
        ("Attributes", attributes),
    ])
}

fn outcomes(pages: &Pages, told: &Told) -> Markup {
    html! {
        @if told.outcomes.is_empty() { span.muted { "nobody has it before them" } }
        @else {
            ul {
                @for outcome in &told.outcomes {
                    li {
                        a href={ "/subscriptions/" (shown::encoded(&outcome.subscription)) } { (shown::plain(&outcome.subscription)) } " "
                        (shown::badge(look(outcome).class(), state(outcome)))
                        @if outcome.attempts > 0 { " attempts: " (outcome.attempts) }
                        @if !outcome.client.is_empty() { " by " (shown::plain(&outcome.client)) }
                        @if outcome.state() == OutcomeState::DeadLettered {
                            @if let Some(handle) = pages.broker.registry.get(&outcome.subscription) {
                                @let id = DeadLetterKey { incarnation: handle.incarnation, offset: told.offset }.id();
                                " " a href={ "/dead-letters/" (id) } { "look at it" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn state(outcome: &v1::LineageOutcome) -> &'static str {
    match outcome.state() {
        OutcomeState::Waiting => "waiting",
        OutcomeState::Leased => "leased",
        OutcomeState::DeadLettered => "dead letter",
        OutcomeState::Acked => "acked",
        OutcomeState::Discarded => "discarded",
        OutcomeState::Unspecified => "unknown",
    }
}

fn look(outcome: &v1::LineageOutcome) -> Look {
    match outcome.state() {
        OutcomeState::DeadLettered => Look::Dead,
        OutcomeState::Leased => Look::Leased,
        OutcomeState::Waiting => Look::Waiting,
        _ => Look::Done,
    }
}

impl Told {
    /// The worst of what became of it, and in words.
    pub(super) fn look(&self) -> (Look, String) {
        let worst = self.outcomes.iter().map(look).max().unwrap_or(Look::Done);
        let names: Vec<_> = self.outcomes.iter().map(|outcome| format!("{}: {}", outcome.subscription, state(outcome))).collect();
        (worst, names.join(", "))
    }
}
