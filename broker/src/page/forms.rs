//! What a form of these pages sends, and how an action ends.
//!
//! Constraints: nothing is done without the form's key; nobody is led elsewhere; each action ends in a redirect, so that loading a page again
//! does nothing again.

use axum::{
    Form,
    response::{IntoResponse, Redirect, Response},
};
use http::StatusCode;
use maud::{Markup, html};

use super::{Pages, layout::Trouble, pages::Note, shown};

/// The fields of a form, one of which may be there several times.
pub(super) type Fields = Form<Vec<(String, String)>>;

/// What a form of these pages sent.
pub(super) struct Sent(Vec<(String, String)>);

impl Sent {
    /// Takes a form that has the key.
    pub(super) fn read(pages: &Pages, Form(fields): Fields) -> Result<Self, Trouble> {
        let sent = Self(fields);
        if pages.is_form_key(sent.value("key")) {
            return Ok(sent);
        }
        let text = "The form is not one of this page, or the broker was started again since. Go back, load the page again and repeat.";
        Err(Trouble::new(StatusCode::FORBIDDEN, text))
    }

    /// The first field of a name; empty if there is none.
    pub(super) fn value(&self, name: &str) -> &str {
        self.0.iter().find(|(field, _)| field == name).map_or("", |(_, value)| value)
    }

    /// All fields of a name.
    pub(super) fn values(&self, name: &str) -> Vec<String> {
        self.0.iter().filter(|(field, _)| field == name).map(|(_, value)| value.clone()).collect()
    }

    /// Whether it was asked whether it is meant.
    pub(super) fn is_sure(&self) -> bool {
        self.value("sure") == "yes"
    }

    /// Where to go afterwards: to a list, or to a page of it.
    pub(super) fn back(&self, list: &'static str) -> &str {
        Some(self.value("back")).filter(|back| is_of(list, back)).unwrap_or(list)
    }
}

/// The fields of every form that leads back to a list, or to a page of it.
pub(super) fn hidden(pages: &Pages, back: &str) -> Markup {
    html! {
        input type="hidden" name="key" value=(pages.form_key());
        input type="hidden" name="back" value=(back);
    }
}

/// Those of a form that asks whether it is meant.
pub(super) fn hidden_and_sure(pages: &Pages, back: &str) -> Markup {
    html! {
        (hidden(pages, back))
        input type="hidden" name="sure" value="yes";
    }
}

/// Back to where it was asked for, with what became of it.
pub(super) fn done(pages: &Pages, back: &str, note: Note) -> Response {
    Redirect::to(&shown::link(back, &[("note", &pages.note(note))])).into_response()
}

/// Whether it is a list or a page of it, and leads nowhere else.
fn is_of(list: &str, back: &str) -> bool {
    back.strip_prefix(list).is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
        && back.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for back in ["/dead-letters", "/dead-letters?after=x", "/dead-letters/0-1"] {
            assert!(is_of("/dead-letters", back), "{back}");
        }
        for back in ["", "//evil.example", "https://evil.example/dead-letters", "/dead-lettersx", "/dead-letters/\r\nx", "/\\evil.example"]
        {
            assert!(!is_of("/dead-letters", back), "{back}");
        }
    }
}
