//! `waypost send`: a sample webhook, signed as its provider would.
//!
//! Constraint: the secret comes from the configuration, as the broker has it, and is never printed.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, header};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsConnector, rustls::pki_types::ServerName};

use super::{args::ConfigArgs, check, failure::Failure, output};
use crate::{
    clock::Clock,
    config::Setup,
    entropy::Entropy,
    ingress::{
        Source,
        verify::{Sample, SampleProblem},
    },
    server::tls,
};

/// What `send` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct SendArgs {
    /// The configuration that the broker has.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The name of the source
    pub source: String,
    /// The body; without it, a small JSON document
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The provider's event type, for providers that name it in a header
    #[arg(long, value_name = "TYPE")]
    pub event_type: Option<String>,
    /// A header to send as well; may be repeated
    #[arg(long = "header", short = 'H', value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The edge of the broker, host and port; without it, edge.listen of the configuration
    #[arg(long, value_name = "HOST:PORT")]
    pub edge: Option<String>,
    /// Whose certificates are trusted if the edge has TLS, in PEM; without it, those in the edge's own certificate file
    #[arg(long, value_name = "FILE")]
    pub ca: Option<PathBuf>,
    /// Change the body after signing it
    #[arg(long)]
    pub tamper: bool,
    /// Send the same webhook twice
    #[arg(long)]
    pub duplicate: bool,
    /// The answers as JSON, one a line
    #[arg(long)]
    pub json: bool,
}

/// What a source answered.
struct Answer {
    status: u16,
    body: Value,
}

/// Posts the sample, once or twice, and prints the answers.
///
/// # Errors
/// When there is no such source, the sample cannot be read or signed, or nobody answers.
pub async fn run(args: SendArgs) -> Result<(), Failure> {
    let setup = check::load(&args.config)?;
    let source = source(&setup, &args.source)?;
    let body = match &args.file {
        Some(path) => fs::read(path).map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))?,
        None => br#"{"hello":"from waypost send"}"#.to_vec(),
    };
    let headers = sign(source, &args, &body)?;
    let sent = if args.tamper { tampered(&body) } else { body };
    let listen = setup.config.edge.listen.get().to_string();
    let edge = Edge { address: args.edge.unwrap_or(listen), tls: connector(&setup, args.ca.as_deref())? };
    for _ in 0..if args.duplicate { 2 } else { 1 } {
        let answer = post(&edge, &source.path, &headers, sent.clone()).await?;
        if args.json {
            output::line(json!({ "status": answer.status, "answer": answer.body }));
        } else {
            output::line(format_args!("{} {}", answer.status, answer.body));
        }
    }
    Ok(())
}

/// A source of the configuration.
pub(super) fn source<'a>(setup: &'a Setup, name: &str) -> Result<&'a Source, Failure> {
    let found = setup.sources.get(name).map(|source| &**source);
    found.ok_or_else(|| {
        let known: Vec<_> = setup.sources.iter().map(|source| source.name.to_string()).collect();
        let known = if known.is_empty() { "none; name the broker's configuration with --config".to_owned() } else { known.join(", ") };
        Failure::Failed(format!("there is no source {name:?}; configured: {known}"))
    })
}

/// The headers that were given, over a content type of JSON.
pub(super) fn headers(given: &[String]) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    for given in given {
        let parsed = given
            .split_once(':')
            .and_then(|(name, value)| Some((name.trim().parse::<HeaderName>().ok()?, value.trim().parse::<HeaderValue>().ok()?)));
        let (name, value) = parsed.ok_or_else(|| Failure::Failed(format!("{given:?} is not a header; write \"Name: value\"")))?;
        headers.insert(name, value);
    }
    Ok(headers)
}

fn sign(source: &Source, args: &SendArgs, body: &[u8]) -> Result<HeaderMap, Failure> {
    let headers = headers(&args.headers)?;
    let Some(verifier) = source.verifier() else { return Ok(headers) };
    let clock = Clock::from_wall();
    let id = Entropy::from_os().uuid(clock.now()).to_string();
    let target = source.path.parse().map_err(Failure::failed)?;
    let event_type = args.event_type.as_deref();
    let sample = Sample { target: &target, body, delivery_id: &id, event_type, wall: clock.wall() };
    verifier.sign(headers, &sample).map_err(|problem| {
        let hint = if matches!(problem, SampleProblem::Missing { .. }) { "; see --event-type and --header" } else { "" };
        Failure::Failed(format!("a sample for {} cannot be signed: {problem}{hint}", source.name))
    })
}

/// The body with one bit changed, so that no signature fits and it is as long as before.
fn tampered(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    match body.last_mut() {
        Some(last) => *last ^= 1,
        None => body.push(b' '),
    }
    body
}

/// Where webhooks go.
struct Edge {
    /// Host and port.
    address: String,
    tls: Option<TlsConnector>,
}

/// What the edge's certificate is checked with, if it has one.
fn connector(setup: &Setup, ca: Option<&Path>) -> Result<Option<TlsConnector>, Failure> {
    let authority = setup.certificates.edge.as_ref().map(|tls| ca.unwrap_or(tls.certificate()));
    authority.map(tls::connector).transpose().map_err(Failure::failed)
}

async fn post(Edge { address, tls }: &Edge, path: &str, headers: &HeaderMap, body: Vec<u8>) -> Result<Answer, Failure> {
    let stream = TcpStream::connect(address).await.map_err(|error| {
        Failure::Failed(format!("no broker answers at {address} ({error}); start one with `waypost serve`, or name it with --edge"))
    })?;
    let mut request = Request::post(path).header(header::HOST, address).body(Full::new(Bytes::from(body))).map_err(Failure::failed)?;
    request.headers_mut().extend(headers.clone());
    let Some(tls) = tls else { return exchange(stream, request).await };
    let host = address.rsplit_once(':').map_or(address.as_str(), |(host, _)| host).trim_matches(['[', ']']).to_owned();
    let name = ServerName::try_from(host).map_err(Failure::failed)?;
    let stream = tls.connect(name, stream).await.map_err(|error| {
        Failure::Failed(format!("who answers at {address} cannot be trusted: {error}; --ca names the authority of its certificate"))
    })?;
    exchange(stream, request).await
}

async fn exchange(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, request: Request<Full<Bytes>>) -> Result<Answer, Failure> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(Failure::failed)?;
    tokio::spawn(connection);
    let answer = sender.send_request(request).await.map_err(Failure::failed)?;
    let status = answer.status().as_u16();
    let bytes = answer.into_body().collect().await.map_err(Failure::failed)?.to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
    Ok(Answer { status, body })
}
