//! The journal of webhooks: what came to the edge, accepted or not, and why it was refused.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use waypost_proto::v1::{self, WebhookOutcome, WebhookStep, webhook_admin_service_server::WebhookAdminService};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::Visit,
    payload::Payload,
    shown,
};
use crate::limits;

/// Which of them.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listed {
    source: String,
    /// By the number of the contract.
    reason: String,
    delivery_id: String,
    event_id: String,
    after: String,
}

const OUTCOMES: [(WebhookOutcome, &str); 6] = [
    (WebhookOutcome::Accepted, "accepted"),
    (WebhookOutcome::Duplicate, "a duplicate"),
    (WebhookOutcome::Handshake, "a handshake"),
    (WebhookOutcome::Quarantined, "in quarantine"),
    (WebhookOutcome::Refused, "refused"),
    (WebhookOutcome::Unavailable, "could not be taken"),
];

const STEPS: [(WebhookStep, &str); 12] = [
    (WebhookStep::Path, "the path"),
    (WebhookStep::Admission, "who may knock"),
    (WebhookStep::Handshake, "the handshake"),
    (WebhookStep::Method, "the method"),
    (WebhookStep::Content, "the content type"),
    (WebhookStep::Body, "reading the body"),
    (WebhookStep::Keys, "the provider's keys"),
    (WebhookStep::Signature, "the signature"),
    (WebhookStep::Timestamp, "the signed time"),
    (WebhookStep::Allow, "whom it is meant for"),
    (WebhookStep::Decode, "what it says"),
    (WebhookStep::Store, "the store"),
];

pub(super) async fn list(State(pages): State<Arc<Pages>>, visit: Visit, Query(query): Query<Listed>) -> Result<Markup, Trouble> {
    let request = v1::ListWebhooksRequest {
        page_size: Some(limits::PAGE_ROWS),
        page_token: query.after.clone(),
        source: query.source.clone(),
        outcome: query.reason.parse().unwrap_or_default(),
        delivery_id: query.delivery_id.clone(),
        event_id: query.event_id.clone(),
        ..v1::ListWebhooksRequest::default()
    };
    let listed = pages.webhooks.list_webhooks(visit.asks(request)).await?.into_inner();
    let here = |after: &str| {
        let Listed { source, reason, delivery_id, event_id, .. } = &query;
        let query = [("source", source), ("reason", reason), ("delivery_id", delivery_id), ("event_id", event_id)];
        let mut query: Vec<(&str, &str)> = query.map(|(name, value)| (name, &**value)).into();
        query.push(("after", after));
        shown::link("/webhooks", &query)
    };
    let next = Some(&listed.next_page_token).filter(|token| !token.is_empty()).map(|token| here(token));
    let content = html! {
        form.filter method="get" action="/webhooks" role="search" {
            label { "Source" input name="source" value=(query.source) maxlength="256" autocomplete="off"; }
            (layout::choice("Outcome", &OUTCOMES, &query.reason))
            label { "Delivery id" input name="delivery_id" value=(query.delivery_id) maxlength="256" autocomplete="off"; }
            label { "Event id" input name="event_id" value=(query.event_id) maxlength="256" autocomplete="off"; }
            button { "Show" }
        }
        @if listed.webhooks.is_empty() {
            (layout::empty("The journal has no such request. Whatever comes to the edge is noted here, accepted or not."))
        } @else {
            (rows(&listed.webhooks, &visit))
        }
        (layout::pager(query.after.is_empty(), &here(""), next.as_deref()))
    };
    Ok(layout::page(&visit, Place::Webhooks, "Webhooks", None, &content))
}

fn rows(webhooks: &[v1::JournaledWebhook], visit: &Visit) -> Markup {
    let columns = [
        ("Received", ""),
        ("Source", ""),
        ("Status", "number"),
        ("Outcome", ""),
        ("Why", ""),
        ("From", ""),
        ("Delivery", ""),
        ("Event", ""),
        ("Size", "number"),
    ];
    let rows = html! {
        @for webhook in webhooks {
            tr {
                th scope="row" { a href={ "/webhooks/" (webhook.id) } { (shown::when(webhook.received_at.as_ref(), visit.now)) } }
                td { @if webhook.source.is_empty() { (shown::short(&shown::plain(&webhook.target), 48)) } @else { (shown::plain(&webhook.source)) } }
                td.number { (webhook.status) }
                td { (layout::reason(&OUTCOMES, webhook.outcome)) }
                td { (shown::plain(&webhook.reason)) }
                td { (shown::plain(&webhook.peer)) }
                td.id { (shown::short(&shown::plain(&webhook.delivery_id), 40)) }
                td.id { (shown::short(&shown::plain(&webhook.event_id), 40)) }
                td.number { (shown::size(webhook.body_size)) }
            }
        }
    };
    layout::table("Requests to the edge, the newest first", &columns, &rows)
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let found = pages.webhooks.get_webhook(visit.asks(v1::GetWebhookRequest { id })).await?.into_inner();
    let webhook = found.webhook.unwrap_or_default();
    let text = |text: &str| html! { @if text.is_empty() { (shown::nothing()) } @else { (shown::plain(text)) } };
    let latency = webhook.latency.map_or(0, |latency| latency.seconds * 1_000_000 + i64::from(latency.nanos / 1_000));
    let header_rows = html! {
        @for header in &found.headers {
            tr { th.id scope="row" { (shown::plain(&header.name)) } td.id.wide { (shown::plain(&header.value)) } }
        }
    };
    let content = html! {
        (layout::facts(&[
            ("Outcome", html! { (layout::reason(&OUTCOMES, webhook.outcome)) @if !webhook.reason.is_empty() { ": " (shown::plain(&webhook.reason)) } }),
            ("Decided by", html! { (layout::reason(&STEPS, webhook.step)) }),
            ("Detail", html! { (shown::lines(&webhook.detail)) }),
            ("Answer", html! { (webhook.status) ", after " (latency / 1_000) "." (format!("{:03}", latency % 1_000)) " ms" }),
            ("Source", text(&webhook.source)),
            ("From", text(&webhook.peer)),
            ("Request", html! { code { (shown::plain(&webhook.method)) " " (shown::plain(&webhook.target)) } }),
            ("Delivery", html! { code { (text(&webhook.delivery_id)) } }),
            ("Event", event(&webhook)),
            ("Received", shown::exactly(webhook.received_at.as_ref(), visit.now)),
        ]))
        section aria-labelledby="body-title" {
            h2 #body-title { "Body" }
            @if found.body_masked { p { "Parts of it are masked." } }
            @if found.body_cut { p { "Only its beginning is kept; it had " (shown::size(webhook.body_size)) "." } }
            (Payload::of_bytes(&found.body, limits::MAX_SHOWN_PAYLOAD_BYTES).render("Body"))
        }
        section aria-labelledby="headers-title" {
            h2 #headers-title { "Headers" }
            (layout::table("Headers, without what must not be kept", &[("Name", ""), ("Value", "")], &header_rows))
        }
    };
    Ok(layout::page(&visit, Place::Webhooks, &format!("Request {}", webhook.id), None, &content))
}

/// Where what became of it can be seen.
fn event(webhook: &v1::JournaledWebhook) -> Markup {
    let link = match webhook.outcome() {
        WebhookOutcome::Accepted | WebhookOutcome::Duplicate => {
            Some(shown::link("/story", &[("source", &webhook.source), ("id", &webhook.event_id)]))
        }
        WebhookOutcome::Quarantined => Some(format!("/quarantine/{}", shown::encoded(&webhook.event_id))),
        _ => None,
    };
    html! {
        @match link.filter(|_| !webhook.event_id.is_empty()) {
            Some(link) => a href=(link) { code { (shown::plain(&webhook.event_id)) } },
            None => (shown::nothing()),
        }
    }
}
