//! What a template may say, and what is made of it for a request.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::borrow::Cow;

use http::HeaderMap;
use proptest::prelude::*;

use super::*;

fn fill(template: &str) -> Result<String, String> {
    let mut headers = HeaderMap::new();
    headers.insert("x-id", "7".parse().unwrap());
    headers.append("x-twice", "a".parse().unwrap());
    headers.append("x-twice", "b".parse().unwrap());
    let mut selector = Selector::default();
    let bound = template.parse::<Template>().unwrap().bind(&mut selector)?;
    let selected = selector.select(r#"{"id":"pay_001","status":"ok","none":null}"#).unwrap();
    bound.fill(&headers, &selected).map(Cow::into_owned).map_err(|absent| absent.to_string())
}

#[test]
fn parts_are_filled_in() {
    assert_eq!(fill("{/id}:{/status}").unwrap(), "pay_001:ok");
    assert_eq!(fill("h/{header:X-Id}/x").unwrap(), "h/7/x");
    assert_eq!(fill("{/none|header:x-id|/id}").unwrap(), "7");
    assert_eq!(fill("{/none|/nothing}").unwrap_err(), "the payload has no text at /none");
    assert_eq!(fill("").unwrap(), "");
}

#[test]
fn p7_a_missing_part_makes_the_text_missing() {
    assert_eq!(fill("{/id}:{/none}").unwrap_err(), "the payload has no text at /none");
    assert_eq!(fill("{header:X-Twice}").unwrap_err(), "there is not exactly one header x-twice with a text");
}

#[test]
fn what_is_no_template_is_refused_with_what_is_wrong() {
    for (wrong, problem) in [
        ("{", "a { without its }"),
        ("a}b", "a } without its {"),
        ("{thing}", "{thing} is no part"),
        ("{header:a b}", "is not the name of a header"),
        ("{/~9}", "is not a JSON pointer"),
        ("a]b", "a ] without its ["),
        ("[a", "a [ without its ]"),
        ("[[a]", "do not nest"),
        ("{mac:thing}", "{thing} is no part"),
    ] {
        let error = wrong.parse::<Template>().unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert!(fill("{body}").unwrap_err().contains("cannot be used here"));
}

proptest! {
    #[test]
    fn no_text_makes_parsing_panic_and_what_parses_is_shown_as_it_was_meant(text in "[a-z{}\\[\\]|:/~ ]{0,40}") {
        if let Ok(template) = text.parse::<Template>() {
            prop_assert_eq!(template.to_string().parse::<Template>(), Ok(template));
        }
    }
}
