//! Looking after the quarantine.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, QuarantineOutcome, QuarantineResult, quarantine_admin_service_server::QuarantineAdminService};

use super::publish::check_count;
use crate::{
    access::By,
    broker::Broker,
    error::Fault,
    ingress::{
        LiveSources, Mended, Mender,
        quarantine::{self, QuarantineError, Which},
    },
    journal::mask,
    limits,
};

/// Serves the quarantine of a broker.
#[derive(Debug)]
pub struct QuarantineAdmin {
    broker: Arc<Broker>,
    mender: Mender,
    sources: LiveSources,
}

/// What is to be done with webhooks.
#[derive(Clone, Copy)]
enum Fate {
    Retry,
    Discard,
}

impl Fate {
    const fn action(self) -> &'static str {
        match self {
            Self::Retry => "retry_quarantined_webhooks",
            Self::Discard => "discard_quarantined_webhooks",
        }
    }
}

/// Which webhooks a call is about.
struct Asked {
    ids: Vec<String>,
    fingerprint: String,
    page_token: String,
}

impl QuarantineAdmin {
    /// Of this broker, whose webhooks are understood again by the sources that it has at the time.
    #[must_use]
    pub fn new(broker: Arc<Broker>, sources: LiveSources) -> Self {
        Self { mender: Mender::new(Arc::clone(&broker), sources.clone()), broker, sources }
    }

    /// What whoever inspects may see of a webhook.
    fn sanitised(&self, kept: v1::GetQuarantinedWebhookResponse) -> v1::GetQuarantinedWebhookResponse {
        let sources = self.sources.current();
        let source = kept.webhook.as_ref().and_then(|webhook| sources.get(&webhook.source)).map(|source| &**source);
        let content_type = kept.headers.get("content-type").filter(|_| !kept.is_part).and_then(|text| text.parse().ok());
        let headers = content_type.map(|kind| (http::header::CONTENT_TYPE, kind)).into_iter().collect();
        let masked = mask::body(&headers, &kept.body, &self.broker.journal.rules(source));
        v1::GetQuarantinedWebhookResponse { body: masked.kept, body_masked: masked.is_masked, ..kept }
    }

    /// Decides, and tells the audit log of each.
    async fn decide(&self, by: &By, asked: Asked, fate: Fate) -> Result<(Vec<QuarantineResult>, String), Status> {
        let (action, object) = (fate.action(), asked.object());
        let done = by.does(action, &object, self.decide_each(asked, fate)).await?;
        done.0.iter().for_each(|result| by.did_one(action, &result.id, result.refusal.as_ref()));
        Ok(done)
    }

    async fn decide_each(&self, asked: Asked, fate: Fate) -> Result<(Vec<QuarantineResult>, String), Fault> {
        let Asked { ids, fingerprint, page_token } = asked;
        let (ids, next) = match (ids.is_empty(), fingerprint.is_empty()) {
            (false, false) => return Err(Fault::invalid("fingerprint", "is given with ids; give one of both")),
            (true, true) => return Err(Fault::invalid("ids", "1 to 1000 are required, or a fingerprint")),
            (false, true) => {
                check_count("ids", ids.len())?;
                (ids, String::new())
            }
            (true, false) => quarantine::oldest(&*self.broker.store, &fingerprint, limits::QUARANTINE_PER_CALL, &page_token).await?,
        };
        let mut results = Vec::with_capacity(ids.len());
        for id in ids {
            results.push(self.decide_one(id, fate).await);
        }
        Ok((results, next))
    }

    async fn decide_one(&self, id: String, fate: Fate) -> QuarantineResult {
        let decided = match fate {
            Fate::Retry => self.mender.retry(&id).await.map(Some),
            Fate::Discard => self.mender.discard(&id).await.map(|()| None),
        };
        let mut result = QuarantineResult { id, ..QuarantineResult::default() };
        match decided {
            Ok(None) => result.set_outcome(QuarantineOutcome::Discarded),
            Ok(Some(Mended::Stored(event_id))) => {
                result.set_outcome(QuarantineOutcome::Stored);
                result.event_id = event_id;
            }
            Ok(Some(Mended::Duplicate(event_id))) => {
                result.set_outcome(QuarantineOutcome::Duplicate);
                result.event_id = event_id;
            }
            Ok(Some(Mended::Kept(webhook))) => {
                result.set_outcome(QuarantineOutcome::Kept);
                result.webhook = Some(*webhook);
            }
            Err(fault) => result.refusal = Some(fault.refusal()),
        }
        result
    }
}

impl Asked {
    /// As the audit log names them.
    fn object(&self) -> String {
        match &*self.fingerprint {
            "" => format!("{} webhooks", self.ids.len()),
            fingerprint => format!("webhooks of fingerprint {fingerprint}"),
        }
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
        let which = Which { source: &request.source, reason, fingerprint: &request.fingerprint };
        let page = quarantine::list(&*self.broker.store, size, &request.page_token, which).await.map_err(Fault::from)?;
        Ok(Response::new(v1::ListQuarantinedWebhooksResponse { webhooks: page.webhooks, next_page_token: page.next_page_token }))
    }

    async fn get_quarantined_webhook(
        &self,
        request: Request<v1::GetQuarantinedWebhookRequest>,
    ) -> Result<Response<v1::GetQuarantinedWebhookResponse>, Status> {
        let id = request.into_inner().id;
        Fault::require("id", &id)?;
        let found = quarantine::get(&*self.broker.store, &id).await.map_err(Fault::from)?;
        let found = found.ok_or_else(|| Fault::not_found(format!("there is no quarantined webhook {id:?}")))?;
        Ok(Response::new(self.sanitised(found)))
    }

    async fn retry_quarantined_webhooks(
        &self,
        request: Request<v1::RetryQuarantinedWebhooksRequest>,
    ) -> Result<Response<v1::RetryQuarantinedWebhooksResponse>, Status> {
        let by = By::of(&request);
        let v1::RetryQuarantinedWebhooksRequest { ids, fingerprint, page_token } = request.into_inner();
        let (results, next_page_token) = self.decide(&by, Asked { ids, fingerprint, page_token }, Fate::Retry).await?;
        Ok(Response::new(v1::RetryQuarantinedWebhooksResponse { results, next_page_token }))
    }

    async fn discard_quarantined_webhooks(
        &self,
        request: Request<v1::DiscardQuarantinedWebhooksRequest>,
    ) -> Result<Response<v1::DiscardQuarantinedWebhooksResponse>, Status> {
        let by = By::of(&request);
        let v1::DiscardQuarantinedWebhooksRequest { ids, fingerprint, page_token } = request.into_inner();
        let (results, next_page_token) = self.decide(&by, Asked { ids, fingerprint, page_token }, Fate::Discard).await?;
        Ok(Response::new(v1::DiscardQuarantinedWebhooksResponse { results, next_page_token }))
    }
}
