//! Which web pages may call: CORS, and more than CORS.
//!
//! Constraints:
//! - A request with an Origin header comes from a browser. If the origin is not allowed it is refused before anything else sees it: CORS
//!   alone only hides the answer, and a page that reaches a loopback address through its visitor's browser (DNS rebinding) could publish.
//! - Who sends no Origin header is no browser, and costs one look for it.
//! - A listener that serves pages itself lets them call it. If it asks for no token, only by an address: a name may be anybody's.

use std::sync::Arc;

use axum::{
    extract::Request,
    http::{
        HeaderMap, HeaderValue, Method, StatusCode, Uri,
        header::{
            ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HOST, ORIGIN, VARY,
        },
        uri::Authority,
    },
    response::{IntoResponse, Response},
};

use crate::{config::Origin, limits};

/// The headers in which gRPC-Web tells how a call ended, when it ended before its first message.
const EXPOSED: &str = "grpc-status, grpc-message, grpc-status-details-bin";

/// The origins whose pages may call. None by default.
#[derive(Clone, Debug, Default)]
pub struct AllowedOrigins {
    listed: Arc<[HeaderValue]>,
    own: OwnPages,
}

/// Whether pages that the listener itself serves may call it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OwnPages {
    /// It serves none.
    #[default]
    None,
    /// If it was reached by an address.
    ByAddress,
    /// Whatever name it was reached by: it asks for a token, which only its own pages have.
    ByAnyName,
}

impl OwnPages {
    /// Of a listener that asks for tokens, or does not.
    #[must_use]
    pub const fn of(asks_for_tokens: bool) -> Self {
        if asks_for_tokens { Self::ByAnyName } else { Self::ByAddress }
    }

    /// Whether a page that was reached under this host is its own for certain.
    #[must_use]
    pub fn trust(self, host: &Authority) -> bool {
        match self {
            Self::None => false,
            Self::ByAddress => is_address(host),
            Self::ByAnyName => true,
        }
    }
}

impl AllowedOrigins {
    /// These.
    #[must_use]
    pub fn new(origins: &[Origin]) -> Self {
        Self { listed: origins.iter().map(|origin| origin.header().clone()).collect(), own: OwnPages::None }
    }

    /// None but pages that the listener serves itself.
    #[must_use]
    pub fn of_own_pages(own: OwnPages) -> Self {
        Self { own, ..Self::default() }
    }

    fn is_own(&self, origin: &HeaderValue, request: &Request) -> bool {
        host(request.uri(), request.headers()).is_some_and(|host| self.own.trust(&host) && is_same(origin, &host))
    }

    /// Serves what no page sent, or a page that may; answers preflights; refuses the rest.
    ///
    /// Cancel safety: as that of `serve`.
    pub async fn admit<F: Future<Output = Response>>(&self, request: Request, serve: impl FnOnce(Request) -> F) -> Response {
        let Some(origin) = request.headers().get(ORIGIN).cloned() else { return serve(request).await };
        if self.is_own(&origin, &request) {
            return serve(request).await;
        }
        if !self.listed.contains(&origin) {
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

/// The host that a request is for, with its port unless it is the usual one.
#[must_use]
pub fn host(uri: &Uri, headers: &HeaderMap) -> Option<Authority> {
    uri.authority().cloned().or_else(|| headers.get(HOST)?.to_str().ok()?.parse().ok())
}

/// Whether a host is an address, or the one name that always means this machine. Any other name may be made to mean it by whoever owns it.
fn is_address(host: &Authority) -> bool {
    let host = host.host();
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || bare.parse::<std::net::IpAddr>().is_ok()
}

/// Whether an origin is that of a host.
#[must_use]
pub fn is_same(origin: &HeaderValue, host: &Authority) -> bool {
    let Some(origin) = origin.to_str().ok().and_then(|origin| origin.parse::<Uri>().ok()) else { return false };
    let usual = match origin.scheme_str() {
        Some("http") => 80,
        Some("https") => 443,
        _ => return false,
    };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(usual);
    origin.authority().is_some_and(|of| of.host().eq_ignore_ascii_case(host.host()) && port(of) == port(host))
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn only_an_address_is_nobody_elses_name() {
        for (host, expected) in [
            ("127.0.0.1:8482", true),
            ("[::1]:8482", true),
            ("localhost", true),
            ("LocalHost:80", true),
            ("evil.example:8482", false),
            ("127.0.0.1.evil.example", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(is_address(&host.parse().unwrap()), expected, "{host}");
        }
    }

    #[test]
    fn an_origin_is_a_host_with_its_port() {
        for (origin, host, expected) in [
            ("http://127.0.0.1:8482", "127.0.0.1:8482", true),
            ("http://localhost", "localhost:80", true),
            ("https://LOCALHOST", "localhost:443", true),
            ("https://localhost", "localhost", true),
            ("http://127.0.0.1:8483", "127.0.0.1:8482", false),
            ("http://localhost:8482", "127.0.0.1:8482", false),
            ("http://evil.example", "127.0.0.1", false),
            ("null", "127.0.0.1:8482", false),
            ("file://", "127.0.0.1:8482", false),
        ] {
            assert_eq!(is_same(&HeaderValue::from_static(origin), &host.parse().unwrap()), expected, "{origin} {host}");
        }
    }

    #[tokio::test]
    async fn a_page_of_the_listener_may_call_it_and_without_tokens_only_by_an_address() {
        let ask = async |allowed: AllowedOrigins, host: &str, origin: &str| {
            let request = Request::post("/").header(HOST, host).header(ORIGIN, origin).body(axum::body::Body::empty()).unwrap();
            allowed.admit(request, async |_| StatusCode::OK.into_response()).await.status()
        };
        let (ok, no) = (StatusCode::OK, StatusCode::FORBIDDEN);
        let own = AllowedOrigins::of_own_pages;
        assert_eq!(ask(own(OwnPages::ByAddress), "127.0.0.1:1", "http://127.0.0.1:1").await, ok);
        assert_eq!(ask(own(OwnPages::None), "127.0.0.1:1", "http://127.0.0.1:1").await, no);
        assert_eq!(ask(own(OwnPages::ByAddress), "127.0.0.1:1", "http://127.0.0.1:2").await, no);
        assert_eq!(ask(own(OwnPages::ByAddress), "evil.example:1", "http://evil.example:1").await, no, "DNS rebinding");
        assert_eq!(ask(own(OwnPages::ByAnyName), "broker.example:1", "https://broker.example:1").await, ok);
        assert_eq!(ask(own(OwnPages::ByAnyName), "broker.example:1", "https://evil.example:1").await, no);
    }
}
