//! Streams that open, and what goes into them.
//!
//! Constraint: a stream's messages keep their order: deliveries that were gathered for it go before anything else that it is told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use waypost_delivery::{CloseReason, Holding, SessionId, StreamId, Token};
use waypost_proto::{
    v1::{self, ErrorReason},
    wire::{self, subscribe_response::Response},
};
use waypost_store::{Micros, Offset};

use super::{Connect, Outbox, SessionInfo};
use crate::{
    error::Fault,
    grpc::convert::{proto_duration, time},
};

/// Deliveries that a session's message has room for from the start: as many as an agent takes unless it says otherwise.
const GATHERED: usize = 32;

/// The open streams, and those that are about to open.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    open: BTreeMap<SessionId, Session>,
    opening: BTreeMap<StreamId, Box<Connect>>,
    /// Deliveries gathered in this turn.
    gathered: BTreeMap<SessionId, Vec<wire::Delivery>>,
}

#[derive(Debug)]
struct Session {
    stream: StreamId,
    outbox: Arc<Outbox>,
    info: SessionInfo,
}

impl Sessions {
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.opening.is_empty()
    }

    pub(super) fn infos(&self) -> Vec<SessionInfo> {
        self.open.values().map(|session| session.info.clone()).collect()
    }

    /// Whether one more session would be too many.
    pub(super) fn has_room(&self, session: SessionId, max: u32) -> bool {
        self.open.contains_key(&session) || self.open.len() + self.opening.len() < max as usize
    }

    /// A stream that the machine is asked about.
    pub(super) fn opening(&mut self, connect: Box<Connect>) {
        self.opening.insert(connect.stream, connect);
    }

    /// The machine took it: it gets Opened. Answers whether its client is still there.
    pub(super) fn opened(
        &mut self,
        stream: StreamId,
        adopted: &[(Token, waypost_delivery::Time)],
        dropped: &[Token],
        frontier: Offset,
        now: Micros,
    ) -> bool {
        let Some(connect) = self.opening.remove(&stream) else { return false };
        let Connect { session, limits, held, unknown, outbox, mut opened, client, peer, principal, reply, .. } = *connect;
        let bytes: BTreeMap<Token, Bytes> = held.into_iter().map(|(held, bytes)| (held.token, bytes)).collect();
        let lease = |(token, deadline): &(Token, waypost_delivery::Time)| {
            let token = bytes.get(token)?.clone();
            Some(v1::AdoptedLease { token, lease_expires_at: Some(time(*deadline)) })
        };
        let lost = dropped.iter().filter_map(|token| bytes.get(token)).map(|token| (token.clone(), v1::RevokedReason::SessionLost));
        let unknown = unknown.into_iter().map(|token| (token, v1::RevokedReason::UnknownToken));
        opened.start_offset = frontier;
        opened.adopted = adopted.iter().filter_map(lease).collect();
        opened.dropped = lost.chain(unknown).map(|(token, reason)| v1::DroppedLease { token, reason: reason.into() }).collect();
        outbox.send(Response::Opened(opened));
        let info =
            SessionInfo { id: session, client, peer, principal, connected_at: now, limits, holding: Holding::default(), draining: false };
        let is_gone = outbox.is_gone();
        self.open.insert(session, Session { stream, outbox, info });
        reply.send(Ok(())).is_ok() && !is_gone
    }

    /// The machine ends a stream.
    pub(super) fn close(&mut self, session: SessionId, stream: StreamId, reason: CloseReason, name: &str) {
        let fault = match reason {
            CloseReason::Replaced => {
                Fault::new(ErrorReason::SessionReplaced, "a newer stream of the same session has taken over; do not reconnect")
            }
            CloseReason::Deleted => Fault::no_subscription(name),
        };
        if let Some(connect) = self.opening.remove(&stream) {
            let _ = connect.reply.send(Err(fault));
        } else if self.is_open(session, stream) {
            self.end(session, fault);
        }
    }

    /// Ends all streams.
    pub(super) fn end_all(&mut self, fault: &Fault) {
        for session in self.open.keys().copied().collect::<Vec<_>>() {
            self.end(session, fault.clone());
        }
        for (_, connect) in std::mem::take(&mut self.opening) {
            let _ = connect.reply.send(Err(fault.clone()));
        }
    }

    /// Ends one stream, and answers which it was.
    pub(super) fn end_one(&mut self, session: SessionId, fault: Fault) -> Option<(StreamId, SessionInfo)> {
        let found = self.open.get(&session).map(|open| (open.stream, open.info.clone()))?;
        self.end(session, fault);
        Some(found)
    }

    fn end(&mut self, session: SessionId, fault: Fault) {
        self.flush_one(session);
        if let Some(session) = self.open.remove(&session) {
            session.outbox.end(fault);
        }
    }

    /// The session's stream, if it has one.
    pub(super) fn stream(&self, session: SessionId) -> Option<StreamId> {
        self.open.get(&session).map(|open| open.stream)
    }

    /// Whether this is the session's stream, and not one that was replaced.
    pub(super) fn is_open(&self, session: SessionId, stream: StreamId) -> bool {
        self.stream(session) == Some(stream)
    }

    /// A stream is gone. Answers whether it was the session's.
    pub(super) fn gone(&mut self, session: SessionId, stream: StreamId) -> bool {
        let was_open = self.is_open(session, stream);
        if was_open {
            self.open.remove(&session);
            self.gathered.remove(&session);
        }
        was_open
    }

    /// Gathers a delivery for a session's next message.
    pub(super) fn gather(&mut self, session: SessionId, delivery: wire::Delivery) {
        if self.open.contains_key(&session) {
            self.gathered.entry(session).or_insert_with(|| Vec::with_capacity(GATHERED)).push(delivery);
        }
    }

    /// Tells a session something else than a delivery.
    pub(super) fn tell(&mut self, session: SessionId, response: Response) {
        self.flush_one(session);
        if let Some(session) = self.open.get(&session) {
            session.outbox.send(response);
        }
    }

    /// Tells every session.
    pub(super) fn tell_all(&mut self, response: &Response) {
        for session in self.open.keys().copied().collect::<Vec<_>>() {
            self.tell(session, response.clone());
        }
    }

    /// Tells every session that the broker ends.
    pub(super) fn drain(&mut self, grace: Duration) {
        self.tell_all(&Response::Draining(v1::Draining { grace: Some(proto_duration(grace)) }));
        self.open.values_mut().for_each(|session| session.info.draining = true);
    }

    /// Hands over what was gathered. Gives the sessions that cannot take more.
    pub(super) fn flush(&mut self) -> Vec<SessionId> {
        let gathered = std::mem::take(&mut self.gathered);
        let mut full = Vec::new();
        for (id, deliveries) in gathered {
            if let Some(session) = self.open.get(&id)
                && !session.outbox.deliver(deliveries)
            {
                full.push(id);
            }
        }
        full
    }

    fn flush_one(&mut self, session: SessionId) {
        if let (Some(deliveries), Some(session)) = (self.gathered.remove(&session), self.open.get(&session)) {
            // If it is full by this, the next delivery will find it so.
            session.outbox.deliver(deliveries);
        }
    }

    /// The open streams.
    pub(super) fn streams(&self) -> Vec<(SessionId, StreamId)> {
        self.open.iter().map(|(id, session)| (*id, session.stream)).collect()
    }
}
