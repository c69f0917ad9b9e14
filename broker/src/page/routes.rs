//! Which path shows what, and the headers of every answer.
//!
//! Constraint: no answer may be framed, sniffed, kept by a cache in between, or run anything but this page's own script.

use std::sync::Arc;

use axum::{
    Router,
    extract::DefaultBodyLimit,
    http::{HeaderName, HeaderValue, header},
    middleware::{from_fn_with_state, map_response},
    response::{IntoResponse, Response},
    routing::{get, post},
};

use super::{
    Pages, actions, dead_letters, live, mending, overview, pausing, quarantine, sessions, sign_in, story, subscriptions, trust, webhooks,
};
use crate::limits;

/// Headers of every answer. The referrer policy is not the strictest: under that one, browsers hide the origin of forms.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         frame-ancestors 'none'; base-uri 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// All of it, for the admin listener.
pub fn router(pages: Pages) -> Router {
    let pages = Arc::new(pages);
    Router::new()
        .route("/", get(overview::show))
        .route("/subscriptions", get(subscriptions::list))
        .route("/subscriptions/{name}", get(subscriptions::show))
        .route("/pause", post(pausing::pause))
        .route("/resume", post(pausing::resume))
        .route("/sessions", get(sessions::list))
        .route("/dead-letters", get(dead_letters::list))
        .route("/dead-letters/{id}", get(dead_letters::show))
        .route("/dead-letters/redrive", post(actions::redrive))
        .route("/dead-letters/redrive-all", post(actions::redrive_all))
        .route("/dead-letters/discard", post(actions::discard))
        .route("/quarantine", get(quarantine::list))
        .route("/quarantine/{id}", get(quarantine::show))
        .route("/quarantine/retry", post(mending::retry))
        .route("/quarantine/discard", post(mending::discard))
        .route("/webhooks", get(webhooks::list))
        .route("/webhooks/{id}", get(webhooks::show))
        .route("/story", get(story::show))
        .route("/live", get(live::stream))
        .route("/sign-in", get(sign_in::show).post(sign_in::enter))
        .route("/sign-out", post(sign_in::leave))
        .layer(DefaultBodyLimit::max(limits::MAX_FORM_BYTES))
        .layer(from_fn_with_state(Arc::clone(&pages), sign_in::guard))
        .layer(from_fn_with_state(Arc::clone(&pages), trust::admit))
        .route("/page/style.css", get(|| async { asset("text/css; charset=utf-8", include_str!("style.css")) }))
        .route("/page/live.js", get(|| async { asset("text/javascript; charset=utf-8", include_str!("live.js")) }))
        .route("/page/icon.svg", get(|| async { asset("image/svg+xml", include_str!("icon.svg")) }))
        .layer(map_response(guarded))
        .with_state(pages)
}

fn asset(kind: &'static str, text: &'static str) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn guarded(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}
