//! Looking at webhook sources.

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, source_admin_service_server::SourceAdminService};

use super::{convert::timestamp, page::Page};
use crate::{
    error::Fault,
    ingress::{LiveSources, Outcome, Polled, Source},
    limits,
};

/// Shows the configured sources.
#[derive(Debug)]
pub struct SourceAdmin {
    sources: LiveSources,
}

impl SourceAdmin {
    /// Of these sources.
    #[must_use]
    pub fn new(sources: LiveSources) -> Self {
        Self { sources }
    }
}

fn show(source: &Source) -> v1::Source {
    let counters = &source.counters;
    let kind = |kind: &'static str| counters.sum(|outcome| outcome.kind() == kind);
    let unverified = counters.sum(Outcome::is_unverified);
    v1::Source {
        name: source.name.to_string(),
        path: source.path.clone(),
        verification: source.scheme.clone(),
        unverified: source.is_unverified(),
        active_secrets: u32::try_from(source.active_secrets()).unwrap_or(u32::MAX),
        identity: source.identity().into(),
        event_types: source.event_types(),
        stats: Some(v1::SourceStats {
            accepted: kind("accepted"),
            duplicates: kind("duplicate"),
            changed_duplicates: counters.get(Outcome::ChangedDuplicate),
            unverified_refused: unverified,
            refused: kind("refused") - unverified,
            quarantined: kind("quarantined"),
            last_received_at: counters.last_verified().map(timestamp),
            recovered: counters.polled.get(Polled::Recovered),
            last_polled_at: counters.polled.last().map(timestamp),
        }),
    }
}

#[tonic::async_trait]
impl SourceAdminService for SourceAdmin {
    async fn list_sources(&self, request: Request<v1::ListSourcesRequest>) -> Result<Response<v1::ListSourcesResponse>, Status> {
        let request = request.into_inner();
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &v1::ListSourcesRequest::default())?;
        let now = self.sources.current();
        let (sources, next_page_token) = page.take(now.iter(), |source| source.name.as_bytes().to_vec());
        Ok(Response::new(v1::ListSourcesResponse { sources: sources.into_iter().map(|source| show(source)).collect(), next_page_token }))
    }

    async fn get_source(&self, request: Request<v1::GetSourceRequest>) -> Result<Response<v1::GetSourceResponse>, Status> {
        let name = request.into_inner().name;
        Fault::require("name", &name)?;
        let now = self.sources.current();
        let source = now.get(&name).ok_or_else(|| Fault::not_found(format!("there is no source {name:?} in the configuration")))?;
        Ok(Response::new(v1::GetSourceResponse { source: Some(show(source)) }))
    }
}
