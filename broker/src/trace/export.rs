//! Spans to the collector, by OTLP over gRPC.
//!
//! Constraints:
//! - One batch is under way at a time. What comes meanwhile waits in a queue of fixed length, and beyond it is dropped where it is made.
//! - Nothing is sent twice: a batch that the collector did not take in time is counted and gone, since the next one is waiting.
//! - Trouble is told once when it begins, then once a minute, and once when it is over.

use std::{
    collections::BTreeSet,
    future::Future,
    mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use opentelemetry_proto::{
    tonic::collector::trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
    transform::{common::tonic::ResourceAttributesWithSchema, trace::tonic::group_spans_by_resource_and_scope},
};
use opentelemetry_sdk::{Resource, trace::SpanData};
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Status,
    metadata::MetadataMap,
    transport::{Channel, Endpoint},
};
use waypost_store::Micros;

use super::tracer::SpanCounts;
use crate::{clock::Clock, limits};

/// Where spans go, and as whose.
#[derive(Clone, Debug)]
pub struct Collector {
    /// Where it listens, TLS included.
    pub endpoint: Endpoint,
    /// What goes with every call; secrets among it are marked so.
    pub headers: MetadataMap,
    /// What this broker calls itself.
    pub resource: Resource,
    /// The share of traces that is sampled, of those that begin here.
    pub sample_ratio: f64,
    /// The sources whose senders decide that for the traces that they bring.
    pub trusted_sources: BTreeSet<String>,
}

/// Sends spans for as long as it runs.
#[derive(Debug)]
pub struct Export {
    collector: Collector,
    pub(super) spans: mpsc::Receiver<SpanData>,
    counts: Arc<SpanCounts>,
    clock: Clock,
}

impl Export {
    pub(super) fn new(collector: Collector, spans: mpsc::Receiver<SpanData>, counts: Arc<SpanCounts>, clock: Clock) -> Self {
        Self { collector, spans, counts, clock }
    }

    /// Runs until it is told to stop; then what is left is sent, if that takes no longer than [`limits::SPAN_FLUSH`].
    pub async fn run(self, stop: CancellationToken) {
        let late = async {
            stop.cancelled().await;
            sleep(limits::SPAN_FLUSH).await;
        };
        tokio::select! {
            () = self.send_all(&stop) => {}
            () = late => {}
        }
    }

    async fn send_all(self, stop: &CancellationToken) {
        let Self { collector, mut spans, counts, clock } = self;
        let uri = collector.endpoint.uri().to_string();
        let resource = ResourceAttributesWithSchema::from(&collector.resource);
        let mut client = TraceServiceClient::new(collector.endpoint.connect_lazy());
        let mut trouble = Trouble::default();
        let mut batch = Vec::with_capacity(limits::SPANS_PER_EXPORT);
        while gather(&mut spans, &mut batch, stop).await {
            let count = batch.len() as u64;
            let mut request = Request::new(ExportTraceServiceRequest {
                resource_spans: group_spans_by_resource_and_scope(mem::take(&mut batch), &resource),
            });
            *request.metadata_mut() = collector.headers.clone();
            let failed = match send(&mut client, request).await {
                Ok(0) => None,
                Ok(rejected) => Some((rejected.min(count), "the collector rejected some of them".to_owned())),
                Err(status) => Some((count, told(&status))),
            };
            let (lost, why) = failed.unzip();
            counts.exported.fetch_add(count - lost.unwrap_or_default(), Relaxed);
            counts.failed.fetch_add(lost.unwrap_or_default(), Relaxed);
            trouble.note(&counts, why, &uri, clock.now());
        }
    }
}

/// Fills a batch: with what there is, and what comes within [`limits::SPAN_DELAY`]. `false` once there is nothing and will be nothing.
async fn gather(spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>, stop: &CancellationToken) -> bool {
    let received = until_stopped(stop, spans.recv_many(batch, limits::SPANS_PER_EXPORT)).await;
    if received != Some(0) && received.is_some() {
        let fill = async {
            while batch.len() < limits::SPANS_PER_EXPORT {
                let room = limits::SPANS_PER_EXPORT - batch.len();
                if spans.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        let _ = until_stopped(stop, timeout(limits::SPAN_DELAY, fill)).await;
    }
    if stop.is_cancelled() && batch.len() < limits::SPANS_PER_EXPORT {
        spans.close();
        let room = limits::SPANS_PER_EXPORT - batch.len();
        spans.recv_many(batch, room).await;
    }
    !batch.is_empty()
}

async fn until_stopped<T>(stop: &CancellationToken, work: impl Future<Output = T>) -> Option<T> {
    stop.run_until_cancelled(work).await
}

/// How many of them it rejected.
async fn send(client: &mut TraceServiceClient<Channel>, request: Request<ExportTraceServiceRequest>) -> Result<u64, Status> {
    let sent = timeout(limits::SPAN_EXPORT, client.export(request)).await;
    let response = sent.map_err(|_| Status::deadline_exceeded("no answer in time"))??.into_inner();
    let rejected = response.partial_success.map_or(0, |partial| partial.rejected_spans);
    Ok(u64::try_from(rejected).unwrap_or_default())
}

/// What a status says, down to its cause.
fn told(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut cause = std::error::Error::source(status);
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}

/// Whether spans are being lost, and when that was told.
#[derive(Default)]
struct Trouble {
    told_at: Option<Micros>,
    /// Of all spans, those lost when it was told.
    lost: u64,
}

impl Trouble {
    fn note(&mut self, counts: &SpanCounts, why: Option<String>, collector: &str, now: Micros) {
        let (dropped, failed) = (counts.dropped.load(Relaxed), counts.failed.load(Relaxed));
        let is_new = dropped + failed > self.lost;
        let is_due = self.told_at.is_none_or(|at| Duration::from_micros(now.saturating_sub(at)) >= limits::SPAN_TROUBLE);
        if is_new && is_due {
            let why = why.unwrap_or_else(|| "the collector is slower than they come".to_owned());
            tracing::warn!(collector, why, dropped, failed, "spans are lost; the broker goes on without them");
            (self.told_at, self.lost) = (Some(now), dropped + failed);
        } else if !is_new && is_due && self.told_at.is_some() {
            tracing::info!(collector, dropped, failed, "the collector takes spans again");
            self.told_at = None;
        }
    }
}
