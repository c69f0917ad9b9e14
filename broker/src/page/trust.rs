//! Which requests are this page's own.
//!
//! Constraints: who reaches a loopback address through somebody's browser under a name of their own (DNS rebinding) sees nothing, since a page
//! that asks for no token answers only to addresses, and one that does never gets it under another name; what changes something comes from a form of this page, which three things say: where
//! the browser says it comes from, what it says of the site, and the form's key.

use std::sync::Arc;

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, Method, StatusCode, header::ORIGIN};

use super::{Pages, layout::Trouble};
use crate::server::{OwnPages, origins};

/// Turns away what is not this page's own.
pub(super) async fn admit(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Response {
    match refusal(&pages, request.method(), &request) {
        None => next.run(request).await,
        Some(trouble) => trouble.into_response(),
    }
}

fn refusal(pages: &Pages, method: &Method, request: &Request) -> Option<Trouble> {
    let Some(host) = origins::host(request.uri(), request.headers()) else {
        return Some(Trouble::new(StatusCode::BAD_REQUEST, "The request names no host."));
    };
    if !OwnPages::of(pages.authority.is_some()).trust(&host) {
        let text = "This page asks for no token, so it answers only to an address, such as 127.0.0.1 or localhost, and to no other name: \
                    another site could have made up that name. Open it by its address.";
        return Some(Trouble::new(StatusCode::MISDIRECTED_REQUEST, text));
    }
    let changes = !matches!(*method, Method::GET | Method::HEAD);
    if changes && !is_from_here(request, &host) {
        let text = "This was sent by a page of another site. Nothing was done.";
        return Some(Trouble::new(StatusCode::FORBIDDEN, text));
    }
    None
}

/// As far as a browser says. One that says nothing of it, or a tool, still needs the form's key.
fn is_from_here(request: &Request, host: &http::uri::Authority) -> bool {
    let headers: &HeaderMap = request.headers();
    let is_same_site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
    is_same_site && headers.get(ORIGIN).is_none_or(|origin| origins::is_same(origin, host))
}
