//! Retry and discard quarantined webhooks.
//!
//! Constraint: what cannot be taken back is asked about first, on a page and without a script; one press of a button is bounded.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use maud::html;
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
    let (mut results, mut page_token) = (Vec::new(), String::new());
    let mut are_more = true;
    while are_more && results.len() < limits::MAX_PAGE_RETRIES {
        let request = v1::RetryQuarantinedWebhooksRequest { ids: ids.clone(), fingerprint: fingerprint.clone(), page_token };
        let answer = pages.quarantine.retry_quarantined_webhooks(visit.asks(request)).await?.into_inner();
        results.extend(answer.results);
        page_token = answer.next_page_token;
        are_more = !page_token.is_empty();
    }
    Ok(forms::done(&pages, back(&sent, &results), retried(&results, are_more)))
}

pub(super) async fn discard(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let Some((ids, fingerprint)) = asked(&sent) else { return Ok(nothing_chosen(&pages, &sent)) };
    if !sent.is_sure() {
        return Ok(ask(&pages, &visit, &sent, &ids, &fingerprint));
    }
    let (mut results, mut page_token) = (Vec::new(), String::new());
    let mut are_more = true;
    while are_more && results.len() < limits::MAX_PAGE_RETRIES {
        let request = v1::DiscardQuarantinedWebhooksRequest { ids: ids.clone(), fingerprint: fingerprint.clone(), page_token };
        let answer = pages.quarantine.discard_quarantined_webhooks(visit.asks(request)).await?.into_inner();
        results.extend(answer.results);
        page_token = answer.next_page_token;
        are_more = !page_token.is_empty();
    }
    Ok(forms::done(&pages, back(&sent, &results), discarded(&results, are_more)))
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
            input type="hidden" name="key" value=(pages.form_key());
            input type="hidden" name="back" value=(sent.back(LIST));
            input type="hidden" name="sure" value="yes";
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
    let refusal = results.iter().find_map(|result| result.refusal.as_ref());
    if let Some(first) = refusal {
        text = format!("{text} {} refused: {}", plural(count(&[QuarantineOutcome::Unspecified])), first.message);
    }
    if are_more {
        text += " There are more.";
    }
    Note { is_good: kept.is_none() && refusal.is_none(), text }
}

fn discarded(results: &[QuarantineResult], are_more: bool) -> Note {
    let done = results.iter().filter(|result| result.refusal.is_none()).count();
    let mut text = format!("{} discarded.", plural(done));
    let refusal = results.iter().find_map(|result| result.refusal.as_ref());
    if let Some(first) = refusal {
        text = format!("{text} {} refused: {}", plural(results.len() - done), first.message);
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
