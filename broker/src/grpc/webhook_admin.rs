//! Looking into the journal of webhooks.

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, ErrorReason, webhook_admin_service_server::WebhookAdminService};
use waypost_store::Micros;

use super::page::Page;
use crate::{
    error::Fault,
    journal::{Journal, JournalError, Search},
    limits,
};

/// Shows the journal.
#[derive(Debug)]
pub struct WebhookAdmin {
    journal: Journal,
}

impl WebhookAdmin {
    /// Of this journal.
    #[must_use]
    pub fn new(journal: Journal) -> Self {
        Self { journal }
    }
}

impl From<JournalError> for Fault {
    fn from(error: JournalError) -> Self {
        match error {
            JournalError::Off => Self::new(ErrorReason::Unsupported, error.to_string()),
            JournalError::Unreadable(_) => Self::new(ErrorReason::OutcomeUnknown, error.to_string()),
        }
    }
}

fn micros(field: &str, time: Option<prost_types::Timestamp>) -> Result<Option<Micros>, Fault> {
    let Some(at) = time else { return Ok(None) };
    let parts = (u64::try_from(at.seconds).ok(), u64::try_from(at.nanos).ok());
    let (Some(seconds), Some(nanos)) = parts else { return Err(Fault::invalid(field, "is before 1970")) };
    Ok(Some(seconds.saturating_mul(1_000_000).saturating_add(nanos / 1_000)))
}

#[tonic::async_trait]
impl WebhookAdminService for WebhookAdmin {
    async fn list_webhooks(&self, request: Request<v1::ListWebhooksRequest>) -> Result<Response<v1::ListWebhooksResponse>, Status> {
        let request = request.into_inner();
        let query = v1::ListWebhooksRequest { page_size: None, page_token: String::new(), ..request.clone() };
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &query)?;
        let outcome =
            v1::WebhookOutcome::try_from(request.outcome).map_err(|_| Fault::unknown_enum("outcome", request.outcome, "WebhookOutcome"))?;
        let search = Search {
            outcome,
            since: micros("since", request.since)?,
            until: micros("until", request.until)?,
            source: request.source,
            reason: request.reason,
            event_id: request.event_id,
            delivery_id: request.delivery_id,
        };
        let before = page.after.as_deref().and_then(|id| Some(i64::from_be_bytes(id.try_into().ok()?)));
        let mut webhooks = self.journal.list(search, before, page.size + 1).await.map_err(Fault::from)?;
        let are_more = webhooks.len() > page.size;
        webhooks.truncate(page.size);
        let last = webhooks.last().and_then(|webhook| webhook.id.parse::<i64>().ok()).filter(|_| are_more);
        let next_page_token = last.map(|id| page.next(id.to_be_bytes().to_vec())).unwrap_or_default();
        Ok(Response::new(v1::ListWebhooksResponse { webhooks, next_page_token }))
    }

    async fn get_webhook(&self, request: Request<v1::GetWebhookRequest>) -> Result<Response<v1::GetWebhookResponse>, Status> {
        let id = request.into_inner().id;
        Fault::require("id", &id)?;
        let gone = || Fault::not_found(format!("the journal has no webhook {id:?} (any more)"));
        let number = id.parse().map_err(|_| gone())?;
        let found = self.journal.get(number).await.map_err(Fault::from)?;
        Ok(Response::new(found.ok_or_else(gone)?))
    }
}
