//! Looking into the quarantine.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, quarantine_admin_service_server::QuarantineAdminService};
use waypost_store::EventStore;

use crate::{
    error::Fault,
    ingress::quarantine::{self, QuarantineError},
    limits,
};

/// Shows the quarantine of a store.
pub struct QuarantineAdmin {
    store: Arc<dyn EventStore>,
}

impl QuarantineAdmin {
    /// Of this store.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>) -> Self {
        Self { store }
    }
}

impl From<QuarantineError> for Fault {
    fn from(error: QuarantineError) -> Self {
        match error {
            QuarantineError::Read(error) => error.into(),
            QuarantineError::PageToken(token) => super::page::wrong_token(&token),
        }
    }
}

#[tonic::async_trait]
impl QuarantineAdminService for QuarantineAdmin {
    async fn list_quarantined_webhooks(
        &self,
        request: Request<v1::ListQuarantinedWebhooksRequest>,
    ) -> Result<Response<v1::ListQuarantinedWebhooksResponse>, Status> {
        let request = request.into_inner();
        let size = super::page::size(request.page_size, limits::MAX_PAGE)?;
        let reason = v1::QuarantineReason::try_from(request.reason)
            .map_err(|_| Fault::unknown_enum("reason", request.reason, "QuarantineReason"))?;
        let page = quarantine::list(&*self.store, size, &request.page_token, &request.source, reason).await.map_err(Fault::from)?;
        Ok(Response::new(v1::ListQuarantinedWebhooksResponse { webhooks: page.webhooks, next_page_token: page.next_page_token }))
    }

    async fn get_quarantined_webhook(
        &self,
        request: Request<v1::GetQuarantinedWebhookRequest>,
    ) -> Result<Response<v1::GetQuarantinedWebhookResponse>, Status> {
        let id = request.into_inner().id;
        Fault::require("id", &id)?;
        let found = quarantine::get(&*self.store, &id).await.map_err(Fault::from)?;
        Ok(Response::new(found.ok_or_else(|| Fault::not_found(format!("there is no quarantined webhook {id:?}")))?))
    }
}
