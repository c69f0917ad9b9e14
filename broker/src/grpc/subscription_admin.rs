//! Looking after subscriptions.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use waypost_proto::{
    v1::subscription_admin_service_server::SubscriptionAdminService,
    v1::{self, ErrorReason},
};
use waypost_store::{ReadLimits, Selection};

use super::{
    convert::{incarnation, timestamp},
    page::Page,
};
use crate::{access::By, broker::Broker, error::Fault, limits, registry::Handle};

/// Serves the administration of subscriptions.
#[derive(Debug)]
pub struct SubscriptionAdmin {
    broker: Arc<Broker>,
}

impl SubscriptionAdmin {
    /// For this broker.
    #[must_use]
    pub fn new(broker: Arc<Broker>) -> Self {
        Self { broker }
    }

    fn find(&self, name: &str) -> Result<Arc<Handle>, Fault> {
        Fault::require("name", name)?;
        self.broker.registry.get(name).ok_or_else(|| Fault::no_subscription(name))
    }

    fn find_incarnation(&self, name: &str, wanted: &str) -> Result<Arc<Handle>, Fault> {
        let handle = self.find(name)?;
        let actual = incarnation(handle.incarnation);
        if !wanted.is_empty() && wanted != actual {
            let text = format!("subscription {name:?} is incarnation {actual}, not {wanted}: it was deleted and made again");
            return Err(Fault::new(ErrorReason::IncarnationMismatch, text));
        }
        Ok(handle)
    }

    async fn pause(&self, name: &str, paused: bool, reason: String) -> Result<Arc<Handle>, Fault> {
        let handle = self.find(name)?;
        self.broker.registry.pause(&handle, paused, reason).await?;
        Ok(handle)
    }

    async fn show(&self, handle: &Arc<Handle>) -> Result<v1::Subscription, Fault> {
        let inspection = handle.inspect(self.broker.registry.shared()).await;
        // After it: on an unknown outcome it waits until it is known what is in force, as long as that may take.
        let info = handle.info();
        let mut shown = v1::Subscription {
            name: handle.name.to_string(),
            incarnation: incarnation(handle.incarnation),
            spec: Some(info.spec.proto().clone()),
            created_at: Some(timestamp(info.created_at)),
            last_session_at: info.last_session_at.map(timestamp),
            ..v1::Subscription::default()
        };
        match inspection {
            Ok(inspection) => {
                let status = inspection.status;
                let state = if status.paused { v1::SubscriptionState::Paused } else { v1::SubscriptionState::Active };
                shown.set_state(state);
                shown.state_reason = info.pause_reason.clone();
                shown.frontier = status.frontier;
                shown.seek_generation = status.seeks.into();
                shown.stats = Some(self.stats(&inspection).await?);
                if status.sessions == 0 {
                    let since = info.last_session_at.unwrap_or(info.created_at);
                    let expires = since.saturating_add(u64::try_from(info.spec.expire_after.as_micros()).unwrap_or(u64::MAX));
                    shown.expires_at = Some(timestamp(expires));
                }
            }
            Err(fault) if fault.reason == ErrorReason::SubscriptionFailed => {
                shown.set_state(v1::SubscriptionState::Failed);
                shown.state_reason = fault.message;
            }
            Err(fault) => return Err(fault),
        }
        Ok(shown)
    }

    async fn stats(&self, inspection: &crate::dispatcher::Inspection) -> Result<v1::SubscriptionStats, Fault> {
        let status = &inspection.status;
        let store = &self.broker.store;
        let oldest = if status.unsettled == 0 {
            None
        } else {
            let batch = store.read(inspection.floor, &Selection::All, ReadLimits { events: 1, bytes: 1 }).await?;
            batch.events.first().map(|event| timestamp(event.accepted_at))
        };
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(v1::SubscriptionStats {
            leased: count(status.leased),
            backing_off: count(status.unsettled.saturating_sub(status.leased + status.ready + status.blocked)),
            blocked: count(status.blocked),
            ready: count(status.ready),
            lag: store.tail().borrow().saturating_sub(status.frontier),
            oldest_unsettled_at: oldest,
            dead_letters: count(status.dead_letters),
            sessions: u32::try_from(inspection.sessions.len()).unwrap_or(u32::MAX),
            at_unsettled_limit: status.full,
        })
    }
}

#[tonic::async_trait]
impl SubscriptionAdminService for SubscriptionAdmin {
    async fn create_subscription(
        &self,
        request: Request<v1::CreateSubscriptionRequest>,
    ) -> Result<Response<v1::CreateSubscriptionResponse>, Status> {
        let (by, request) = (By::of(&request), request.into_inner());
        let spec = request.spec.unwrap_or_default();
        let creating = async { self.broker.registry.create(&request.name, &spec).await };
        let handle = by.does("create_subscription", &request.name, creating).await?;
        Ok(Response::new(v1::CreateSubscriptionResponse { subscription: Some(self.show(&handle).await?) }))
    }

    async fn get_subscription(
        &self,
        request: Request<v1::GetSubscriptionRequest>,
    ) -> Result<Response<v1::GetSubscriptionResponse>, Status> {
        let handle = self.find(&request.into_inner().name)?;
        Ok(Response::new(v1::GetSubscriptionResponse { subscription: Some(self.show(&handle).await?) }))
    }

    async fn list_subscriptions(
        &self,
        request: Request<v1::ListSubscriptionsRequest>,
    ) -> Result<Response<v1::ListSubscriptionsResponse>, Status> {
        let request = request.into_inner();
        let query = v1::ListSubscriptionsRequest { name_prefix: request.name_prefix.clone(), ..Default::default() };
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &query)?;
        let handles = self.broker.registry.list().into_iter().filter(|handle| handle.name.starts_with(&request.name_prefix));
        let (handles, next_page_token) = page.take(handles, |handle| handle.name.as_bytes().to_vec());
        let mut subscriptions = Vec::with_capacity(handles.len());
        for handle in handles {
            match self.show(&handle).await {
                Ok(shown) => subscriptions.push(shown),
                // Deleted meanwhile.
                Err(fault) if fault.reason == ErrorReason::SubscriptionNotFound => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(Response::new(v1::ListSubscriptionsResponse { subscriptions, next_page_token }))
    }

    async fn update_subscription(
        &self,
        request: Request<v1::UpdateSubscriptionRequest>,
    ) -> Result<Response<v1::UpdateSubscriptionResponse>, Status> {
        let (by, request) = (By::of(&request), request.into_inner());
        let spec = request.spec.unwrap_or_default();
        let updating = async {
            let handle = self.find_incarnation(&request.name, &request.incarnation)?;
            let from_offset = self.broker.registry.update(&handle, &spec, &request.reset_fields).await?;
            Ok((handle, from_offset))
        };
        let (handle, from_offset) = by.does("update_subscription", &request.name, updating).await?;
        Ok(Response::new(v1::UpdateSubscriptionResponse { subscription: Some(self.show(&handle).await?), from_offset }))
    }

    async fn delete_subscription(
        &self,
        request: Request<v1::DeleteSubscriptionRequest>,
    ) -> Result<Response<v1::DeleteSubscriptionResponse>, Status> {
        let (by, request) = (By::of(&request), request.into_inner());
        let deleting = async { self.broker.registry.delete(&self.find_incarnation(&request.name, &request.incarnation)?).await };
        by.does("delete_subscription", &request.name, deleting).await?;
        Ok(Response::new(v1::DeleteSubscriptionResponse {}))
    }

    async fn pause_subscription(
        &self,
        request: Request<v1::PauseSubscriptionRequest>,
    ) -> Result<Response<v1::PauseSubscriptionResponse>, Status> {
        let (by, request) = (By::of(&request), request.into_inner());
        let handle = by.does("pause_subscription", &request.name, self.pause(&request.name, true, request.reason)).await?;
        Ok(Response::new(v1::PauseSubscriptionResponse { subscription: Some(self.show(&handle).await?) }))
    }

    async fn resume_subscription(
        &self,
        request: Request<v1::ResumeSubscriptionRequest>,
    ) -> Result<Response<v1::ResumeSubscriptionResponse>, Status> {
        let (by, name) = (By::of(&request), request.into_inner().name);
        let handle = by.does("resume_subscription", &name, self.pause(&name, false, String::new())).await?;
        Ok(Response::new(v1::ResumeSubscriptionResponse { subscription: Some(self.show(&handle).await?) }))
    }

    async fn seek_subscription(
        &self,
        request: Request<v1::SeekSubscriptionRequest>,
    ) -> Result<Response<v1::SeekSubscriptionResponse>, Status> {
        let (by, request) = (By::of(&request), request.into_inner());
        let seeking = async {
            let handle = self.find_incarnation(&request.name, &request.incarnation)?;
            if request.target.as_ref().is_none_or(|target| target.position.is_none()) {
                return Err(Fault::invalid("target", "is required: one of point, offset and time"));
            }
            self.broker.registry.seek(&handle, request.target.as_ref()).await?;
            Ok(handle)
        };
        let handle = by.does("seek_subscription", &request.name, seeking).await?;
        Ok(Response::new(v1::SeekSubscriptionResponse { subscription: Some(self.show(&handle).await?) }))
    }
}
