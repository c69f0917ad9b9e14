//! Retry and discard quarantined webhooks.
//!
//! Constraint: what cannot be taken back is asked about first, on a page and without a script; one press of a button is bounded.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use maud::html;
use tonic::Status;
use waypost_proto::v1::{self, QuarantineOutcome, QuarantineResult, quarantine_admin_service_server::QuarantineAdminService};

use super::{
    Pages,
    forms::{self, Fields, Sent},
    layout::{self, Place, Trouble},
    pages::{Note, Visit},
    shown,
};
use crate::limits;

const LIST: &str = "/quarantine";

/// What a form is about: webhooks by their ids, or all of a fingerprint.
fn asked(sent: &Sent) -> Option<(Vec<String>, String)> {
    let (ids, fingerprint) = (sent.values("id"), sent.value("fingerprint").to_owned());
    (ids.is_empty() != fingerprint.is_empty()).then_some((ids, fingerprint))
}

fn nothing_chosen(pages: &Pages, sent: &Sent) -> Response {
    forms::done(pages, sent.back(LIST), Note { is_good: false, text: "Choose at least one webhook first.".to_owned() })
}

/// Where to go once it is done: a page of one that is gone would be an error.
fn back<'a>(sent: &'a Sent, results: &[QuarantineResult]) -> &'a str {
    let back = sent.back(LIST);
    let is_gone = results.iter().any(|result| result.refusal.is_none() && result.outcome() != QuarantineOutcome::Kept);
    if back.starts_with("/quarantine/") && is_gone { LIST } else { back }
}

pub(super) async fn retry(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let Some((ids, fingerprint)) = asked(&sent) else { return Ok(nothing_chosen(&pages, &sent)) };
    let quarantine = &pages.quarantine;
    let (results, are_more) = each_page(|page_token| {
        let request = v1::RetryQuarantinedWebhooksRequest { ids: ids.clone(), fingerprint: fingerprint.clone(), page_token };
        let asked = quarantine.retry_quarantined_webhooks(visit.asks(request));
        async { asked.await.map(|answer| answer.into_inner()).map(|answer| (answer.results, answer.next_page_token)) }
    })
    .await?;
    Ok(forms::done(&pages, back(&sent, &results), retried(&results, are_more)))
}

pub(super) async fn discard(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let Some((ids, fingerprint)) = asked(&sent) else { return Ok(nothing_chosen(&pages, &sent)) };
    if !sent.is_sure() {
        return Ok(ask(&pages, &visit, &sent, &ids, &fingerprint));
    }
    let quarantine = &pages.quarantine;
    let (results, are_more) = each_page(|page_token| {
        let request = v1::DiscardQuarantinedWebhooksRequest { ids: ids.clone(), fingerprint: fingerprint.clone(), page_token };
        let asked = quarantine.discard_quarantined_webhooks(visit.asks(request));
        async { asked.await.map(|answer| answer.into_inner()).map(|answer| (answer.results, answer.next_page_token)) }
    })
    .await?;
    Ok(forms::done(&pages, back(&sent, &results), discarded(&results, are_more)))
}

/// What became of them, page after page, and whether there are more than one press of a button is for.
async fn each_page<A: Future<Output = Result<(Vec<QuarantineResult>, String), Status>>>(
    mut ask: impl FnMut(String) -> A,
) -> Result<(Vec<QuarantineResult>, bool), Trouble> {
    let (mut results, mut page_token) = (Vec::new(), String::new());
    loop {
        let (more, next) = ask(page_token).await?;
        results.extend(more);
        if next.is_empty() || results.len() >= limits::MAX_PAGE_RETRIES {
            return Ok((results, !next.is_empty()));
        }
        page_token = next;
    }
}

/// Asks whether it is meant.
fn ask(pages: &Pages, visit: &Visit, sent: &Sent, ids: &[String], fingerprint: &str) -> Response {
    let number = ids.len();
    let what = match number {
        0 => "all webhooks that fail like this".to_owned(),
        1 => "a webhook".to_owned(),
        _ => format!("{number} webhooks"),
    };
    let content = html! {
        p { "They were verified, and no event was made of them. Their bodies go for good, and their providers will not send them again." }
        form.actions method="post" action="/quarantine/discard" {
            (forms::hidden_and_sure(pages, sent.back(LIST)))
            @for id in ids { input type="hidden" name="id" value=(id); }
            @if number == 0 { input type="hidden" name="fingerprint" value=(fingerprint); }
            button.danger autofocus { "Discard " (what) }
            a href=(sent.back(LIST)) { "Keep" @if number == 1 { " it" } @else { " them" } }
        }
        ul { @for id in ids { li { a href={ "/quarantine/" (shown::encoded(id)) } { code { (shown::plain(id)) } } } } }
    };
    layout::page(visit, Place::Quarantine, &format!("Discard {what}?"), None, &content).into_response()
}

fn plural(count: usize) -> String {
    if count == 1 { "One webhook".to_owned() } else { format!("{} webhooks", shown::count(count as u64)) }
}

fn retried(results: &[QuarantineResult], are_more: bool) -> Note {
    let count = |wanted: &[QuarantineOutcome]| results.iter().filter(|result| wanted.contains(&result.outcome())).count();
    let done = count(&[QuarantineOutcome::Stored, QuarantineOutcome::Duplicate]);
    let mut text = if done == 1 { "One webhook is an event now.".to_owned() } else { format!("{} are events now.", plural(done)) };
    let kept = results.iter().find_map(|result| result.webhook.as_ref());
    if let Some(first) = kept {
        text = format!("{text} {} did not fit yet: {} {}", plural(count(&[QuarantineOutcome::Kept])), first.path, first.message);
    }
    let note = told(text, results, are_more);
    Note { is_good: note.is_good && kept.is_none(), ..note }
}

fn discarded(results: &[QuarantineResult], are_more: bool) -> Note {
    let done = results.iter().filter(|result| result.refusal.is_none()).count();
    told(format!("{} discarded.", plural(done)), results, are_more)
}

/// What was done, and what was not.
fn told(mut text: String, results: &[QuarantineResult], are_more: bool) -> Note {
    let mut refusals = results.iter().filter_map(|result| result.refusal.as_ref());
    let refusal = refusals.next();
    if let Some(first) = refusal {
        text = format!("{text} {} refused: {}", plural(1 + refusals.count()), first.message);
    }
    if are_more {
        text += " There are more.";
    }
    Note { is_good: refusal.is_none(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_what_still_does_not_fit() {
        let webhook = v1::QuarantinedWebhook { path: "/issue/title".into(), message: "is missing".into(), ..Default::default() };
        let result = |outcome: QuarantineOutcome, webhook| QuarantineResult { outcome: outcome.into(), webhook, ..Default::default() };
        let stored = || result(QuarantineOutcome::Stored, None);
        assert_eq!(retried(&[stored()], false), Note { is_good: true, text: "One webhook is an event now.".to_owned() });
        let note = retried(&[stored(), stored(), result(QuarantineOutcome::Kept, Some(webhook))], true);
        let text = "2 webhooks are events now. One webhook did not fit yet: /issue/title is missing There are more.";
        assert_eq!(note, Note { is_good: false, text: text.to_owned() });
    }
}
