//! Redrive and discard.
//!
//! Constraints: nothing is done without the form's key; what cannot be taken back is asked about first, on a page and without a script; each
//! ends in a redirect, so that loading a page again does nothing again.

use std::sync::Arc;

use axum::{
    Form,
    extract::State,
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::html;
use waypost_proto::v1::{self, dead_letter_admin_service_server::DeadLetterAdminService};

use super::{
    Pages,
    layout::{self, Place, Trouble},
    pages::{Note, Visit},
    shown,
};

/// The fields of a form, one of which may be there several times.
type Fields = Form<Vec<(String, String)>>;

/// What a form asks for.
struct Asked {
    ids: Vec<String>,
    /// Where to go afterwards.
    back: String,
    is_sure: bool,
}

impl Asked {
    fn read(pages: &Pages, Form(fields): Fields) -> Result<Self, Trouble> {
        let value = |name: &str| fields.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value);
        if !pages.is_form_key(value("key")) {
            let text = "The form is not one of this page, or the broker was started again since. Go back, load the page again and repeat.";
            return Err(Trouble::new(StatusCode::FORBIDDEN, text));
        }
        let back = Some(value("back")).filter(|back| is_ours(back)).unwrap_or(LIST).to_owned();
        let ids = fields.iter().filter(|(field, _)| field == "id").map(|(_, id)| id.clone()).collect();
        Ok(Self { ids, back, is_sure: value("sure") == "yes" })
    }

    /// Back to where it was asked for, with what became of it.
    fn done(&self, pages: &Pages, back: &str, note: Note) -> Response {
        Redirect::to(&shown::link(back, &[("note", &pages.note(note))])).into_response()
    }

    fn nothing_chosen(&self, pages: &Pages) -> Response {
        self.done(pages, &self.back, Note { is_good: false, text: "Choose at least one dead letter first.".to_owned() })
    }
}

const LIST: &str = "/dead-letters";

/// Whether it is a list of dead letters or one of them, and leads nowhere else.
fn is_ours(back: &str) -> bool {
    back.strip_prefix(LIST).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && back.bytes().all(|byte| byte.is_ascii_graphic())
}

pub(super) async fn redrive(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let asked = Asked::read(&pages, form)?;
    if asked.ids.is_empty() {
        return Ok(asked.nothing_chosen(&pages));
    }
    let request = visit.asks(v1::RedriveDeadLettersRequest { ids: asked.ids.clone() });
    let results = pages.dead_letters.redrive_dead_letters(request).await?.into_inner().results;
    Ok(asked.done(&pages, &asked.back, note("on its way again", "on their way again", &results)))
}

pub(super) async fn discard(State(pages): State<Arc<Pages>>, visit: Visit, form: Fields) -> Result<Response, Trouble> {
    let asked = Asked::read(&pages, form)?;
    if asked.ids.is_empty() {
        return Ok(asked.nothing_chosen(&pages));
    }
    if !asked.is_sure {
        return Ok(ask(&pages, &visit, &asked));
    }
    let request = visit.asks(v1::DiscardDeadLettersRequest { ids: asked.ids.clone() });
    let results = pages.dead_letters.discard_dead_letters(request).await?.into_inner().results;
    // A page of one that is gone would be an error.
    let back = if asked.back.starts_with("/dead-letters/") { LIST } else { &asked.back };
    Ok(asked.done(&pages, back, note("discarded", "discarded", &results)))
}

/// Asks whether it is meant.
fn ask(pages: &Pages, visit: &Visit, asked: &Asked) -> Response {
    let number = asked.ids.len();
    let content = html! {
        p { "The event and its history go for good, for this subscription. Other subscriptions, and the log, keep the event." }
        form.actions method="post" action="/dead-letters/discard" {
            input type="hidden" name="key" value=(pages.form_key());
            input type="hidden" name="back" value=(asked.back);
            input type="hidden" name="sure" value="yes";
            @for id in &asked.ids { input type="hidden" name="id" value=(id); }
            button.danger autofocus { "Discard " (number) @if number == 1 { " dead letter" } @else { " dead letters" } }
            a href=(asked.back) { "Keep" @if number == 1 { " it" } @else { " them" } }
        }
        ul { @for id in &asked.ids { li { a href={ "/dead-letters/" (shown::encoded(id)) } { code { (shown::plain(id)) } } } } }
    };
    let title = if number == 1 { "Discard a dead letter?".to_owned() } else { format!("Discard {number} dead letters?") };
    layout::page(visit, Place::DeadLetters, &title, None, &content).into_response()
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
    fn nobody_is_sent_elsewhere() {
        for back in ["/dead-letters", "/dead-letters?after=x", "/dead-letters/0-1"] {
            assert!(is_ours(back), "{back}");
        }
        for back in ["", "//evil.example", "https://evil.example/dead-letters", "/dead-lettersx", "/dead-letters/\r\nx", "/\\evil.example"]
        {
            assert!(!is_ours(back), "{back}");
        }
    }

    #[test]
    fn a_note_tells_what_was_refused_and_why() {
        let refusal = v1::Refusal { message: "it is gone".to_owned(), ..v1::Refusal::default() };
        let result = |refusal| v1::DeadLetterResult { id: String::new(), refusal };
        assert_eq!(note("gone", "gone", &[result(None)]), Note { is_good: true, text: "One dead letter is gone.".to_owned() });
        let both = note("gone", "gone", &[result(None), result(Some(refusal))]);
        assert_eq!(both, Note { is_good: false, text: "One dead letter is gone. 1 refused: it is gone".to_owned() });
    }
}
