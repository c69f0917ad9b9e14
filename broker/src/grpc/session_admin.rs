//! Looking at sessions.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, session_admin_service_server::SessionAdminService};

use super::{
    convert::{session_text, time, timestamp},
    page::Page,
};
use crate::{broker::Broker, dispatcher::SessionInfo, error::Fault, limits};

/// Shows sessions.
#[derive(Debug)]
pub struct SessionAdmin {
    broker: Arc<Broker>,
}

impl SessionAdmin {
    /// For this broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }
}

fn show(subscription: &str, info: SessionInfo) -> v1::Session {
    let state = if info.draining { v1::SessionState::Draining } else { v1::SessionState::Connected };
    v1::Session {
        id: session_text(info.id),
        subscription: subscription.to_owned(),
        state: state.into(),
        client: info.client,
        peer_address: info.peer,
        connected_at: Some(timestamp(info.connected_at)),
        limits: Some(v1::SessionLimits {
            max_outstanding: Some(info.limits.max_outstanding),
            max_outstanding_bytes: Some(info.limits.max_outstanding_bytes),
        }),
        outstanding: info.holding.events,
        outstanding_bytes: info.holding.bytes,
        oldest_delivery_at: info.holding.since.map(time),
        principal: info.principal,
    }
}

#[tonic::async_trait]
impl SessionAdminService for SessionAdmin {
    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Result<Response<v1::ListSessionsResponse>, Status> {
        let request = request.into_inner();
        let query = v1::ListSessionsRequest { subscription: request.subscription.clone(), ..Default::default() };
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &query)?;
        let registry = &self.broker.registry;
        let mut sessions = Vec::new();
        for handle in registry.running() {
            if !request.subscription.is_empty() && request.subscription != *handle.name {
                continue;
            }
            let inspection = match handle.inspect(registry.shared()).await {
                Ok(inspection) => inspection,
                // It ended meanwhile.
                Err(Fault { .. }) => continue,
            };
            sessions.extend(inspection.sessions.into_iter().map(|info| show(&handle.name, info)));
        }
        let key = |session: &v1::Session| format!("{}\0{}", session.subscription, session.id).into_bytes();
        sessions.sort_by_cached_key(key);
        let (sessions, next_page_token) = page.take(sessions.into_iter(), key);
        Ok(Response::new(v1::ListSessionsResponse { sessions, next_page_token }))
    }
}
