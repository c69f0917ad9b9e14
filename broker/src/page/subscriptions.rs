//! Subscriptions: all of them, and each.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use maud::{Markup, html};
use serde::Deserialize;
use tonic::Status;
use waypost_proto::v1::subscription_admin_service_server::SubscriptionAdminService;
use waypost_proto::v1::{self, SubscriptionState, session_admin_service_server::SessionAdminService};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::Visit,
    pausing, sessions, shown,
};
use crate::limits;

/// Which part of the list.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Listed {
    prefix: String,
    after: String,
}

pub(super) async fn ask(
    pages: &Pages,
    visit: &Visit,
    request: v1::ListSubscriptionsRequest,
) -> Result<v1::ListSubscriptionsResponse, Status> {
    Ok(pages.subscriptions.list_subscriptions(visit.asks(request)).await?.into_inner())
}

pub(super) async fn list(State(pages): State<Arc<Pages>>, visit: Visit, Query(query): Query<Listed>) -> Result<Markup, Trouble> {
    let request = v1::ListSubscriptionsRequest {
        page_size: Some(limits::PAGE_ROWS),
        page_token: query.after.clone(),
        name_prefix: query.prefix.clone(),
    };
    let listed = ask(&pages, &visit, request).await?;
    let here = |after: &str| shown::link("/subscriptions", &[("prefix", &query.prefix), ("after", after)]);
    let next = Some(&listed.next_page_token).filter(|token| !token.is_empty()).map(|token| here(token));
    let content = html! {
        form.filter method="get" action="/subscriptions" role="search" {
            label { "Name begins with" input name="prefix" value=(query.prefix) maxlength="128" autocomplete="off"; }
            button { "Show" }
        }
        @if listed.subscriptions.is_empty() {
            (layout::empty("There is no such subscription."))
        } @else {
            (rows(&listed.subscriptions, &visit))
        }
        (layout::pager(query.after.is_empty(), &here(""), next.as_deref()))
    };
    Ok(layout::page(&visit, Place::Subscriptions, "Subscriptions", None, &content))
}

/// A table of subscriptions.
pub(super) fn rows(subscriptions: &[v1::Subscription], visit: &Visit) -> Markup {
    let columns = [
        ("Subscription", ""),
        ("State", ""),
        ("Sessions", "number"),
        ("Lag", "number"),
        ("Outstanding", "number"),
        ("Unsettled", "number"),
        ("Oldest unsettled", ""),
        ("Dead letters", "number"),
    ];
    let rows = html! {
        @for subscription in subscriptions {
            @let stats = subscription.stats.unwrap_or_default();
            tr {
                th scope="row" { a href={ "/subscriptions/" (shown::encoded(&subscription.name)) } { (shown::plain(&subscription.name)) } }
                td { (state(subscription, &stats)) }
                td.number { (stats.sessions) }
                td.number { (shown::count(stats.lag)) }
                td.number { (shown::count(stats.leased)) }
                td.number { (shown::count(unsettled(&stats))) }
                td { (shown::when(stats.oldest_unsettled_at.as_ref(), visit.now)) }
                td.number { (dead(&subscription.name, &stats)) }
            }
        }
    };
    layout::table("Subscriptions and how far each is", &columns, &rows)
}

/// Examined, and not settled.
fn unsettled(stats: &v1::SubscriptionStats) -> u64 {
    stats.leased + stats.backing_off + stats.blocked + stats.ready
}

fn dead(name: &str, stats: &v1::SubscriptionStats) -> Markup {
    html! {
        @if stats.dead_letters == 0 { span.muted { "0" } }
        @else {
            a.count.bad href=(shown::link("/dead-letters", &[("subscription", name)])) {
                (shown::count(stats.dead_letters)) span.unseen { " dead letters of " (shown::plain(name)) }
            }
        }
    }
}

fn state(subscription: &v1::Subscription, stats: &v1::SubscriptionStats) -> Markup {
    match subscription.state() {
        SubscriptionState::Failed => shown::badge("bad", "failed"),
        SubscriptionState::Paused => shown::badge("warn", "paused"),
        _ if stats.at_unsettled_limit => shown::badge("warn", "at its limit"),
        _ if stats.sessions == 0 && (stats.lag > 0 || unsettled(stats) > 0) => shown::badge("warn", "nobody is there"),
        _ if stats.sessions == 0 => shown::badge("idle", "nobody is there"),
        _ if stats.leased > 0 => shown::badge("busy", "working"),
        _ => shown::badge("good", "up to date"),
    }
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit, Path(name): Path<String>) -> Result<Markup, Trouble> {
    let content = parts(&pages, &visit, &name).await?;
    let live = shown::link("/live", &[("view", "subscription"), ("name", &name)]);
    Ok(layout::page(&visit, Place::Subscriptions, &format!("Subscription {name}"), Some(&live), &content))
}

/// What is kept up to date of one.
pub(super) async fn parts(pages: &Pages, visit: &Visit, name: &str) -> Result<Markup, Status> {
    let request = visit.asks(v1::GetSubscriptionRequest { name: name.to_owned() });
    let subscription = pages.subscriptions.get_subscription(request).await?.into_inner().subscription.unwrap_or_default();
    let stats = subscription.stats.unwrap_or_default();
    let request = v1::ListSessionsRequest { page_size: Some(limits::PAGE_ROWS), subscription: name.to_owned(), ..Default::default() };
    let sessions = pages.sessions.list_sessions(visit.asks(request)).await?.into_inner();
    Ok(html! {
        section #state aria-label="State" {
            p { (state(&subscription, &stats)) " " (shown::plain(&subscription.state_reason)) }
            div.figures {
                (figure("Lag", stats.lag, "events after the last that was examined"))
                (figure("Outstanding", stats.leased, "leased to sessions"))
                (figure("Ready", stats.ready, "wait for a session with room"))
                (figure("Backing off", stats.backing_off, "wait for their next attempt"))
                (figure("Blocked", stats.blocked, "wait for an earlier event of their key"))
                div.figure {
                    p.label { "Dead letters" }
                    p.value { (dead(name, &stats)) }
                    p.caption { "set aside, with their history" }
                }
            }
            (layout::facts(&[
                ("Oldest unsettled", shown::exactly(stats.oldest_unsettled_at.as_ref(), visit.now)),
                ("Examined up to", html! { "offset " (subscription.frontier) }),
                ("Created", shown::exactly(subscription.created_at.as_ref(), visit.now)),
                ("Last session", shown::exactly(subscription.last_session_at.as_ref(), visit.now)),
                ("Expires", shown::exactly(subscription.expires_at.as_ref(), visit.now)),
                ("Incarnation", html! { code { (shown::plain(&subscription.incarnation)) } }),
            ]))
        }
        // A part of its own: what somebody writes here stays until the state is another.
        section #control aria-label="Pause or resume" { (pausing::controls(pages, &subscription)) }
        section #sessions aria-labelledby="sessions-title" {
            h2 #sessions-title { "Sessions" }
            @if sessions.sessions.is_empty() { (layout::empty("No agent is connected.")) } @else { (sessions::rows(&sessions.sessions, visit)) }
        }
        section #rules aria-labelledby="rules-title" {
            h2 #rules-title { "Rules" }
            (rules(&subscription.spec.unwrap_or_default()))
        }
    })
}

fn figure(label: &str, value: u64, caption: &str) -> Markup {
    html! { div.figure { p.label { (label) } p.value { (shown::count(value)) } p.caption { (caption) } } }
}

fn rules(spec: &v1::SubscriptionSpec) -> Markup {
    let filter = spec.filter.clone().unwrap_or_default();
    let retry = spec.retry_policy.unwrap_or_default();
    let number = |value: Option<u64>| html! { @match value { Some(value) => (shown::count(value)), None => (shown::nothing()) } };
    let list = |texts: &[String]| html! { @if texts.is_empty() { "any" } @else { ul { @for text in texts { li { code { (shown::plain(text)) } } } } } };
    let attributes: Vec<_> = filter.attributes.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    layout::facts(&[
        ("Types", list(&filter.types)),
        ("Sources", list(&filter.sources)),
        (
            "Subject begins with",
            html! { @if filter.subject_prefix.is_empty() { "anything" } @else { code { (shown::plain(&filter.subject_prefix)) } } },
        ),
        ("Attributes", list(&attributes)),
        ("Ack deadline", shown::duration(spec.ack_deadline.as_ref())),
        ("Longest lease", shown::duration(spec.max_lease_total.as_ref())),
        ("Attempts", number(retry.max_attempts.map(u64::from))),
        ("Lost sessions", number(retry.max_losses.map(u64::from))),
        ("Backoff", html! { (shown::duration(retry.min_backoff.as_ref())) " to " (shown::duration(retry.max_backoff.as_ref())) }),
        ("Outstanding at most", number(spec.max_outstanding.map(u64::from))),
        ("Outstanding bytes at most", number(spec.max_outstanding_bytes)),
        ("Expires after", shown::duration(spec.expire_after.as_ref())),
    ])
}
