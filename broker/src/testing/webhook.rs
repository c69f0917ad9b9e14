//! A webhook, posted as its provider would.
//!
//! Constraint: it takes the edge's whole way: verified, decoded, stored; only the socket is left out.

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Uri, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::ingress::{self, Edge, verify::Sample};

/// What an outside system posts: a body, and what its provider would say in headers. A text, or bytes, become one.
#[derive(Clone, Debug)]
pub struct Webhook {
    body: Bytes,
    id: Option<String>,
    event_type: Option<String>,
}

impl Webhook {
    /// One with this body.
    pub fn new(body: impl Into<Bytes>) -> Self {
        Self { body: body.into(), id: None, event_type: None }
    }

    /// The provider's id of this delivery, where its scheme has one in a header. Default: another for each post.
    #[must_use]
    pub fn id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// The provider's event type, where its scheme has it in a header: `push`, for example.
    #[must_use]
    pub fn event_type(mut self, event_type: impl Into<String>) -> Self {
        self.event_type = Some(event_type.into());
        self
    }
}

impl<B: Into<Bytes>> From<B> for Webhook {
    fn from(body: B) -> Self {
        Self::new(body)
    }
}

/// What the edge answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status: 202 when the webhook is kept.
    pub status: u16,
    /// `accepted`, `duplicate`, `handshake`, `quarantined`, `refused` or `unavailable`.
    pub outcome: String,
    /// For people.
    pub message: String,
    /// The id of the event; empty if there is none.
    pub event_id: String,
}

/// Why a webhook was not posted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// There is no such source.
    #[error("the configuration has no source {name:?}; it has: {}", list(.configured))]
    NoSource {
        /// The source that was asked for.
        name: String,
        /// Those that there are.
        configured: Vec<String>,
    },
    /// It cannot be signed as the provider would.
    #[error("the webhook for {source_name:?} cannot be signed: {problem} (Webhook::event_type and Webhook::id give what a header says)")]
    Unsigned {
        /// The source.
        source_name: String,
        /// What is missing.
        problem: String,
    },
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none; see TestBroker::with_config".to_owned() } else { names.join(", ") }
}

/// Signs and posts it.
pub(super) async fn post(edge: Edge, name: &str, webhook: Webhook) -> Result<Answer, PostError> {
    let sources = edge.sources.current();
    let source = sources.get(name).ok_or_else(|| {
        let configured = sources.iter().map(|source| source.name.to_string()).collect();
        PostError::NoSource { name: name.to_owned(), configured }
    })?;
    let Webhook { body, id, event_type } = webhook;
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Some(verifier) = source.verifier() {
        let id = id.unwrap_or_else(|| edge.entropy.uuid(edge.clock.now()).to_string());
        let target: Uri = source.path.parse().unwrap_or_default();
        let (event_type, wall) = (event_type.as_deref(), edge.clock.wall());
        let signed = verifier.sign(headers, &Sample { target: &target, body: &body, delivery_id: &id, event_type, wall });
        headers = signed.map_err(|problem| PostError::Unsigned { source_name: name.to_owned(), problem: problem.to_string() })?;
    }
    let mut request = Request::post(&*source.path).body(Body::from(body)).unwrap_or_default();
    request.headers_mut().extend(headers);
    let Ok(response) = ingress::router(edge).oneshot(request).await;
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let said: Value = serde_json::from_slice(&body).unwrap_or_else(|_| String::from_utf8_lossy(&body).into());
    let text = |key: &str| said[key].as_str().unwrap_or_default().to_owned();
    Ok(match said.as_str() {
        // A handshake is answered with the text that the provider asked for.
        Some(echo) => Answer { status, outcome: "handshake".to_owned(), message: echo.to_owned(), event_id: String::new() },
        None => Answer { status, outcome: text("status"), message: text("message"), event_id: text("event_id") },
    })
}
