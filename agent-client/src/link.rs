//! A server stream that is opened again and again.
//!
//! Constraints: [`Link::next`] is cancel safe; a stream that is silent for too long counts as broken; what is permanent
//! is decided by the caller, who simply does not dial again.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tokio_stream::Stream;
use tonic::{Code, Response, Status, Streaming};

use crate::backoff::Backoff;
use crate::failure::Failure;

type Dialing<M> = Pin<Box<dyn Future<Output = Result<Response<Streaming<M>>, Status>> + Send>>;

/// What happens on a link.
#[derive(Debug)]
pub(crate) enum Step<M> {
    /// It is time to [`Link::dial`].
    Dial,
    /// A message.
    Message(M),
    /// The stream broke, or could not be opened. `Dial` follows after a while.
    Broken(Failure),
    /// The peer ended the stream with OK. `Dial` follows after a while.
    Ended,
}

enum State<M> {
    Waiting(Pin<Box<Sleep>>),
    Dialing(Dialing<M>),
    Open(Box<Streaming<M>>),
}

/// One stream at a time, with the waits between them.
pub(crate) struct Link<M> {
    state: State<M>,
    backoff: Backoff,
    dialed: Instant,
    /// How long nothing may be heard, from dialing on.
    patience: Duration,
    silence: Pin<Box<Sleep>>,
}

impl<M> Link<M> {
    /// A link that wants to be dialed at once.
    pub(crate) fn new(patience: Duration) -> Self {
        Self {
            state: State::Waiting(Box::pin(sleep(Duration::ZERO))),
            backoff: Backoff::default(),
            dialed: Instant::now(),
            patience,
            silence: Box::pin(sleep(patience)),
        }
    }

    /// Opens the stream that `call` leads to.
    pub(crate) fn dial(&mut self, call: Dialing<M>) {
        self.state = State::Dialing(call);
        self.dialed = Instant::now();
        self.heard();
    }

    /// Drops the stream and asks to be dialed at once.
    pub(crate) fn redial(&mut self) {
        self.state = State::Waiting(Box::pin(sleep(Duration::ZERO)));
    }

    /// From now on, a silence of this length means that the stream is broken.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.heard();
    }

    /// How often opening failed since it last went well.
    pub(crate) fn tries(&self) -> u32 {
        self.backoff.tries()
    }

    /// The next step. Cancel safe.
    pub(crate) async fn next(&mut self) -> Step<M> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Step<M>> {
        loop {
            match &mut self.state {
                State::Waiting(wait) => {
                    ready!(wait.as_mut().poll(cx));
                    return Poll::Ready(Step::Dial);
                }
                State::Dialing(call) => match call.as_mut().poll(cx) {
                    Poll::Ready(Ok(response)) => {
                        self.state = State::Open(Box::new(response.into_inner()));
                        self.heard();
                    }
                    Poll::Ready(Err(status)) => return Poll::Ready(self.broken(status.into())),
                    Poll::Pending => return self.poll_silence(cx),
                },
                State::Open(stream) => match Pin::new(stream.as_mut()).poll_next(cx) {
                    Poll::Ready(Some(Ok(message))) => {
                        self.heard();
                        return Poll::Ready(Step::Message(message));
                    }
                    Poll::Ready(Some(Err(status))) => return Poll::Ready(self.broken(status.into())),
                    Poll::Ready(None) => {
                        self.wait(None);
                        return Poll::Ready(Step::Ended);
                    }
                    Poll::Pending => return self.poll_silence(cx),
                },
            }
        }
    }

    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<Step<M>> {
        ready!(self.silence.as_mut().poll(cx));
        let silent = format!("nothing was heard for {:?}", self.patience);
        Poll::Ready(self.broken(Failure::local(Code::Unavailable, silent)))
    }

    fn heard(&mut self) {
        self.silence.as_mut().reset(Instant::now() + self.patience);
    }

    fn broken(&mut self, failure: Failure) -> Step<M> {
        self.wait(failure.retry_after);
        Step::Broken(failure)
    }

    fn wait(&mut self, asked: Option<Duration>) {
        self.backoff.connection_ended(self.dialed);
        self.state = State::Waiting(Box::pin(sleep_until(Instant::now() + self.backoff.next(asked))));
    }
}
