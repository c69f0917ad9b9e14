//! Whether the broker lives (`/healthz`) and whether it can be given work (`/readyz`).
//!
//! Constraints: alive from the first moment, also while a large store recovers; ready only between the end of recovery and the beginning of
//! the drain, and while the store answers. The gRPC health service says the same.

use std::{fmt, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, routing::get};
use tokio::sync::watch;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthService};

use crate::grpc::{ADMIN_SERVICES, AGENT_SERVICES};

/// Whether the broker can be given work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// The store is being opened and recovers.
    Starting,
    /// It can.
    Ready,
    /// It stops: what is under way is finished.
    Draining,
}

impl fmt::Display for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Starting => "starting: the store is being opened",
            Self::Ready => "ready",
            Self::Draining => "draining: what is under way is finished, nothing more is accepted",
        })
    }
}

/// The one place that knows.
#[derive(Clone, Debug)]
pub struct Health {
    state: Arc<watch::Sender<Readiness>>,
    grpc: tonic_health::server::HealthReporter,
}

impl Health {
    /// Not ready yet.
    #[must_use]
    pub fn starting() -> Self {
        Self { state: Arc::new(watch::Sender::new(Readiness::Starting)), grpc: tonic_health::server::HealthReporter::new() }
    }

    /// Tells everybody who asks or watches.
    pub async fn set(&self, readiness: Readiness) {
        self.state.send_replace(readiness);
        let status = if readiness == Readiness::Ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in [""].into_iter().chain(AGENT_SERVICES).chain(ADMIN_SERVICES) {
            self.grpc.set_service_status(service, status).await;
        }
    }

    /// How it is.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        *self.state.borrow()
    }

    /// `grpc.health.v1.Health`.
    #[must_use]
    pub fn grpc_service(&self) -> HealthServer<HealthService> {
        HealthServer::new(HealthService::from_health_reporter(self.grpc.clone()))
    }

    /// `/healthz` and `/readyz`.
    pub fn router(&self) -> Router {
        Router::new().route("/healthz", get(|| async { "alive\n" })).route("/readyz", get(readyz)).with_state(self.clone())
    }
}

async fn readyz(State(health): State<Health>) -> (StatusCode, String) {
    let readiness = health.readiness();
    let status = if readiness == Readiness::Ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, format!("{readiness}\n"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use axum::{body::Body, http::Request};
    use tower::ServiceExt;

    use super::*;

    async fn status(health: &Health, path: &str) -> u16 {
        let request = Request::get(path).body(Body::empty()).unwrap();
        health.router().oneshot(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn ready_only_between_recovery_and_drain() {
        let health = Health::starting();
        assert_eq!((status(&health, "/healthz").await, status(&health, "/readyz").await), (200, 503));
        health.set(Readiness::Ready).await;
        assert_eq!((status(&health, "/healthz").await, status(&health, "/readyz").await), (200, 200));
        health.set(Readiness::Draining).await;
        assert_eq!((status(&health, "/healthz").await, status(&health, "/readyz").await), (200, 503));
    }
}
