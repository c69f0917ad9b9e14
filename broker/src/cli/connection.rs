//! To a running broker: TLS if the URL says https://, and the caller's token with every call.
//!
//! Constraint: the token is read from where it is kept, and is in no error and no output.

use std::{fs, path::Path, time::Duration};

use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataValue},
    service::{Interceptor, interceptor::InterceptedService},
    transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity},
};
use zeroize::Zeroizing;

use super::{args::BrokerArgs, failure::Failure};
use crate::{config::SecretRef, limits};

/// Calls of one listener of a broker.
pub type Connection = InterceptedService<Channel, Bearer>;

/// Puts the caller's token into every call, if there is one.
#[derive(Clone)]
pub struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

impl Bearer {
    fn read(token: Option<&SecretRef>) -> Result<Self, Failure> {
        let Some(reference) = token else { return Ok(Self(None)) };
        let secret = reference.resolve(Path::new("")).map_err(|error| Failure::Usage(format!("--token {reference}: {error}")))?;
        let header = Zeroizing::new([b"Bearer ", secret.expose()].concat());
        let value = std::str::from_utf8(&header).ok().and_then(|text| text.parse::<MetadataValue<Ascii>>().ok());
        let mut value = value.ok_or_else(|| Failure::Failed(format!("--token {reference}: what is there cannot be a token")))?;
        value.set_sensitive(true);
        Ok(Self(Some(value)))
    }
}

/// Connects to the agents' listener.
///
/// # Errors
/// When the URL is none, a file or the token cannot be used, or nobody answers there.
pub async fn agents(broker: &BrokerArgs) -> Result<Connection, Failure> {
    open(broker, &broker.agents, "--agents").await
}

/// Connects to the administrators' listener.
///
/// # Errors
/// As [`agents`].
pub async fn admin(broker: &BrokerArgs) -> Result<Connection, Failure> {
    open(broker, &broker.admin, "--admin").await
}

async fn open(broker: &BrokerArgs, url: &str, option: &str) -> Result<Connection, Failure> {
    let bearer = Bearer::read(broker.token.as_ref())?;
    let endpoint = Endpoint::from_shared(url.to_owned())
        .map_err(|error| Failure::Usage(format!("{option} {url}: {error}; give a URL such as http://127.0.0.1:8481")))?;
    let endpoint = if endpoint.uri().scheme_str() == Some("https") { secured(endpoint, broker)? } else { endpoint };
    let endpoint = endpoint.connect_timeout(Duration::from_secs(5)).tcp_nodelay(true).max_frame_size(limits::HTTP2_MAX_FRAME_BYTES);
    let channel = endpoint.connect().await.map_err(|error| no_answer(url, option, &error))?;
    Ok(InterceptedService::new(channel, bearer))
}

fn secured(endpoint: Endpoint, broker: &BrokerArgs) -> Result<Endpoint, Failure> {
    let read = |option: &str, path: &Path| {
        fs::read(path).map_err(|error| Failure::Failed(format!("{option} {}: cannot be read: {error}", path.display())))
    };
    let mut tls = ClientTlsConfig::new();
    match &broker.ca {
        Some(path) => tls = tls.ca_certificate(Certificate::from_pem(read("--ca", path)?)),
        None => tls = tls.with_native_roots(),
    }
    if let Some(path) = &broker.identity {
        let pem = Zeroizing::new(read("--identity", path)?);
        tls = tls.identity(Identity::from_pem(&pem[..], &pem[..]));
    }
    endpoint.tls_config(tls).map_err(|error| Failure::Failed(format!("TLS cannot be set up: {}", causes(&error))))
}

/// Somebody who answers and cannot be believed is something else than nobody.
fn no_answer(url: &str, option: &str, error: &tonic::transport::Error) -> Failure {
    let cause = causes(error);
    Failure::Unavailable(match cause.contains("certificate") {
        true => format!("who answers at {url} cannot be trusted: {cause}; --ca names the authority of the broker's certificate"),
        false => format!("no broker answers at {url} ({cause}); start one with `waypost serve`, or name it with {option}"),
    })
}

/// The cause at the root, which says more than "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}

/// What the broker said, for people.
#[allow(clippy::needless_pass_by_value, reason = "for map_err")]
pub fn refused(status: Status) -> Failure {
    Failure::refused(&status)
}
