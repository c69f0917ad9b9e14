//! PublishStream: requests are taken in while earlier ones are being made durable.
//!
//! Constraints:
//! - Requests that are ready share an append, up to a size at which the store may begin, and all results that are known share a message.
//! - Appends are begun, and results given, in the order of the requests.
//! - Bounded: [`limits::PUBLISH_WINDOW`] appends of [`limits::PUBLISH_WINDOW_BYTES`] under way; beyond it nothing is read, and HTTP/2 holds the client back.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use prost::Message;
use tokio_stream::Stream;
use tonic::{Status, Streaming};
use waypost_proto::{v1, wire};

use super::publish::{check_count, result};
use crate::{
    access::Caller,
    broker::Broker,
    defect::{self, Defect},
    error::Fault,
    limits,
    publisher::{Prepared, Published},
};

type Results = Vec<Result<Published, Fault>>;

/// The answers of one publish stream. It does its work when it is polled: there is no task and no channel behind it.
pub struct PublishStream {
    broker: Arc<Broker>,
    caller: Caller,
    requests: Streaming<wire::PublishStreamRequest>,
    appends: VecDeque<Append>,
    /// A request that did not fit into the append before it.
    held_back: Option<wire::PublishStreamRequest>,
    last_sequence: Option<u64>,
    /// How the stream ends, after the last result.
    end: Option<Result<(), Status>>,
}

/// One append, and the requests that it answers.
struct Append {
    requests: Vec<(u64, usize)>,
    bytes: usize,
    work: Pin<Box<dyn Future<Output = Results> + Send>>,
    results: Option<Results>,
    /// It looks up causes first: what follows would overtake it.
    alone: bool,
}

/// Requests that share an append.
#[derive(Default)]
struct Gathered {
    requests: Vec<wire::PublishStreamRequest>,
    items: usize,
    bytes: usize,
}

impl PublishStream {
    pub(super) fn new(broker: Arc<Broker>, caller: Caller, requests: Streaming<wire::PublishStreamRequest>) -> Self {
        Self { broker, caller, requests, appends: VecDeque::new(), held_back: None, last_sequence: None, end: None }
    }

    /// Takes in all requests that are ready, as many as one append takes.
    fn gather(&mut self, context: &mut Context<'_>) -> Gathered {
        let Gathered { mut requests, mut items, mut bytes } = Gathered::default();
        while self.end.is_none() {
            let request = match self.held_back.take() {
                Some(request) => request,
                None => match Pin::new(&mut self.requests).poll_next(context) {
                    Poll::Pending => break,
                    Poll::Ready(None) => {
                        self.end = Some(Ok(()));
                        break;
                    }
                    Poll::Ready(Some(Err(status))) => {
                        self.end = Some(Err(status));
                        break;
                    }
                    Poll::Ready(Some(Ok(request))) => match self.check(&request) {
                        Ok(()) => request,
                        Err(fault) => {
                            self.end = Some(Err(fault.into()));
                            break;
                        }
                    },
                },
            };
            let size = request.encoded_len();
            if !requests.is_empty()
                && (items + request.items.len() > limits::MAX_ITEMS_PER_CALL || bytes + size > limits::PUBLISH_APPEND_BYTES)
            {
                self.held_back = Some(request);
                break;
            }
            items += request.items.len();
            bytes += size;
            requests.push(request);
        }
        Gathered { requests, items, bytes }
    }

    fn check(&mut self, request: &wire::PublishStreamRequest) -> Result<(), Fault> {
        check_count("items", request.items.len())?;
        if let Some(last) = self.last_sequence.filter(|&last| request.sequence <= last) {
            return Err(Fault::invalid("sequence", format!("is {}, must be greater than the one before, {last}", request.sequence)));
        }
        self.last_sequence = Some(request.sequence);
        Ok(())
    }

    fn begin(&mut self, gathered: Gathered) {
        let requests = gathered.requests.iter().map(|request| (request.sequence, request.items.len())).collect();
        let alone = gathered.requests.iter().flat_map(|request| &request.items).any(|item| !item.cause_token.is_empty());
        let bytes = gathered.bytes;
        let work = append(Arc::clone(&self.broker), self.caller.clone(), gathered);
        self.appends.push_back(Append { requests, bytes, work: Box::pin(work), results: None, alone });
    }

    fn can_begin(&self) -> bool {
        let bytes: usize = self.appends.iter().map(|append| append.bytes).sum();
        let has_room = self.appends.len() < limits::PUBLISH_WINDOW && bytes < limits::PUBLISH_WINDOW_BYTES;
        has_room && self.appends.back().is_none_or(|append| !append.alone)
    }

    fn poll_appends(&mut self, context: &mut Context<'_>) {
        for append in self.appends.iter_mut().filter(|append| append.results.is_none()) {
            if let Poll::Ready(results) = append.work.as_mut().poll(context) {
                append.results = Some(results);
            }
        }
    }

    /// The results that are known and whose turn it is, as far as one message goes.
    fn answer(&mut self) -> Option<v1::PublishStreamResponse> {
        let (mut answers, mut bytes) = (Vec::new(), 0);
        while bytes < limits::MAX_RESPONSE_BYTES / 4 {
            if defect::is_on(Defect::StreamOutOfOrder)
                && let Some(known) = self.appends.iter().position(|append| append.results.is_some())
            {
                self.appends.swap(0, known);
            }
            let Some(Append { requests, results, .. }) = self.appends.pop_front_if(|append| append.results.is_some()) else { break };
            let mut results = results.into_iter().flatten().map(result);
            for (sequence, count) in requests {
                let answer = v1::PublishStreamResult { sequence, results: results.by_ref().take(count).collect() };
                bytes += answer.encoded_len();
                answers.push(answer);
            }
        }
        (!answers.is_empty()).then_some(v1::PublishStreamResponse { results: answers })
    }
}

/// Checks, seals and appends. When the store takes nothing, each event is refused so: the stream goes on.
async fn append(broker: Arc<Broker>, caller: Caller, gathered: Gathered) -> Results {
    // The stream's own trace is none of its events': it lasts as long as the agent does.
    let mut prepared = Prepared::with_room(gathered.items, gathered.bytes);
    for item in gathered.requests.into_iter().flat_map(|request| request.items) {
        broker.publisher.prepare(&caller, item, &mut prepared).await;
    }
    let count = prepared.len();
    match broker.publisher.append(prepared).await {
        Ok(results) => results,
        Err(fault) => vec![Err(fault); count],
    }
}

impl Stream for PublishStream {
    type Item = Result<v1::PublishStreamResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        while this.can_begin() {
            let gathered = this.gather(context);
            if gathered.requests.is_empty() {
                break;
            }
            this.begin(gathered);
            // The first poll hands it to the store.
            this.poll_appends(context);
        }
        this.poll_appends(context);
        if let Some(answer) = this.answer() {
            return Poll::Ready(Some(Ok(answer)));
        }
        if !this.appends.is_empty() || this.held_back.is_some() {
            return Poll::Pending;
        }
        match this.end.take() {
            None => Poll::Pending,
            Some(Ok(())) => {
                this.end = Some(Ok(()));
                Poll::Ready(None)
            }
            Some(Err(status)) => {
                this.end = Some(Ok(()));
                Poll::Ready(Some(Err(status)))
            }
        }
    }
}
