//! What flows now, and how everything fares.

use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use maud::{Markup, html};
use tonic::Status;
use waypost_proto::v1::{self, source_admin_service_server::SourceAdminService};
use waypost_store::{ReadLimits, Selection, StoredEvent};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::Visit,
    shown, subscriptions,
};
use crate::{access::Act, envelope::timestamp, error::Fault, limits};

pub(super) async fn show(State(pages): State<Arc<Pages>>, visit: Visit) -> Result<Markup, Trouble> {
    let content = parts(&pages, &visit).await?;
    Ok(layout::page(&visit, Place::Overview, "Overview", Some("/live?view=overview"), &content))
}

/// What is kept up to date.
pub(super) async fn parts(pages: &Pages, visit: &Visit) -> Result<Markup, Status> {
    let broker = &pages.broker;
    let list = v1::ListSubscriptionsRequest { page_size: Some(limits::PAGE_OVERVIEW_ROWS), ..Default::default() };
    let listed = subscriptions::ask(pages, visit, list).await?;
    let sources = v1::ListSourcesRequest { page_size: Some(limits::MAX_PAGE), ..Default::default() };
    let sources = pages.sources.list_sources(visit.asks(sources)).await?.into_inner().sources;
    // Nobody is shown more of the log than they may read.
    let may_read = visit.caller().may(&Act::ReadStories);
    let latest = if may_read.is_ok() { latest(pages).await? } else { Vec::new() };
    Ok(html! {
        section #now aria-label="Now" {
            div.figures {
                (pages.flow.render(visit.now, broker))
                (log(pages, latest.first(), visit))
                (disk(pages))
            }
        }
        section #sources aria-labelledby="sources-title" {
            h2 #sources-title { "Sources" }
            @if sources.is_empty() {
                (layout::empty("No source is configured: webhooks are refused. Agents can publish all the same."))
            } @else {
                (source_table(&sources, visit))
            }
        }
        section #subscriptions aria-labelledby="subscriptions-title" {
            h2 #subscriptions-title { "Subscriptions" }
            @if listed.subscriptions.is_empty() {
                (layout::empty("There is no subscription. An agent makes one when it subscribes."))
            } @else {
                (subscriptions::rows(&listed.subscriptions, visit))
                @if !listed.next_page_token.is_empty() {
                    p { a href="/subscriptions" { "All " (shown::count(broker.registry.list().len() as u64)) " subscriptions" } }
                }
            }
        }
        section #latest aria-labelledby="latest-title" {
            h2 #latest-title { "Latest events" }
            @if let Err(fault) = &may_read { (layout::empty(&fault.message)) }
            @else if latest.is_empty() { (layout::empty("No event was accepted yet.")) } @else { (event_table(&latest, visit)) }
        }
    })
}

/// The newest first, without their bodies: large ones are read a few at a time.
async fn latest(pages: &Pages) -> Result<Vec<StoredEvent>, Status> {
    let store = &pages.broker.store;
    let tail = *store.tail().borrow();
    let count = u64::from(limits::PAGE_OVERVIEW_ROWS);
    let mut at = tail.saturating_sub(count).max(store.disk().first);
    let room = ReadLimits { events: limits::PAGE_OVERVIEW_ROWS as usize, bytes: limits::READ_BYTES };
    let mut events = Vec::new();
    while at < tail {
        let batch = store.read(at, &Selection::All, room).await.map_err(Fault::from)?;
        events.extend(batch.events.into_iter().map(|event| StoredEvent { body: Bytes::new(), ..event }));
        // It goes on, or ends here.
        at = batch.next.max(at + 1);
    }
    events.reverse();
    Ok(events)
}

fn log(pages: &Pages, latest: Option<&StoredEvent>, visit: &Visit) -> Markup {
    let disk = pages.broker.store.disk();
    html! {
        div.figure {
            p.label { "Events kept" }
            p.value { (shown::count(disk.next.saturating_sub(disk.first))) }
            p.caption {
                "offsets " (disk.first) " to " (disk.next.saturating_sub(1).max(disk.first))
                @if let Some(event) = latest { ", the latest " (shown::when(Some(&timestamp(event.accepted_at)), visit.now)) }
            }
        }
    }
}

fn disk(pages: &Pages) -> Markup {
    let disk = pages.broker.store.disk();
    let used = disk.used.min(disk.cap);
    html! {
        div.figure {
            p.label { "Store" }
            p.value {
                (shown::size(disk.used)) " "
                @if disk.full { (shown::badge("bad", "full")) } @else if disk.damage > 0 { (shown::badge("bad", "damage found")) }
            }
            @if disk.cap > 0 && disk.cap < u64::MAX {
                meter min="0" max=(disk.cap) high=(disk.cap.saturating_sub(disk.reserve)) value=(used) aria-label="used of the store" {}
                p.caption { "of " (shown::size(disk.cap)) ", of which " (shown::size(disk.reserve)) " are kept to settle" }
            }
        }
    }
}

fn source_table(sources: &[v1::Source], visit: &Visit) -> Markup {
    let columns = [
        ("Source", ""),
        ("Health", ""),
        ("Verified by", ""),
        ("Accepted", "number"),
        ("Duplicates", "number"),
        ("Quarantined", "number"),
        ("Not verified", "number"),
        ("Refused", "number"),
        ("Last verified", ""),
    ];
    let rows = html! {
        @for source in sources {
            @let stats = source.stats.unwrap_or_default();
            tr {
                th scope="row" { (shown::plain(&source.name)) div.under { (shown::plain(&source.path)) } }
                td { (health(source, &stats)) }
                td { (shown::plain(&source.verification)) }
                td.number { (shown::count(stats.accepted)) }
                td.number { (shown::count(stats.duplicates)) }
                td.number {
                    @if stats.quarantined > 0 {
                        a href=(shown::link("/quarantine", &[("source", &source.name)])) { (shown::count(stats.quarantined)) }
                    } @else { span.muted { "0" } }
                }
                td.number { (shown::alarming(stats.unverified_refused, "warn")) }
                td.number { (shown::alarming(stats.refused, "warn")) }
                td { (shown::when(stats.last_received_at.as_ref(), visit.now)) }
            }
        }
    };
    layout::table("Sources and what became of their webhooks since the broker started", &columns, &rows)
}

/// The worst that is known of it comes first.
fn health(source: &v1::Source, stats: &v1::SourceStats) -> Markup {
    let heard = stats.last_received_at.is_some();
    match () {
        () if source.unverified => shown::badge("bad", "anybody can post"),
        () if stats.unverified_refused > 0 && !heard => shown::badge("bad", "no signature fits"),
        () if stats.quarantined > 0 => shown::badge("warn", "some do not fit their type"),
        () if stats.unverified_refused > 0 => shown::badge("warn", "some are not verified"),
        () if heard => shown::badge("good", "healthy"),
        () => shown::badge("idle", "not heard from yet"),
    }
}

fn event_table(events: &[StoredEvent], visit: &Visit) -> Markup {
    let columns = [("Accepted", ""), ("Type", ""), ("Source", ""), ("Subject", ""), ("Id", ""), ("Offset", "number")];
    let rows = html! {
        @for event in events {
            @let head = &event.head;
            @let story = shown::link("/story", &[("source", head.source()), ("id", head.id())]);
            tr {
                td { (shown::when(Some(&timestamp(event.accepted_at)), visit.now)) }
                th scope="row" { a href=(story) title=(shown::plain(head.event_type())) { (shown::short(&shown::plain(head.event_type()), 48)) } }
                td { (shown::short(&shown::plain(head.source()), 40)) }
                td { (shown::short(&shown::plain(head.subject()), 60)) }
                td.id { (shown::short(&shown::plain(head.id()), 40)) }
                td.number { (event.offset) }
            }
        }
    };
    layout::table("The latest events, the newest first", &columns, &rows)
}
