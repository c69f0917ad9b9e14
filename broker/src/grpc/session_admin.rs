//! Looking at sessions, and ending them.

use std::sync::Arc;

use tokio::time::timeout;
use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, session_admin_service_server::SessionAdminService};

use super::{
    convert::{session_id, session_text, time, timestamp},
    page::Page,
};
use crate::{access::By, broker::Broker, dispatcher::SessionInfo, error::Fault, limits};

/// Shows and ends sessions.
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

impl SessionAdmin {
    async fn end(&self, request: &v1::EndSessionRequest) -> Result<Vec<v1::Session>, Fault> {
        let asked = request.session_id.as_str();
        Fault::require("session_id", asked)?;
        let wrong = || Fault::invalid("session_id", format!("{asked:?} is no id of a session; `waypost sessions list` shows them"));
        let session = session_id(asked).ok_or_else(wrong)?;
        let registry = &self.broker.registry;
        let mut ended = Vec::new();
        for handle in registry.running() {
            if !request.subscription.is_empty() && request.subscription != *handle.name {
                continue;
            }
            // One that does not answer must not keep the session on the others (P12).
            let asked = timeout(limits::INSPECT_WITHIN, handle.end_session(registry.shared(), session));
            if let Ok(Ok(Some(info))) = asked.await {
                ended.push(show(&handle.name, info));
            }
        }
        if ended.is_empty() {
            return Err(Fault::not_found(format!("no session {asked:?} has a stream; `waypost sessions list` shows those that do")));
        }
        ended.sort_by(|one, other| one.subscription.cmp(&other.subscription));
        Ok(ended)
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

    async fn end_session(&self, request: Request<v1::EndSessionRequest>) -> Result<Response<v1::EndSessionResponse>, Status> {
        let by = By::of(&request);
        let request = request.into_inner();
        let sessions = by.does("end_session", &request.session_id, self.end(&request)).await?;
        Ok(Response::new(v1::EndSessionResponse { sessions }))
    }
}
