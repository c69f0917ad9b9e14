//! A router that is filled in once the broker is open.
//!
//! Constraint: the listeners answer from the first moment, so that nobody is told "connection refused" while a large store recovers; until
//! then everything but health is 503 with Retry-After, or UNAVAILABLE to who speaks gRPC. Afterwards nothing of this is left in the way of a request.

use std::sync::{Arc, OnceLock};

use axum::{
    Router,
    extract::Request,
    http::{
        StatusCode,
        header::{CONTENT_TYPE, RETRY_AFTER},
    },
    response::{IntoResponse, Response},
};
use tonic::Status;

/// Routes that are there at once, and others that come later. Clones share them.
#[derive(Clone, Debug)]
pub struct LateRouter {
    now: Router,
    dress: fn(Router) -> Router,
    all: Arc<OnceLock<Router>>,
}

impl LateRouter {
    /// `now`, which has no fallback of its own, is answered at once; everything else is told to come again. `dress` wraps all of it alike.
    #[must_use]
    pub fn new(now: Router, dress: fn(Router) -> Router) -> Self {
        Self { now, dress, all: Arc::default() }
    }

    /// Puts in the routes that come later. Only the first call counts.
    ///
    /// # Panics
    /// When a route is there already, as [`Router::merge`] does.
    pub fn fill(&self, later: Router) {
        self.all.get_or_init(|| (self.dress)(self.now.clone().merge(later)));
    }

    /// The routes that there are by now.
    pub fn current(&self) -> Router {
        match self.all.get() {
            Some(all) => all.clone(),
            None => (self.dress)(self.now.clone().fallback(starting)),
        }
    }
}

async fn starting(request: Request) -> Response {
    if is_grpc(&request) {
        Status::unavailable(STARTING).into_http()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], STARTING).into_response()
    }
}

const STARTING: &str = "the broker is starting; try again";

fn is_grpc(request: &Request) -> bool {
    request.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use axum::{body::Body, routing::get};
    use tower::ServiceExt;

    use super::*;

    async fn status(router: &LateRouter, path: &str) -> u16 {
        router.current().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn requests_before_the_broker_is_open_are_told_to_come_again() {
        let router = LateRouter::new(Router::new().route("/now", get(|| async {})), |routes| routes);
        assert_eq!((status(&router, "/now").await, status(&router, "/later").await), (200, 503));
        router.fill(Router::new().route("/later", get(|| async {})));
        assert_eq!((status(&router, "/now").await, status(&router, "/later").await, status(&router, "/never").await), (200, 200, 404));
    }
}
