//! One listener: bind, accept, serve, drain.
//!
//! Constraints: no task outlives [`Listener::serve`]; when the stop token is cancelled nothing more is accepted, requests under way are
//! finished, and what has not ended after the grace is cut.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::{AllowedOrigins, Connections, LateRouter, Tls, connection::Connection};
use crate::{limits, telemetry::Sparse};

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody else has it.
    #[error("{key} = \"{address}\": another process listens there; stop it, or choose another port (0 takes a free one)")]
    InUse {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
    },
    /// The operating system refuses.
    #[error("{key} = \"{address}\": cannot listen there: {source}")]
    Refused {
        /// The key of the configuration.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What it says.
        source: io::Error,
    },
}

/// What a listener speaks, and its times.
#[derive(Clone, Debug)]
pub enum Protocol {
    /// HTTP/1.1, and with TLS HTTP/2, for webhooks: whose head must be there within a time.
    Webhooks {
        /// How long the head may take. Also how long an idle connection is kept.
        header_timeout: Duration,
    },
    /// HTTP/2 with keep-alive pings for gRPC; HTTP/1.1 as well, for gRPC-Web and plain requests.
    Grpc {
        /// The most calls of one connection at a time.
        max_streams: u32,
        /// A silent connection is pinged this often.
        ping_interval: Duration,
        /// A ping that is not answered for this long ends its connection.
        ping_timeout: Duration,
        /// The web pages that may call.
        origins: AllowedOrigins,
    },
}

impl Protocol {
    /// How long the first byte of a connection may take.
    pub(super) fn first_byte(&self) -> Duration {
        match self {
            Self::Webhooks { header_timeout } => *header_timeout,
            Self::Grpc { ping_interval, .. } => *ping_interval,
        }
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
    protocol: Protocol,
    tls: Option<Arc<Tls>>,
    told: Arc<Sparse>,
    connections: Arc<Connections>,
}

impl Listener {
    /// Binds. `key` is the key of the configuration that an error names.
    ///
    /// # Errors
    /// [`BindError`], which names the key and the address.
    pub async fn bind(
        key: &'static str,
        address: SocketAddr,
        protocol: Protocol,
        connections: Arc<Connections>,
    ) -> Result<Self, BindError> {
        let refused = |source: io::Error| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { key, address },
            _ => BindError::Refused { key, address, source },
        };
        let socket = TcpListener::bind(address).await.map_err(refused)?;
        let address = socket.local_addr().map_err(refused)?;
        Ok(Self { socket, address, protocol, tls: None, told: Arc::default(), connections })
    }

    /// The same, with TLS if there is a certificate.
    #[must_use]
    pub fn secured(self, tls: Option<Arc<Tls>>) -> Self {
        Self { tls, ..self }
    }

    /// Where it listens; the port is known even if it was to be any free one.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is cancelled, then finishes what is under way, for at most `grace`. gRPC requests carry tonic's
    /// [`TcpConnectInfo`].
    ///
    /// Cancel safety: dropping it cuts the connections.
    pub async fn serve(self, routes: LateRouter, stop: CancellationToken, grace: Duration) {
        let mut connections = JoinSet::new();
        loop {
            let next = async {
                // Before accepting: a connection beyond the limit waits in the backlog of the operating system.
                let room = self.connections.room().await;
                (room, self.socket.accept().await)
            };
            let (room, accepted) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => continue,
                next = next => next,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Some(place) = room.and_then(|room| self.connections.take(room, peer)) else {
                        self.tell_refused(peer);
                        continue;
                    };
                    self.tell_full();
                    // A token of its own: connections that share one wait for its lock, at every poll.
                    let stop = stop.child_token();
                    let (protocol, routes) = (self.protocol.clone(), routes.clone());
                    let (tls, told) = (self.tls.clone(), Arc::clone(&self.told));
                    let connection = Connection { stream, peer, local: self.address, protocol, tls, told, routes, stop };
                    connections.spawn(async move {
                        let _place = place;
                        connection.serve().await;
                    });
                }
                Err(error) => {
                    if self.told.is_due() {
                        warn!(address = %self.address, %error, "a connection could not be accepted");
                    }
                    // Out of file descriptors, mostly: without a pause this would spin until some are free.
                    sleep(limits::ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.socket);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, ended).await.is_err() {
            debug!(address = %self.address, open = connections.len(), "connections are cut after the grace");
            connections.shutdown().await;
        }
    }

    fn tell_refused(&self, peer: SocketAddr) {
        if self.told.is_due() {
            let (section, allowed) = (self.connections.listener(), self.connections.max_per_address());
            warn!(
                %peer,
                listener = %self.address,
                allowed,
                "a connection was closed: its address has as many as it may have; raise {section}.max_connections_per_address if they are all wanted"
            );
        }
    }

    fn tell_full(&self) {
        if !self.connections.has_room() && self.told.is_due() {
            let (section, allowed) = (self.connections.listener(), self.connections.max());
            warn!(listener = %self.address, allowed, "every connection is taken: further ones wait; see {section}.max_connections");
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use axum::{Router, routing::get};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        sync::Notify,
    };

    use super::*;

    const WEBHOOKS: Protocol = Protocol::Webhooks { header_timeout: Duration::from_millis(200) };

    async fn bind(max_connections: u32) -> Listener {
        Listener::bind("edge.listen", "127.0.0.1:0".parse().unwrap(), WEBHOOKS, Connections::new("edge", max_connections, max_connections))
            .await
            .unwrap()
    }

    async fn ask(address: SocketAddr) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_its_key() {
        let first = bind(1).await;
        let error = Listener::bind("edge.listen", first.address(), WEBHOOKS, Connections::new("edge", 1, 1)).await.unwrap_err().to_string();
        assert!(error.contains("edge.listen") && error.contains(&first.address().to_string()), "{error}");
    }

    #[tokio::test]
    async fn who_sends_no_head_is_cut_off_and_others_are_served() {
        let listener = bind(1).await;
        let address = listener.address();
        let stop = CancellationToken::new();
        let router = Router::new().route("/", get(|| async { "here" }));
        let serving = tokio::spawn(listener.serve(LateRouter::new(router, |routes| routes), stop.clone(), Duration::ZERO));

        // One says nothing, one stops in the middle of its head; each holds the only connection until it is cut.
        let mut silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost").await.unwrap();
        assert!(ask(address).await.ends_with("here"));
        for cut in [&mut silent, &mut slow] {
            let mut rest = Vec::new();
            cut.read_to_end(&mut rest).await.unwrap_or_default();
            assert!(!rest.ends_with(b"here"));
        }
        stop.cancel();
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn a_request_under_way_is_finished_and_nothing_more_is_accepted() {
        let listener = bind(8).await;
        let address = listener.address();
        let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let stop = CancellationToken::new();
        let handler = {
            let (entered, leave) = (Arc::clone(&entered), Arc::clone(&leave));
            move || async move {
                entered.notify_one();
                leave.notified().await;
                "finished"
            }
        };
        let router = LateRouter::new(Router::new().route("/", get(handler)), |routes| routes);
        let serving = tokio::spawn(listener.serve(router, stop.clone(), Duration::from_secs(60)));
        let asking = tokio::spawn(ask(address));
        entered.notified().await;
        stop.cancel();
        while TcpStream::connect(address).await.is_ok() {
            tokio::task::yield_now().await;
        }
        leave.notify_one();
        assert!(asking.await.unwrap().ends_with("finished"));
        serving.await.unwrap();
    }

    #[tokio::test]
    async fn what_does_not_end_is_cut_after_the_grace() {
        let listener = bind(8).await;
        let address = listener.address();
        let entered = Arc::new(Notify::new());
        let stop = CancellationToken::new();
        let handler = {
            let entered = Arc::clone(&entered);
            move || async move {
                entered.notify_one();
                std::future::pending::<()>().await;
            }
        };
        let router = LateRouter::new(Router::new().route("/", get(handler)), |routes| routes);
        let serving = tokio::spawn(listener.serve(router, stop.clone(), Duration::from_millis(1)));
        let asking = tokio::spawn(ask(address));
        entered.notified().await;
        stop.cancel();
        serving.await.unwrap();
        assert_eq!(asking.await.unwrap(), "");
    }
}
