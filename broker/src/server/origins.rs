//! Which web pages may call: CORS, and more than CORS.
//!
//! Constraints:
//! - A request with an Origin header comes from a browser. If the origin is not allowed it is refused before anything else sees it: CORS
//!   alone only hides the answer, and a page that reaches a loopback address through its visitor's browser (DNS rebinding) could publish.
//! - Who sends no Origin header is no browser, and costs one look for it.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{
        HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
        },
    },
    response::{IntoResponse, Response},
};

use crate::{config::Origin, limits};

/// The headers in which gRPC-Web tells how a call ended, when it ended before its first message.
const EXPOSED: &str = "grpc-status, grpc-message, grpc-status-details-bin";

/// The origins whose pages may call. None by default.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins(Arc<[HeaderValue]>);

impl AllowedOrigins {
    /// These.
    #[must_use]
    pub fn new(origins: &[Origin]) -> Self {
        Self(origins.iter().map(|origin| origin.header().clone()).collect())
    }

    /// Serves what no page sent, or a page that may; answers preflights; refuses the rest.
    ///
    /// Cancel safety: as that of `serve`.
    pub async fn admit<F: Future<Output = Response>>(&self, request: Request, serve: impl FnOnce(Request) -> F) -> Response {
        let Some(origin) = request.headers().get(ORIGIN).cloned() else { return serve(request).await };
        if !self.0.contains(&origin) {
            let text =
                format!("the origin {origin:?} is not allowed here; agents.allowed_origins of the configuration lists those that are\n");
            return (StatusCode::FORBIDDEN, [(VARY, "origin")], text).into_response();
        }
        let mut response = match preflight(&request) {
            Some(response) => response,
            None => serve(request).await,
        };
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        headers.append(VARY, HeaderValue::from_static("origin"));
        response
    }
}

/// What a browser asks before a call. Any metadata may be sent: a page that may call may say what it likes.
fn preflight(request: &Request) -> Option<Response> {
    if request.method() != Method::OPTIONS || !request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
        return None;
    }
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, limits::PREFLIGHT_SECONDS.into());
    if let Some(asked) = request.headers().get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
    }
    Some(response)
}
