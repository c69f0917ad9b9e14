//! The task of one publish stream.
//!
//! Constraints: what queued up goes into one request; results come in the order of the requests; after a broken stream
//! everything without a result is sent again, in its order, before anything new.

use std::collections::VecDeque;
use std::future::pending;
use std::time::Duration;

use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::{Instant, sleep_until};
use tokio_stream::wrappers::ReceiverStream;
use waypost_proto::v1::{PublishStreamRequest, PublishStreamResponse};

use super::outcome::{Answer, PublishError};
use super::publisher::Submission;
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::limits::MAX_ITEMS;
use crate::link::{Link, Step};
use crate::observe::Watch;
use crate::rpc::Rpc;

/// Requests handed to the transport ahead of what it has written.
const AHEAD: usize = 4;
/// A request is closed at this size, though the broker takes larger ones: results come sooner.
const REQUEST_BYTES: usize = 1 << 20;
/// A publish stream may be silent as long as nobody publishes. Dead connections are found by HTTP/2 keep-alive.
const PATIENCE: Duration = Duration::from_secs(3_600);

struct Publishing {
    rpc: Rpc,
    watch: Watch,
    link: Link<PublishStreamResponse>,
    /// `None`: there is no stream.
    requests: Option<mpsc::Sender<PublishStreamRequest>>,
    queue: VecDeque<Submission>,
    sent: VecDeque<(u64, Vec<Submission>)>,
    sequence: u64,
    /// While the store is full, nothing is sent before this.
    not_before: Option<Instant>,
    backoff: Backoff,
}

/// Publishes until every publisher is gone and everything has its answer.
pub(super) async fn run(rpc: Rpc, mut inbox: mpsc::UnboundedReceiver<Submission>, watch: Watch) {
    let mut open = true;
    let mut received = Vec::new();
    let mut this = Publishing {
        rpc,
        watch,
        link: Link::new(PATIENCE),
        requests: None,
        queue: VecDeque::new(),
        sent: VecDeque::new(),
        sequence: 0,
        not_before: None,
        backoff: Backoff::without_immediate(),
    };
    while open || !this.is_idle() {
        let wanted = this.requests.is_some() || !this.is_idle();
        tokio::select! {
            biased;
            step = this.link.next(), if wanted => this.step(step),
            count = inbox.recv_many(&mut received, MAX_ITEMS), if open => {
                open = count > 0;
                this.queue.extend(received.drain(..));
            }
            room = room(&this.requests, !this.queue.is_empty(), this.not_before) => this.send(room),
        }
    }
}

/// Waits until a request can be sent: for ever, when there is nothing to send or no stream. Cancel safe.
async fn room(
    requests: &Option<mpsc::Sender<PublishStreamRequest>>,
    wanted: bool,
    not_before: Option<Instant>,
) -> OwnedPermit<PublishStreamRequest> {
    let (Some(requests), true) = (requests, wanted) else {
        return pending().await;
    };
    if let Some(at) = not_before {
        sleep_until(at).await;
    }
    match requests.clone().reserve_owned().await {
        Ok(room) => room,
        // Closed: the link is about to say so.
        Err(_) => pending().await,
    }
}

impl Publishing {
    fn is_idle(&self) -> bool {
        self.queue.is_empty() && self.sent.is_empty()
    }

    /// Sends one request of what is queued.
    fn send(&mut self, room: OwnedPermit<PublishStreamRequest>) {
        self.not_before = None;
        self.sequence += 1;
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_ITEMS {
            match self.queue.pop_front() {
                Some(next) if batch.is_empty() || bytes + next.bytes <= REQUEST_BYTES => {
                    bytes += next.bytes;
                    batch.push(next);
                }
                Some(next) => {
                    self.queue.push_front(next);
                    break;
                }
                None => break,
            }
        }
        room.send(PublishStreamRequest { sequence: self.sequence, items: batch.iter().map(|next| next.item.clone()).collect() });
        self.sent.push_back((self.sequence, batch));
    }

    fn step(&mut self, step: Step<PublishStreamResponse>) {
        match step {
            Step::Dial => self.dial(),
            Step::Message(message) => self.results(message),
            Step::Ended => self.requests = None,
            Step::Broken(failure) => {
                self.requests = None;
                self.broken(&failure);
            }
        }
    }

    fn dial(&mut self) {
        for (_, batch) in self.sent.drain(..).rev() {
            for submission in batch.into_iter().rev() {
                self.queue.push_front(submission);
            }
        }
        let (requests, stream) = mpsc::channel(AHEAD);
        self.requests = Some(requests);
        let mut rpc = self.rpc.clone();
        self.link.dial(Box::pin(async move { rpc.publish_stream(ReceiverStream::new(stream)).await }));
    }

    fn results(&mut self, message: PublishStreamResponse) {
        for result in message.results {
            let expected = self.sent.front().is_some_and(|(sequence, batch)| {
                *sequence == result.sequence && batch.len() == result.results.len() //
            });
            let Some((_, batch)) = self.sent.pop_front_if(|_| expected) else {
                tracing::warn!(sequence = result.sequence, "the broker answered a request that was not the next; opening the stream anew");
                self.requests = None;
                self.link.redial();
                return;
            };
            for (submission, result) in batch.into_iter().zip(result.results) {
                match Answer::from(result) {
                    Answer::Final(outcome) => {
                        self.backoff = Backoff::without_immediate();
                        submission.finish(outcome, &self.watch);
                    }
                    Answer::Again(failure) => {
                        if self.not_before.is_none() {
                            self.not_before = Some(Instant::now() + self.backoff.next(failure.retry_after));
                        }
                        self.queue.push_back(submission);
                    }
                }
            }
        }
    }

    /// When trying again is useless, everything underway is refused; what is published later is tried anew.
    fn broken(&mut self, failure: &Failure) {
        if failure.is_transient() {
            tracing::debug!(%failure, unanswered = self.sent.len(), "opening the publish stream again");
            return;
        }
        let sent = self.sent.drain(..).flat_map(|(_, batch)| batch);
        for submission in sent.chain(self.queue.drain(..)) {
            submission.finish(Err(PublishError::Refused(failure.clone())), &self.watch);
        }
    }
}
