//! A listener that is memory: what dials it gets a pipe to the routes that are served at the time.
//!
//! Constraints: the real HTTP/2 is on both ends of a pipe; a channel outlives what it is connected to, as a socket's does.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hyper_util::rt::TokioIo;
use tokio::{
    io::{DuplexStream, copy_bidirectional, duplex},
    sync::mpsc,
    task::AbortHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{
    service::Routes,
    transport::{Channel, Endpoint, Server},
};

/// What is under way in one direction of a pipe, as in the buffers of a socket.
const BUFFER: usize = 1 << 20;

/// Where to dial. Clones are the same listener.
#[derive(Clone, Debug, Default)]
pub(super) struct Listener(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// `None`: nobody listens.
    accept: Option<mpsc::UnboundedSender<io::Result<DuplexStream>>>,
    unreachable: bool,
    pipes: Vec<AbortHandle>,
}

impl Listener {
    /// Serves these routes to whoever dials from now on.
    pub(super) fn serve(&self, routes: Routes) {
        let (accept, accepted) = mpsc::unbounded_channel();
        let serving = Server::builder().add_routes(routes).serve_with_incoming(UnboundedReceiverStream::new(accepted));
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::warn!(%error, "a listener in memory has ended");
            }
        });
        self.state().accept = Some(accept);
    }

    /// Breaks every connection, and listens no more.
    pub(super) fn close(&self) {
        self.state().accept = None;
        self.cut();
    }

    /// Breaks every connection.
    pub(super) fn cut(&self) {
        self.state().pipes.drain(..).for_each(|pipe| pipe.abort());
    }

    /// Whether it can be dialed.
    pub(super) fn set_reachable(&self, reachable: bool) {
        self.state().unreachable = !reachable;
        if !reachable {
            self.cut();
        }
    }

    /// A channel to it, which connects when it is first used, and again after each cut.
    pub(super) fn channel(&self) -> Channel {
        let listener = self.clone();
        let dial = tower::service_fn(move |_| std::future::ready(listener.dial().map(TokioIo::new)));
        Endpoint::from_static("http://in-process").connect_with_connector_lazy(dial)
    }

    fn dial(&self) -> io::Result<DuplexStream> {
        let mut state = self.state();
        let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
        let accept = state.accept.clone().filter(|_| !state.unreachable).ok_or_else(refused)?;
        let (client, mut left) = duplex(BUFFER);
        let (mut right, server) = duplex(BUFFER);
        accept.send(Ok(server)).map_err(|_| refused())?;
        // A pipe in the middle, so that it can be broken with both ends alive.
        let pipe = tokio::spawn(async move { copy_bidirectional(&mut left, &mut right).await });
        state.pipes.retain(|pipe| !pipe.is_finished());
        state.pipes.push(pipe.abort_handle());
        Ok(client)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
