//! A publish stream of one publisher: requests go in while earlier ones are under way, answers come in their order.
//!
//! Constraint: the service is driven as it is by a connection: by a body of encoded frames, and by a task that takes its answers.

use std::{collections::VecDeque, convert::Infallible, sync::Arc};

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::StreamBody;
use hyper::body::Frame;
use prost::Message;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};
use tonic::{
    Request, Status, Streaming,
    codec::{DecodeBuf, Decoder},
};
use waypost_proto::{
    v1,
    wire::{self, agent_service_server::AgentService},
};

use crate::{
    ledger::{Ledger, SharedLedger, lock},
    life::Life,
};

/// What came out of a stream.
type Answer = Result<v1::PublishStreamResponse, Status>;

/// Requests as they come from the wire.
struct Requests;

impl Decoder for Requests {
    type Item = wire::PublishStreamRequest;
    type Error = Status;

    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Self::Item>, Status> {
        wire::PublishStreamRequest::decode(bytes).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}

/// An open stream; `T` is what is known of each request.
pub(crate) struct Pipeline<T> {
    requests: mpsc::UnboundedSender<Result<Frame<Bytes>, Infallible>>,
    answers: mpsc::UnboundedReceiver<Answer>,
    sequence: u64,
    open: VecDeque<(u64, T)>,
}

impl<T> Pipeline<T> {
    pub(crate) fn open(life: &Life) -> Self {
        let (requests, frames) = mpsc::unbounded_channel();
        let (sender, answers) = mpsc::unbounded_channel();
        let body = StreamBody::new(UnboundedReceiverStream::new(frames));
        let agents = Arc::clone(&life.agents);
        tokio::spawn(async move {
            let requests = Streaming::new_request(Requests, body, None, None);
            let mut responses = match agents.publish_stream(Request::new(requests)).await {
                Ok(responses) => responses.into_inner(),
                Err(status) => return drop(sender.send(Err(status))),
            };
            while let Some(answer) = responses.next().await {
                // The publisher may be gone.
                let _ = sender.send(answer);
            }
        });
        Self { requests, answers, sequence: 0, open: VecDeque::new() }
    }

    /// How many requests are not answered.
    pub(crate) fn waiting(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn send(&mut self, items: Vec<wire::PublishItem>, known: T) {
        self.sequence += 1;
        let request = wire::PublishStreamRequest { sequence: self.sequence, items };
        let mut frame = BytesMut::new();
        frame.put_u8(0);
        frame.put_u32(u32::try_from(request.encoded_len()).expect("a small request"));
        request.encode(&mut frame).expect("there is room");
        // A stream that ended answers nothing.
        let _ = self.requests.send(Ok(Frame::data(frame.freeze())));
        self.open.push_back((self.sequence, known));
    }

    /// The answers that came, each with what is known of its request. The stream may have ended with a status.
    pub(crate) fn collect(&mut self, ledger: &SharedLedger) -> (Vec<(T, Vec<v1::PublishResult>)>, Option<Status>) {
        let mut answered = Vec::new();
        while let Ok(answer) = self.answers.try_recv() {
            let response = match answer {
                Ok(response) => response,
                Err(status) => return (answered, Some(status)),
            };
            for result in response.results {
                self.answer(result, &mut answered, &mut lock(ledger));
            }
        }
        (answered, None)
    }

    fn answer(&mut self, result: v1::PublishStreamResult, answered: &mut Vec<(T, Vec<v1::PublishResult>)>, ledger: &mut Ledger) {
        let next = self.open.pop_front();
        let expected = next.as_ref().map(|(sequence, _)| *sequence);
        ledger.hold("P4", expected == Some(result.sequence), || {
            format!("a publish stream answers {}, and {expected:?} is next", result.sequence)
        });
        answered.extend(next.map(|(_, known)| (known, result.results)));
    }

    /// What was not answered.
    pub(crate) fn into_open(self) -> impl Iterator<Item = T> {
        self.open.into_iter().map(|(_, known)| known)
    }
}
