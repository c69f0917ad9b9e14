//! Who may look, and how they sign in.
//!
//! Constraints: the same tokens, the same table and the same words as for calls; the token is in a cookie that no script can read, that no other
//! site's page can make a browser send, and that ends with the browser; it is good for these pages alone, never for a call. Where no
//! tokens are configured there is nothing to sign in to.

use std::{borrow::Cow, sync::Arc};

use axum::{
    Form,
    extract::{Query, Request, State},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
};
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{AUTHORIZATION, COOKIE, ORIGIN, SET_COOKIE},
};
use maud::{Markup, html};
use serde::Deserialize;
use waypost_proto::v1::ErrorReason;

use super::{
    Pages,
    layout::{self, Trouble},
    shown,
};
use crate::access::{Need, guard};

/// The cookie with the token.
const COOKIE_NAME: &str = "waypost_token";

/// Lets those through who may look, or act; shows everybody else where to sign in.
pub(super) async fn guard(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Response {
    let Some(authority) = &pages.authority else { return next.run(request).await };
    match guard::admitted(authority, &credentials(request.headers()), &request) {
        Ok(caller) => guard::admit(caller, request, next).await,
        Err(fault) if fault.reason == ErrorReason::Unauthenticated && is_page(&request) => {
            let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
            Redirect::to(&shown::link("/sign-in", &[("to", path)])).into_response()
        }
        Err(fault) => Trouble::from(fault).into_response(),
    }
}

/// Something that a person opens, as opposed to what a page fetches or sends.
fn is_page(request: &Request) -> bool {
    *request.method() == Method::GET && request.uri().path() != "/live" && !request.headers().contains_key(AUTHORIZATION)
}

/// As a call would have them: its own, or what is in the cookie.
fn credentials(headers: &HeaderMap) -> Cow<'_, HeaderMap> {
    if headers.contains_key(AUTHORIZATION) {
        return Cow::Borrowed(headers);
    }
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(';'));
    let token = cookies.filter_map(|cookie| cookie.trim().split_once('=')).find(|(name, _)| *name == COOKIE_NAME);
    Cow::Owned(token.map_or_else(HeaderMap::new, |(_, token)| bearer(token)))
}

fn bearer(token: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(mut value) = HeaderValue::try_from(format!("Bearer {token}")) {
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    headers
}

/// Where to go once signed in.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    to: String,
}

/// What the form sends. Not for any output: it holds a token.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry {
    key: String,
    to: String,
    token: String,
}

pub(super) async fn show(State(pages): State<Arc<Pages>>, Query(wanted): Query<Wanted>) -> Response {
    if pages.authority.is_none() {
        return Redirect::to("/").into_response();
    }
    form(&pages, &wanted.to, None).into_response()
}

pub(super) async fn enter(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(entry): Form<Entry>) -> Result<Response, Trouble> {
    let Some(authority) = &pages.authority else { return Ok(Redirect::to("/").into_response()) };
    if !pages.is_form_key(&entry.key) {
        let text = "The form is an old one: the broker was started again since. It is fresh now.";
        return Ok((StatusCode::FORBIDDEN, form(&pages, &entry.to, Some(text))).into_response());
    }
    let token = entry.token.trim();
    let caller = authority.authenticate(&bearer(token)).and_then(|caller| caller.may_call(Need::Inspect));
    if let Err(fault) = caller {
        return Ok((fault.http(), form(&pages, &entry.to, Some(&fault.message))).into_response());
    }
    let to = if is_ours(&entry.to) { &entry.to } else { "/" };
    Ok((cookie(token, &headers), Redirect::to(to)).into_response())
}

pub(super) async fn leave(State(pages): State<Arc<Pages>>, headers: HeaderMap, Form(entry): Form<Entry>) -> Result<Response, Trouble> {
    if !pages.is_form_key(&entry.key) {
        return Err(Trouble::new(StatusCode::FORBIDDEN, "The form is not one of this page. Go back, load the page again and repeat."));
    }
    let mut gone = cookie("", &headers);
    for (_, value) in &mut gone {
        let text = value.to_str().map(|text| format!("{text}; Max-Age=0")).unwrap_or_default();
        *value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""));
    }
    Ok((gone, Redirect::to("/sign-in")).into_response())
}

/// The cookie: kept off plain connections if it came over another kind.
fn cookie(token: &str, headers: &HeaderMap) -> HeaderMap {
    let is_secure = headers.get(ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if is_secure { "; Secure" } else { "" };
    // A token that was found to be one fits into a header.
    let value = HeaderValue::try_from(format!("{COOKIE_NAME}={token}; Path=/; HttpOnly; SameSite=Strict{secure}"));
    value.map_or_else(|_| HeaderMap::new(), |value| HeaderMap::from_iter([(SET_COOKIE, value)]))
}

/// Whether it leads to a page of this broker.
fn is_ours(to: &str) -> bool {
    to.starts_with('/') && !to.starts_with("//") && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

fn form(pages: &Pages, to: &str, problem: Option<&str>) -> Markup {
    layout::outside(
        "Sign in",
        &html! {
            @if let Some(problem) = problem { p.note.bad role="alert" #problem { (shown::plain(problem)) } }
            form.filter method="post" action="/sign-in" {
                input type="hidden" name="key" value=(pages.form_key());
                input type="hidden" name="to" value=(to);
                label {
                    "Token"
                    input type="password" name="token" required autofocus autocomplete="current-password" aria-describedby=[problem.map(|_| "problem")];
                }
                button { "Sign in" }
            }
            p.muted {
                "With the scope " code { "inspect" } " it shows everything, with " code { "admin" } " it acts as well. "
                code { "waypost token create" } " makes one."
            }
        },
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_token_is_found_in_its_cookie_and_a_header_comes_before_it() {
        let cookies = HeaderMap::from_iter([(COOKIE, "a=b; waypost_token=secret ;x".parse().unwrap())]);
        assert_eq!(credentials(&cookies)[AUTHORIZATION], "Bearer secret");
        let mut both = cookies;
        both.insert(AUTHORIZATION, "Bearer other".parse().unwrap());
        assert_eq!(credentials(&both)[AUTHORIZATION], "Bearer other");
        assert!(credentials(&HeaderMap::new()).is_empty());
    }

    #[test]
    fn the_cookie_is_kept_from_scripts_other_sites_and_plain_connections() {
        let set = |origin: &str| {
            let headers = HeaderMap::from_iter([(ORIGIN, origin.parse().unwrap())]);
            cookie("t", &headers)[SET_COOKIE].to_str().unwrap().to_owned()
        };
        assert_eq!(set("http://127.0.0.1:8482"), "waypost_token=t; Path=/; HttpOnly; SameSite=Strict");
        assert_eq!(set("https://broker.example"), "waypost_token=t; Path=/; HttpOnly; SameSite=Strict; Secure");
    }

    #[test]
    fn nobody_is_sent_elsewhere() {
        assert!(is_ours("/story?id=a%2F"));
        for to in ["", "https://evil.example", "//evil.example", "/\\evil.example", "/a\nb"] {
            assert!(!is_ours(to), "{to}");
        }
    }
}
