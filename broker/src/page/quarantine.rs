//! Quarantine: verified webhooks that could not become their event.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use waypost_proto::v1::{self, QuarantineReason, quarantine_admin_service_server::QuarantineAdminService};

use super::{
    Pages, forms,
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
    fingerprint: String,
    after: String,
}

const REASONS: [(QuarantineReason, &str); 7] = [
    (QuarantineReason::MalformedBody, "the body is malformed"),
    (QuarantineReason::NoEventType, "no event type was found"),
    (QuarantineReason::TypeMismatch, "a value does not fit its field"),
    (QuarantineReason::RequiredFieldMissing, "a required field is missing"),
    (QuarantineReason::IdentityConflict, "same identity, other body"),
    (QuarantineReason::NoIdentity, "no identity was found"),
    (QuarantineReason::InvalidEvent, "the event would not be valid"),
];

fn reason(number: i32) -> &'static str {
    layout::reason(&REASONS, number)
}

pub(super) async fn list(State(pages): State<Arc<Pages>>, visit: Visit, Query(query): Query<Listed>) -> Result<Markup, Trouble> {
    let request = v1::ListQuarantinedWebhooksRequest {
        page_size: Some(limits::PAGE_ROWS),
        page_token: query.after.clone(),
        source: query.source.clone(),
        reason: query.reason.parse().unwrap_or_default(),
        fingerprint: query.fingerprint.clone(),
    };
    let listed = pages.quarantine.list_quarantined_webhooks(visit.asks(request)).await?.into_inner();
    let here = |after: &str| {
        let Listed { source, reason, fingerprint, .. } = &query;
        shown::link("/quarantine", &[("source", source), ("reason", reason), ("fingerprint", fingerprint), ("after", after)])
    };
    let next = Some(&listed.next_page_token).filter(|token| !token.is_empty()).map(|token| here(token));
    let content = html! {
        form.filter method="get" action="/quarantine" role="search" {
            label { "Source" input name="source" value=(query.source) maxlength="256" autocomplete="off"; }
            (layout::reasons(&REASONS, &query.reason))
            label { "Fingerprint" input name="fingerprint" value=(query.fingerprint) maxlength="32" autocomplete="off"; }
            button { "Show" }
        }
        @if listed.webhooks.is_empty() {
            (layout::empty("There is no such webhook. Those come here that were verified and did not fit their type."))
        } @else {
            form method="post" action="/quarantine/retry" {
                (forms::hidden(&pages, &here(&query.after)))
                p.actions {
                    label.all hidden { input type="checkbox" data-all="id"; "All on this page" }
                    button { "Retry the chosen" }
                    button.danger formaction="/quarantine/discard" { "Discard the chosen…" }
                }
                (rows(&listed.webhooks, &visit))
            }
            @if !query.fingerprint.is_empty() { (all_of(&pages, &query.fingerprint)) }
        }
        (layout::pager(query.after.is_empty(), &here(""), next.as_deref()))
    };
    Ok(layout::page(&visit, Place::Quarantine, "Quarantine", None, &content))
}

fn rows(webhooks: &[v1::QuarantinedWebhook], visit: &Visit) -> Markup {
    let columns = [
        ("Choose", "choose"),
        ("Received", ""),
        ("Source", ""),
        ("Reason", ""),
        ("Where", ""),
        ("Message", ""),
        ("To become", ""),
        ("Alike", ""),
        ("Size", "number"),
    ];
    let rows = html! {
        @for webhook in webhooks {
            tr {
                td.choose {
                    input type="checkbox" name="id" value=(webhook.id) aria-label={ "Choose " (shown::plain(&webhook.source)) " " (webhook.id) };
                }
                th scope="row" { a href={ "/quarantine/" (webhook.id) } { (shown::when(webhook.received_at.as_ref(), visit.now)) } }
                td { (shown::plain(&webhook.source)) }
                td { (reason(webhook.reason)) }
                td.id { (shown::short(&shown::plain(&webhook.path), 60)) }
                td.wide { (shown::short(&shown::plain(&webhook.message), 120)) }
                td { (shown::short(&shown::plain(&webhook.event_type), 48)) }
                td.id { a href=(shown::link("/quarantine", &[("fingerprint", &webhook.fingerprint)])) { (webhook.fingerprint) } }
                td.number { (shown::size(webhook.body_size)) }
            }
        }
    };
    layout::table("Webhooks in quarantine, the newest first", &columns, &rows)
}

/// Buttons for all that fail in the same way.
fn all_of(pages: &Pages, fingerprint: &str) -> Markup {
    html! {
        form.actions method="post" action="/quarantine/retry" {
            (forms::hidden(pages, &shown::link("/quarantine", &[("fingerprint", fingerprint)])))
            input type="hidden" name="fingerprint" value=(fingerprint);
            button { "Retry all that fail like this" }
            button.danger formaction="/quarantine/discard" { "Discard all that fail like this…" }
        }
    }
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit, Path(id): Path<String>) -> Result<Markup, Trouble> {
    let request = visit.asks(v1::GetQuarantinedWebhookRequest { id });
    let found = pages.quarantine.get_quarantined_webhook(request).await?.into_inner();
    let webhook = found.webhook.unwrap_or_default();
    let text = |text: &str| html! { @if text.is_empty() { (shown::nothing()) } @else { (shown::plain(text)) } };
    let header_rows = html! {
        @for (name, value) in &found.headers { tr { th.id scope="row" { (shown::plain(name)) } td.id.wide { (shown::plain(value)) } } }
    };
    let content = html! {
        form.actions method="post" action="/quarantine/retry" {
            (forms::hidden(&pages, &format!("/quarantine/{}", webhook.id)))
            input type="hidden" name="id" value=(webhook.id);
            button { "Retry" }
            button.danger formaction="/quarantine/discard" { "Discard…" }
        }
        (layout::facts(&[
            ("Source", text(&webhook.source)),
            ("Reason", html! { (reason(webhook.reason)) }),
            ("Where", html! { code { (text(&webhook.path)) } }),
            ("Message", text(&webhook.message)),
            ("Was to become", text(&webhook.event_type)),
            ("Identity", html! { code { (text(&webhook.identity)) } }),
            ("Received", shown::exactly(webhook.received_at.as_ref(), visit.now)),
            ("Retried", html! { (webhook.retries) " times" @if webhook.retried_at.is_some() { ", last " (shown::when(webhook.retried_at.as_ref(), visit.now)) } }),
            ("Fail alike", html! { a href=(shown::link("/quarantine", &[("fingerprint", &webhook.fingerprint)])) { code { (webhook.fingerprint) } } }),
        ]))
        section aria-labelledby="body-title" {
            h2 #body-title { "Body" }
            (Payload::of_bytes(&found.body, limits::MAX_SHOWN_PAYLOAD_BYTES).render("Body"))
        }
        section aria-labelledby="headers-title" {
            h2 #headers-title { "Headers" }
            (layout::table("Headers, without what proves who sent them", &[("Name", ""), ("Value", "")], &header_rows))
        }
    };
    Ok(layout::page(&visit, Place::Quarantine, &format!("Webhook {}", webhook.id), None, &content))
}
