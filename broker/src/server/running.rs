//! The three listeners together: bound before anything else, serving from the first moment, stopped one by one.
//!
//! Constraint: the order of a drain is fixed here. The edge stops first (nothing new comes in), the agents when they have settled what they
//! can, the administrators last (so that a drain can be watched).

use std::{net::SocketAddr, time::Duration};

use axum::Router;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic_web::GrpcWebLayer;

use super::{AllowedOrigins, BindError, Health, LateRouter, Listener, OwnPages, Protocol};
use crate::{config::Setup, limits};

/// Three bound sockets.
#[derive(Debug)]
pub struct Listeners {
    edge: Listener,
    agents: Listener,
    admin: Listener,
    edge_grace: Duration,
}

/// Where they listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Webhooks.
    pub edge: SocketAddr,
    /// Agents.
    pub agents: SocketAddr,
    /// Administrators.
    pub admin: SocketAddr,
}

/// What each of them serves.
#[derive(Debug)]
pub struct Routes {
    /// Webhooks.
    pub edge: Router,
    /// Agents.
    pub agents: Router,
    /// Administrators.
    pub admin: Router,
}

impl Listeners {
    /// Binds all three.
    ///
    /// # Errors
    /// [`BindError`] for the first that cannot be.
    pub async fn bind(setup: &Setup) -> Result<Self, BindError> {
        let (edge, agents, admin) = (&setup.config.edge, &setup.config.agents, &setup.config.admin);
        let webhooks = Protocol::Webhooks { header_timeout: edge.header_timeout.get() };
        let grpc = |origins| Protocol::Grpc {
            max_streams: agents.max_streams,
            ping_interval: agents.keepalive_interval.get(),
            ping_timeout: agents.keepalive_timeout.get(),
            origins,
        };
        let pages = AllowedOrigins::new(&agents.allowed_origins);
        let own_pages = AllowedOrigins::of_own_pages(OwnPages::of(setup.authority.is_some()));
        let (certificates, connections) = (setup.certificates.clone(), setup.connections.clone());
        let (edge_at, agents_at, admin_at) = (edge.listen.get(), agents.listen.get(), admin.listen.get());
        let webhooks = Listener::bind("edge.listen", edge_at, webhooks, connections.edge).await?;
        let agents = Listener::bind("agents.listen", agents_at, grpc(pages), connections.agents).await?;
        let admin = Listener::bind("admin.listen", admin_at, grpc(own_pages), connections.admin).await?;
        Ok(Self {
            edge: webhooks.secured(certificates.edge),
            agents: agents.secured(certificates.agents),
            admin: admin.secured(certificates.admin),
            edge_grace: edge.body_timeout.get(),
        })
    }

    /// Where they listen.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        Addresses { edge: self.edge.address(), agents: self.agents.address(), admin: self.admin.address() }
    }

    /// Serves health at once, and everything else once [`Running::fill`] has said what.
    #[must_use]
    pub fn serve(self, health: &Health) -> Running {
        let mut grpc_health = tonic::service::Routes::builder();
        grpc_health.add_service(health.grpc_service());
        let grpc_health = grpc_health.routes().prepare();
        let as_is = |routes| routes;
        let for_browsers = |routes: Router| routes.layer(GrpcWebLayer::new());
        Running {
            edge: Serving::start(self.edge, Router::new(), as_is, self.edge_grace),
            agents: Serving::start(self.agents, health_only(grpc_health.clone()), for_browsers, limits::CLOSE_GRACE),
            admin: Serving::start(self.admin, health_only(grpc_health).merge(health.router()), as_is, limits::CLOSE_GRACE),
        }
    }
}

/// tonic's fallback, which answers UNIMPLEMENTED, must not hide what comes later.
fn health_only(routes: tonic::service::Routes) -> Router {
    routes.into_axum_router().reset_fallback()
}

/// Three listeners at work.
#[derive(Debug)]
pub struct Running {
    edge: Serving,
    agents: Serving,
    admin: Serving,
}

#[derive(Debug)]
struct Serving {
    late: LateRouter,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// `dress` wraps what is there now and what comes later alike.
    fn start(listener: Listener, now: Router, dress: fn(Router) -> Router, grace: Duration) -> Self {
        let (late, stop) = (LateRouter::new(now, dress), CancellationToken::new());
        let task = tokio::spawn(listener.serve(late.clone(), stop.clone(), grace));
        Self { late, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        // It panics only if a bug made it; the process ends here in either case.
        let _ = self.task.await;
    }
}

impl Running {
    /// Begins to serve what the broker has to offer.
    pub fn fill(&self, routes: Routes) {
        self.edge.late.fill(routes.edge);
        self.agents.late.fill(routes.agents);
        self.admin.late.fill(routes.admin);
    }

    /// Stops in order: the edge; then, once `agents_done` has ended, the agents; then the administrators.
    pub async fn stop(self, agents_done: impl Future<Output = ()>) {
        self.edge.stop().await;
        agents_done.await;
        self.agents.stop().await;
        self.admin.stop().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::path::Path;

    use axum::routing::get;
    use tonic::transport::Channel;
    use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};
    use waypost_proto::v1::{PublishRequest, agent_service_client::AgentServiceClient};

    use super::*;
    use crate::{config, server::Readiness};

    async fn started() -> (Addresses, Health, Running) {
        let any_ports = "[edge]\nlisten = '127.0.0.1:0'\n[agents]\nlisten = '127.0.0.1:0'\n[admin]\nlisten = '127.0.0.1:0'";
        let listeners = Listeners::bind(&config::parse(any_ports, Path::new("")).unwrap()).await.unwrap();
        let health = Health::starting();
        (listeners.addresses(), health.clone(), listeners.serve(&health))
    }

    async fn connect(address: SocketAddr) -> Channel {
        Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap()
    }

    async fn serving(channel: &Channel) -> i32 {
        let request = HealthCheckRequest { service: "waypost.v1.AgentService".into() };
        HealthClient::new(channel.clone()).check(request).await.map_or(-1, |answer| answer.into_inner().status)
    }

    #[tokio::test]
    async fn agents_are_told_to_wait_while_the_store_recovers() {
        let (addresses, health, running) = started().await;
        let channel = connect(addresses.agents).await;
        health.set(Readiness::Starting).await;
        let refused = AgentServiceClient::new(channel.clone()).publish(PublishRequest::default()).await.unwrap_err();
        assert_eq!((refused.code(), serving(&channel).await), (tonic::Code::Unavailable, ServingStatus::NotServing.into()));

        health.set(Readiness::Ready).await;
        running.fill(Routes { edge: Router::new(), agents: Router::new(), admin: Router::new() });
        assert_eq!(serving(&channel).await, i32::from(ServingStatus::Serving));
        drop(channel);
        running.stop(async {}).await;
    }

    #[tokio::test]
    async fn the_edge_stops_before_the_agents_and_the_admin_last() {
        let (addresses, _health, running) = started().await;
        let routes = || Router::new().route("/", get(|| async {}));
        running.fill(Routes { edge: routes(), agents: routes(), admin: routes() });
        let reachable = |address| async move { tokio::net::TcpStream::connect(address).await.is_ok() };
        running
            .stop(async move {
                assert!(!reachable(addresses.edge).await);
                assert!(reachable(addresses.agents).await && reachable(addresses.admin).await);
            })
            .await;
        assert!(!reachable(addresses.agents).await && !reachable(addresses.admin).await);
    }
}
