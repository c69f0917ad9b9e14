//! A collector of traces: takes OTLP over gRPC, and keeps what it is sent.
//!
//! Constraint: what is waited for is awaited; nothing here waits for a time.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value::Value},
    trace::v1::{Span as Sent, status::StatusCode},
};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{
    Request, Response, Status,
    transport::{Identity, Server, ServerTlsConfig},
};

use crate::authority::Pair;

/// A collector that listens on a free port of the loopback until it is dropped.
#[derive(Debug)]
pub struct Collector {
    /// Where.
    pub address: SocketAddr,
    kept: Kept,
    served: JoinHandle<()>,
}

/// A span, as it is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// What it is called.
    pub name: String,
    /// Its trace, in hexadecimal digits.
    pub trace: String,
    /// Its id.
    pub id: String,
    /// Its parent's; empty if it has none.
    pub parent: String,
    /// Of what kind it is: 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: i32,
    /// What is said of it, each value as text.
    pub attributes: BTreeMap<String, String>,
    /// Whether it failed.
    pub is_error: bool,
    /// Nanoseconds since the Unix epoch, first and last.
    pub times: (u64, u64),
}

#[derive(Clone, Debug)]
struct Kept {
    requests: Arc<Mutex<Vec<Export>>>,
    count: Arc<watch::Sender<usize>>,
}

/// One call.
#[derive(Clone, Debug)]
pub struct Export {
    /// Its metadata.
    pub headers: BTreeMap<String, String>,
    /// What it brought.
    pub request: ExportTraceServiceRequest,
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(&self, request: Request<ExportTraceServiceRequest>) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let headers = request.metadata().as_ref().iter();
        let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap_or_default().to_owned())).collect();
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).push(Export { headers, request: request.into_inner() });
        self.count.send_modify(|count| *count += 1);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Collector {
    /// Starts one, without TLS.
    ///
    /// # Panics
    /// When there is no free port.
    pub async fn start() -> Self {
        Self::serve(Server::builder()).await
    }

    /// Starts one that shows this certificate.
    ///
    /// # Panics
    /// When there is no free port, or the certificate cannot be used.
    pub async fn with_tls(pair: &Pair) -> Self {
        let identity = Identity::from_pem(&pair.certificate, &pair.key);
        Self::serve(Server::builder().tls_config(ServerTlsConfig::new().identity(identity)).unwrap()).await
    }

    async fn serve(mut server: Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let kept = Kept { requests: Arc::default(), count: Arc::new(watch::channel(0).0) };
        let router = server.add_service(TraceServiceServer::new(kept.clone()));
        let served = tokio::spawn(async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() });
        Self { address, kept, served }
    }

    /// The calls so far.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.kept.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        let exports = self.exports();
        let scopes = exports.into_iter().flat_map(|export| export.request.resource_spans).flat_map(|resource| resource.scope_spans);
        scopes.flat_map(|scope| scope.spans).map(Span::from).collect()
    }

    /// The spans, once they are what is waited for. Waits for ever if they never are.
    ///
    /// # Panics
    /// Never: the sender lives as long as this.
    pub async fn once(&self, are_there: impl Fn(&[Span]) -> bool) -> Vec<Span> {
        let mut count = self.kept.count.subscribe();
        loop {
            count.borrow_and_update();
            let spans = self.spans();
            if are_there(&spans) {
                return spans;
            }
            count.changed().await.unwrap();
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Span {
    /// What is said of it under a name; empty if nothing is.
    #[must_use]
    pub fn get(&self, attribute: &str) -> &str {
        self.attributes.get(attribute).map_or("", String::as_str)
    }
}

impl From<Sent> for Span {
    fn from(span: Sent) -> Self {
        Self {
            name: span.name,
            trace: hex::encode(span.trace_id),
            id: hex::encode(span.span_id),
            parent: hex::encode(span.parent_span_id),
            kind: span.kind,
            attributes: texts(&span.attributes),
            is_error: span.status.is_some_and(|status| status.code() == StatusCode::Error),
            times: (span.start_time_unix_nano, span.end_time_unix_nano),
        }
    }
}

/// Attributes, each value as text.
#[must_use]
pub fn texts(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(is)) => is.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}
