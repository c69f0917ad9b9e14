//! One connection: its first byte, its handshake if there is one, its requests.
//!
//! Constraints: whoever sends nothing, or does not finish a handshake, is cut within a time; the first byte tells TLS from HTTP, so that each
//! mistake about it is told by its name, to whoever connects and to the log.

use std::{convert::Infallible, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::TcpConnectInfo;
use tower::Service;
use tracing::{debug, info, warn};

use super::{
    LateRouter, Protocol, Tls,
    preface::{Version, version},
    tls,
};
use crate::{ingress::Peer, limits, telemetry::Sparse};

/// What every TLS connection begins with: a handshake record. No HTTP request begins with it.
const HANDSHAKE: u8 = 0x16;

/// What HTTP is told that comes where TLS is expected.
const HTTPS_ONLY: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\nThis port speaks TLS: use https://\n";

/// A connection that was accepted.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) local: SocketAddr,
    pub(super) protocol: Protocol,
    pub(super) tls: Option<Arc<Tls>>,
    /// For the log lines that whoever connects can cause.
    pub(super) told: Arc<Sparse>,
    pub(super) routes: LateRouter,
    pub(super) stop: CancellationToken,
}

impl Connection {
    /// Serves it to its end; once `stop` is cancelled, what is under way is finished.
    pub(super) async fn serve(self) {
        let Self { stream, peer, local, protocol, tls, told, routes, stop } = self;
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        let opening = Opening { peer, local, told: &told, first_byte: protocol.first_byte() }.open(stream, tls.as_deref());
        let opened = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            opened = opening => opened,
        };
        let requests = Requests { peer, local, protocol, routes, stop };
        match opened {
            None => {}
            Some(Opened::Plain(stream)) => requests.begin(stream, None).await,
            Some(Opened::Secured(stream)) => {
                let is_2 = stream.get_ref().1.alpn_protocol() == Some(tls::HTTP_2);
                requests.begin(*stream, Some(if is_2 { Version::Two } else { Version::One })).await;
            }
        }
    }
}

enum Opened {
    Plain(TcpStream),
    Secured(Box<TlsStream<TcpStream>>),
}

/// What is known before anything was said.
struct Opening<'a> {
    peer: SocketAddr,
    local: SocketAddr,
    told: &'a Sparse,
    first_byte: Duration,
}

impl Opening<'_> {
    /// Waits for the first byte of a request. hyper counts times from there on; who sends none must not hold a connection either.
    async fn open(self, mut stream: TcpStream, tls: Option<&Tls>) -> Option<Opened> {
        let mut byte = [0];
        if !matches!(timeout(self.first_byte, stream.peek(&mut byte)).await, Ok(Ok(1..))) {
            return None;
        }
        match (tls, byte == [HANDSHAKE]) {
            (None, false) => Some(Opened::Plain(stream)),
            (None, true) => {
                self.warn("a client speaks TLS, and this listener does not: its section needs tls, or the client http://");
                // It is answered as what it is here: no HTTP.
                Some(Opened::Plain(stream))
            }
            (Some(_), false) => {
                self.warn("a client speaks plain HTTP, and this listener speaks TLS: the client must use https://");
                // A close with something unread would take the answer back.
                let _ = timeout(limits::TLS_HANDSHAKE, refuse_plain(&mut stream)).await;
                None
            }
            (Some(tls), true) => self.shake_hands(stream, tls).await,
        }
    }

    async fn shake_hands(self, stream: TcpStream, tls: &Tls) -> Option<Opened> {
        let (peer, listener) = (self.peer, self.local);
        let mut stream = match timeout(limits::TLS_HANDSHAKE, tls.acceptor().accept(stream)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                if self.told.is_due() {
                    info!(%peer, %listener, %error, "a TLS handshake failed");
                }
                return None;
            }
            Err(_) => {
                if self.told.is_due() {
                    info!(%peer, %listener, "a TLS handshake was not finished in {:?}", limits::TLS_HANDSHAKE);
                }
                return None;
            }
        };
        let something = timeout(self.first_byte, stream.fill_buf()).await;
        matches!(something, Ok(Ok(bytes)) if !bytes.is_empty()).then(|| Opened::Secured(Box::new(stream)))
    }

    fn warn(&self, what: &str) {
        if self.told.is_due() {
            warn!(peer = %self.peer, listener = %self.local, "{what}");
        }
    }
}

async fn refuse_plain(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(HTTPS_ONLY).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    while stream.read(&mut rest).await? > 0 {}
    Ok(())
}

/// What is needed to serve the requests of a connection.
struct Requests {
    peer: SocketAddr,
    local: SocketAddr,
    protocol: Protocol,
    routes: LateRouter,
    stop: CancellationToken,
}

impl Requests {
    /// Serves what was agreed on; without an agreement, what it begins with.
    async fn begin(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, agreed: Option<Version>) {
        // Webhooks that come without TLS come in HTTP/1.1: what is in front of this listener speaks it.
        let is_one = agreed == Some(Version::One) || (agreed.is_none() && matches!(self.protocol, Protocol::Webhooks { .. }));
        if is_one {
            return self.serve(stream, Version::One).await;
        }
        // Of the beginning of HTTP/2, hyper waits for the rest without end.
        let told = tokio::select! {
            biased;
            () = self.stop.cancelled() => return,
            told = timeout(self.protocol.first_byte(), version(stream)) => told,
        };
        if let Ok(Ok((found, stream))) = told {
            self.serve(stream, agreed.unwrap_or(found)).await;
        }
    }

    async fn serve(self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, version: Version) {
        let Self { peer, local, protocol, routes, stop } = self;
        let builder = builder(&protocol, version);
        let origins = match protocol {
            Protocol::Webhooks { .. } => None,
            Protocol::Grpc { origins, .. } => Some(origins),
        };
        let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let mut request = request.map(Body::new);
            let info = TcpConnectInfo { local_addr: Some(local), remote_addr: Some(peer) };
            let (mut router, origins) = (routes.current(), origins.clone());
            async move {
                let Some(origins) = origins else {
                    request.extensions_mut().insert(Peer(peer.ip()));
                    return router.call(request).await;
                };
                request.extensions_mut().insert(info);
                let serve = async |request: axum::extract::Request| router.call(request).await.unwrap_or_else(|never| match never {});
                Ok::<_, Infallible>(origins.admit(request, serve).await)
            }
        });
        let mut serving = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            biased;
            () = stop.cancelled() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
            ended = serving.as_mut() => ended,
        };
        if let Err(error) = ended {
            debug!(%peer, error, "a connection ended early");
        }
    }
}

fn builder(protocol: &Protocol, version: Version) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    match protocol {
        Protocol::Webhooks { header_timeout } => {
            // hyper's own bound is six times that: a flood of heads would take it for each connection.
            let most = usize::try_from(limits::EDGE_MAX_HEAD_BYTES).unwrap_or(usize::MAX);
            builder.http1().timer(TokioTimer::new()).header_read_timeout(*header_timeout).half_close(false).max_buf_size(most);
            // Who is silent in the middle of a head cannot answer a ping either.
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(*header_timeout)
                .keep_alive_timeout(*header_timeout)
                .max_concurrent_streams(limits::EDGE_MAX_STREAMS)
                .max_header_list_size(limits::EDGE_MAX_HEAD_BYTES);
        }
        Protocol::Grpc { max_streams, ping_interval, ping_timeout, .. } => {
            builder.http1().timer(TokioTimer::new());
            builder
                .http2()
                .timer(TokioTimer::new())
                .keep_alive_interval(*ping_interval)
                .keep_alive_timeout(*ping_timeout)
                .max_concurrent_streams(*max_streams)
                .max_frame_size(limits::HTTP2_MAX_FRAME_BYTES);
        }
    }
    match version {
        Version::One => builder.http1_only(),
        Version::Two => builder.http2_only(),
    }
}
