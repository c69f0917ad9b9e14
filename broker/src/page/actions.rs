//! Redrive and discard dead letters.
//!
//! Constraint: what cannot be taken back, and what concerns more than can be seen, is asked about first, on a page and without a script.

use std::sync::Arc;

use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use maud::html;
use waypost_proto::v1::{self, dead_letter_admin_service_server::DeadLetterAdminService};

use super::{
    Pages,
    forms::{self, Fields, Sent},
    layout::{self, Place, Trouble},
    pages::{Note, Visit},
    shown,
};
use crate::limits;

const LIST: &str = "/dead-letters";

fn nothing_chosen(pages: &Pages, sent: &Sent) -> Response {
    forms::done(pages, sent.back(LIST), Note { is_good: false, text: "Choose at least one dead letter first.".to_owned() })
}

pub(super) async fn redrive(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let ids = sent.values("id");
    if ids.is_empty() {
        return Ok(nothing_chosen(&pages, &sent));
    }
    let request = visit.asks(v1::RedriveDeadLettersRequest { ids });
    let results = pages.dead_letters.redrive_dead_letters(request).await?.into_inner().results;
    Ok(forms::done(&pages, sent.back(LIST), note("on its way again", "on their way again", &results)))
}

pub(super) async fn discard(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let ids = sent.values("id");
    if ids.is_empty() {
        return Ok(nothing_chosen(&pages, &sent));
    }
    if !sent.is_sure() {
        return Ok(ask_to_discard(&pages, &visit, &sent, &ids));
    }
    let request = visit.asks(v1::DiscardDeadLettersRequest { ids });
    let results = pages.dead_letters.discard_dead_letters(request).await?.into_inner().results;
    // A page of one that is gone would be an error.
    let back = sent.back(LIST);
    let back = if back.starts_with("/dead-letters/") { LIST } else { back };
    Ok(forms::done(&pages, back, note("discarded", "discarded", &results)))
}

/// Asks whether it is meant.
fn ask_to_discard(pages: &Pages, visit: &Visit, sent: &Sent, ids: &[String]) -> Response {
    let number = ids.len();
    let content = html! {
        p { "The event and its history go for good, for this subscription. Other subscriptions, and the log, keep the event." }
        form.actions method="post" action="/dead-letters/discard" {
            (forms::hidden_and_sure(pages, sent.back(LIST)))
            @for id in ids { input type="hidden" name="id" value=(id); }
            button.danger autofocus { "Discard " (number) @if number == 1 { " dead letter" } @else { " dead letters" } }
            a href=(sent.back(LIST)) { "Keep" @if number == 1 { " it" } @else { " them" } }
        }
        ul { @for id in ids { li { a href={ "/dead-letters/" (shown::encoded(id)) } { code { (shown::plain(id)) } } } } }
    };
    let title = if number == 1 { "Discard a dead letter?".to_owned() } else { format!("Discard {number} dead letters?") };
    layout::page(visit, Place::DeadLetters, &title, None, &content).into_response()
}

/// The fields that say which dead letters a list shows.
pub(super) const WHICH: [(&str, &str); 3] = [("subscription", "Subscription"), ("event_type", "Event type"), ("reason", "Reason")];

pub(super) async fn redrive_all(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let sent = Sent::read(&pages, form)?;
    let (ids, are_more) = matching(&pages, &visit, &sent).await?;
    if ids.is_empty() {
        let text = "No dead letter matches that is not on its way already.".to_owned();
        return Ok(forms::done(&pages, sent.back(LIST), Note { is_good: false, text }));
    }
    if !sent.is_sure() {
        return Ok(ask_to_redrive(&pages, &visit, &sent, ids.len(), are_more));
    }
    let mut results = Vec::with_capacity(ids.len());
    for ids in ids.chunks(limits::MAX_ITEMS_PER_CALL) {
        let request = visit.asks(v1::RedriveDeadLettersRequest { ids: ids.to_vec() });
        results.extend(pages.dead_letters.redrive_dead_letters(request).await?.into_inner().results);
    }
    Ok(forms::done(&pages, sent.back(LIST), note("on its way again", "on their way again", &results)))
}

/// Those that match and are not on their way, as many as are redriven at a time; and whether there are more.
async fn matching(pages: &Pages, visit: &Visit, sent: &Sent) -> Result<(Vec<String>, bool), Trouble> {
    let mut ids = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListDeadLettersRequest {
            page_size: Some(limits::MAX_PAGE),
            page_token,
            subscription: sent.value("subscription").to_owned(),
            event_type: sent.value("event_type").to_owned(),
            reason: sent.value("reason").parse().unwrap_or_default(),
        };
        let listed = pages.dead_letters.list_dead_letters(visit.asks(request)).await?.into_inner();
        ids.extend(listed.dead_letters.into_iter().filter(|dead| !dead.redriving).map(|dead| dead.id));
        page_token = listed.next_page_token;
        if page_token.is_empty() || ids.len() > limits::MAX_PAGE_REDRIVES {
            let are_more = ids.len() > limits::MAX_PAGE_REDRIVES;
            ids.truncate(limits::MAX_PAGE_REDRIVES);
            return Ok((ids, are_more));
        }
    }
}

fn ask_to_redrive(pages: &Pages, visit: &Visit, sent: &Sent, number: usize, are_more: bool) -> Response {
    let number = shown::count(number as u64);
    let wanted = WHICH.map(|(field, name)| {
        let value = sent.value(field);
        let text = if field == "reason" { super::dead_letters::reason(value.parse().unwrap_or_default()) } else { value };
        (name, html! { @if value.is_empty() { "any" } @else { code { (shown::plain(text)) } } })
    });
    let content = html! {
        p {
            "Each is delivered to its subscription again, with its attempts counted anew. Those that are on their way already are not among them."
            @if are_more { " More match: these are the newest, and the rest can be redriven after them." }
        }
        (layout::facts(&wanted))
        form.actions method="post" action="/dead-letters/redrive-all" {
            (forms::hidden_and_sure(pages, sent.back(LIST)))
            @for (field, _) in WHICH { input type="hidden" name=(field) value=(sent.value(field)); }
            button autofocus { "Redrive " (number) }
            a href=(sent.back(LIST)) { "Leave them" }
        }
    };
    layout::page(visit, Place::DeadLetters, &format!("Redrive {number} dead letters?"), None, &content).into_response()
}

/// How it went, with the first reason why something did not.
fn note(one: &str, many: &str, results: &[v1::DeadLetterResult]) -> Note {
    let refused = results.iter().filter_map(|result| result.refusal.as_ref());
    let (done, first) = (results.len() - refused.clone().count(), refused.clone().next());
    let mut text = match done {
        1 => format!("One dead letter is {one}."),
        _ => format!("{} dead letters are {many}.", shown::count(done as u64)),
    };
    if let Some(first) = first {
        text = format!("{text} {} refused: {}", shown::count((results.len() - done) as u64), first.message);
    }
    Note { is_good: first.is_none(), text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_tells_what_was_refused_and_why() {
        let refusal = v1::Refusal { message: "it is gone".to_owned(), ..v1::Refusal::default() };
        let result = |refusal| v1::DeadLetterResult { id: String::new(), refusal };
        assert_eq!(note("gone", "gone", &[result(None)]), Note { is_good: true, text: "One dead letter is gone.".to_owned() });
        let both = note("gone", "gone", &[result(None), result(Some(refusal))]);
        assert_eq!(both, Note { is_good: false, text: "One dead letter is gone. 1 refused: it is gone".to_owned() });
    }
}
