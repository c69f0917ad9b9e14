//! A router that is filled in once the broker is open.
//!
//! Constraint: the listeners answer from the first moment, so that nobody is told "connection refused" while a large store recovers; until
//! then everything but health is 503 with Retry-After, or UNAVAILABLE to who speaks gRPC.

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
use tower::ServiceExt;

/// The routes that come later. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct LateRouter(Arc<OnceLock<Router>>);

impl LateRouter {
    /// Puts the routes in. Only the first call counts.
    pub fn fill(&self, routes: Router) {
        self.0.get_or_init(|| routes);
    }

    /// `now` answers at once what it has routes for; everything else waits for the late ones.
    pub fn behind(&self, now: Router) -> Router {
        let late = self.clone();
        now.fallback(move |request: Request| async move { late.answer(request).await })
    }

    async fn answer(self, request: Request) -> Response {
        match self.0.get() {
            Some(routes) => routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            None if is_grpc(&request) => Status::unavailable(STARTING).into_http(),
            None => (StatusCode::SERVICE_UNAVAILABLE, [(RETRY_AFTER, "1")], STARTING).into_response(),
        }
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

    use super::*;

    async fn status(router: &Router, path: &str) -> u16 {
        router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn requests_before_the_broker_is_open_are_told_to_come_again() {
        let late = LateRouter::default();
        let router = late.behind(Router::new().route("/now", get(|| async {})));
        assert_eq!((status(&router, "/now").await, status(&router, "/later").await), (200, 503));
        late.fill(Router::new().route("/later", get(|| async {})));
        assert_eq!((status(&router, "/now").await, status(&router, "/later").await, status(&router, "/never").await), (200, 200, 404));
    }
}
