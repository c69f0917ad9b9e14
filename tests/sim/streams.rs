//! What comes out of subscribe streams, and whether it may.
//!
//! Constraint: a stream is taken from until nothing more is ready, at one instant of the paused clock. So what an agent then believes is
//! what the broker has told it, and is held against what is durable.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use prost::Message;
use tokio_stream::Stream as _;
use tonic::{Code, Status};
use waypost_broker::{dispatcher::SubscribeStream, grpc::convert::micros, token::TokenKey};
use waypost_delivery::Token;
use waypost_proto::{
    v1::{self, RevokedReason},
    wire::{self, subscribe_response::Response},
};

use crate::{
    agents::{Agent, Holding, longest},
    coverage::Seen,
    interest::{Interest, decode_filter},
    ledger::{Handed, Ledger},
    life::{GRACE, MAX_UNSETTLED},
    specs,
};

/// What a stream has ready.
enum Next {
    Message(Box<Response>),
    End(Option<Status>),
    Nothing,
}

fn next(stream: &mut SubscribeStream) -> Next {
    match Pin::new(stream).poll_next(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Some(Ok(wire::SubscribeResponse { response: Some(response) }))) => Next::Message(Box::new(response)),
        Poll::Ready(Some(Err(status))) => Next::End(Some(status)),
        Poll::Ready(_) => Next::End(None),
        Poll::Pending => Next::Nothing,
    }
}

impl Agent {
    /// Takes all that is ready, unless it is deaf.
    pub(crate) fn listen(&mut self, ledger: &mut Ledger, key: &TokenKey) {
        let now = ledger.now();
        if self.is_deaf(now) {
            return;
        }
        while let Some(stream) = &mut self.stream {
            match next(&mut stream.stream) {
                Next::Message(response) => self.message(*response, ledger, key),
                Next::End(status) => self.ended(status, ledger),
                Next::Nothing => break,
            }
        }
        self.drained_at = now;
        if let Some(incarnation) = self.incarnation.filter(|_| self.stream.as_ref().is_some_and(|stream| stream.is_opened)) {
            ledger.present.insert(incarnation, now);
        }
        self.check_replaced(ledger);
    }

    /// P6: a second stream of a session ends the first.
    fn check_replaced(&mut self, ledger: &mut Ledger) {
        if self.stream.as_ref().is_none_or(|stream| !stream.is_opened) {
            return;
        }
        let Some(mut old) = self.replaced.take() else { return };
        loop {
            match next(&mut old) {
                Next::Message(_) => {}
                Next::End(Some(status)) if status.code() == Code::Aborted => return ledger.hit(Seen::Replaced),
                Next::End(_) => return,
                Next::Nothing => return ledger.hold("P6", false, || "the first stream of a session is open beside its second".to_owned()),
            }
        }
    }

    fn ended(&mut self, status: Option<Status>, ledger: &mut Ledger) {
        let code = status.as_ref().map_or(Code::Ok, Status::code);
        ledger.trace(&[6, code as u8]);
        ledger.log(|| format!("ended    {:?} {:x} {code:?}", self.name, self.session >> 96));
        let expected = matches!(code, Code::Unavailable | Code::NotFound);
        ledger.hold("P6", expected, || format!("a stream ended with {status:?}"));
        self.parted(ledger);
        // The broker ended it: no grace was begun by the agent.
        ledger.partings.remove(&self.session);
        if code == Code::NotFound || self.name.is_none() {
            for (bytes, holding) in std::mem::take(&mut self.held) {
                self.remember(bytes, holding.token);
            }
            self.incarnation = None;
        }
    }

    fn message(&mut self, response: Response, ledger: &mut Ledger, key: &TokenKey) {
        let is_opened = self.stream.as_ref().is_some_and(|stream| stream.is_opened);
        let is_first = matches!(response, Response::Opened(_));
        ledger.hold("P6", is_first != is_opened, || "a stream does not begin with Opened, or has it twice".to_owned());
        match response {
            Response::Opened(opened) => self.opened(opened, ledger),
            Response::Deliveries(wire::Deliveries { deliveries }) => {
                deliveries.into_iter().for_each(|delivery| self.delivered(delivery, ledger, key));
            }
            Response::Revoked(revoked) => self.revoked(&revoked, ledger),
            Response::Gap(gap) => {
                ledger.hit(Seen::Gap);
                ledger.trace(&[7]);
                let known = self.incarnation.and_then(|incarnation| ledger.interests.get(&incarnation));
                let fits = known.is_none_or(|interest| !interest.is_named() || interest.is_gap(gap.from_offset) || interest.seek > 0);
                ledger.hold("P14", fits, || format!("a gap is told that is not recorded: {gap:?}"));
            }
            Response::Draining(_) => {
                let fits = ledger.draining_since.is_some();
                ledger.hold("P6", fits, || "a broker that does not drain says so".to_owned());
            }
            Response::Heartbeat(_) => {}
        }
    }

    fn opened(&mut self, opened: v1::Opened, ledger: &mut Ledger) {
        ledger.hit(Seen::Opened);
        ledger.log(|| format!("opened   {:?} {:x} {opened:?}", self.name, self.session >> 96));
        ledger.trace(&[8]);
        if let Some(stream) = &mut self.stream {
            stream.is_opened = true;
        }
        let incarnation = u64::from_str_radix(&opened.incarnation, 16).unwrap_or(0);
        self.incarnation = Some(incarnation);
        ledger.present.insert(incarnation, ledger.now());
        if self.name.is_none() && !ledger.interests.contains_key(&incarnation) {
            let filter = opened.spec.and_then(|spec| spec.filter).unwrap_or_default();
            let filter = decode_filter(&filter.encode_to_vec());
            // Of a stream that was replaced before it was heard of, nobody knows where it began.
            let from = if opened.created { opened.start_offset } else { 0 };
            ledger.interests.insert(incarnation, Interest::new("", incarnation, from, filter, None));
        }
        let is_durable = ledger.interests.contains_key(&incarnation);
        ledger.hold("P4", is_durable, || format!("a stream of {:?} is open, and there was no such subscription", self.name));
        ledger.hold("P2", opened.start_offset > 0, || "a stream does not say where its subscription stands".to_owned());
        self.check_adopted(&opened.adopted, incarnation, ledger);
        let (now, total) = (ledger.now(), self.lease_total(ledger));
        let epoch = self.name.and_then(|name| ledger.owners.get(name)).map_or(0, |owner| owner.epoch);
        for lease in opened.adopted {
            // Settled since the stream was asked for.
            let Some(holding) = self.held.get_mut(&lease.token) else { continue };
            holding.deadline = lease.lease_expires_at.and_then(micros).unwrap_or(0);
            let is_new = holding.token.epoch < epoch;
            ledger.hit(if is_new { Seen::Adopted } else { Seen::Resumed });
            if is_new {
                holding.last = longest(now, total);
            }
            let is_certain = !ledger.ended.contains(&holding.token);
            let handed = Handed { token: holding.token, session: self.session, deadline: holding.deadline, is_certain };
            ledger.handed.insert((incarnation, holding.token.offset), handed);
        }
        for lease in opened.dropped {
            ledger.hit(Seen::HeldDropped);
            if let Some(holding) = self.held.remove(&lease.token) {
                self.remember(lease.token, holding.token);
            }
        }
    }

    /// P6: what is held goes on, if the session returns within the grace, or the broker did just come back.
    fn check_adopted(&self, adopted: &[v1::AdoptedLease], incarnation: u64, ledger: &mut Ledger) {
        let now = ledger.now();
        let Some(interest) = ledger.interests.get(&incarnation).filter(|interest| interest.is_named()) else { return };
        let Some(owner) = ledger.owners.get(&interest.name).filter(|_| self.held.len() <= self.limit as usize) else { return };
        let grace = u64::try_from(GRACE.as_micros()).unwrap_or(0);
        let is_roomy = self.has_room_for_adoption(incarnation, interest, ledger);
        let mut missing = None;
        for (bytes, holding) in &self.held {
            let (token, offset) = (holding.token, holding.token.offset);
            let asked = ledger.asked.get(&(incarnation, token.seek, offset)).copied().unwrap_or_default();
            let is_mine =
                ledger.handed.get(&(incarnation, offset)).is_some_and(|handed| handed.token == token && handed.session == self.session);
            let is_open = ledger.events.get(&offset).is_some_and(|stored| !stored.lost && interest.is_open(offset, &stored.head));
            let is_plain = token.incarnation == incarnation && token.seek == interest.seek && is_mine && is_open && asked.open == 0;
            let returns_in_time = token.epoch == owner.epoch && now < self.parted_at + grace && holding.deadline > now;
            // A restart within the process also forgets nothing; what came before it may have been lost already.
            let broker_returns =
                is_roomy && token.epoch + 1 == owner.epoch && now < owner.claimed_at + grace && holding.deadline > owner.claimed_at;
            if is_plain && (returns_in_time || broker_returns) && !adopted.iter().any(|lease| lease.token == *bytes) {
                missing = Some((offset, returns_in_time));
            }
        }
        ledger
            .hold("P6", missing.is_none(), || format!("a held lease did not go on: {missing:?} (event, or the session's return in time)"));
    }

    /// P3 before P6: after a restart of the broker, what others got meanwhile leaves the less room for what is held. Some of it may still
    /// be on its way to them.
    fn has_room_for_adoption(&self, incarnation: u64, interest: &Interest, ledger: &Ledger) -> bool {
        let most = interest.config.as_ref().map_or(0, |config| config.max_outstanding as usize);
        let streaming = ledger.streaming.iter().filter(|(session, (name, _))| **session != self.session && *name == self.name);
        let on_their_way: usize = streaming.map(|(_, (_, limit))| *limit as usize).sum();
        let is_known = |handed: &&Handed| handed.token.incarnation == incarnation && handed.deadline > ledger.now();
        let others = ledger.handed.values().filter(is_known).filter(|handed| !ledger.streaming.contains_key(&handed.session)).count();
        let open_failures = interest.failures.keys().filter(|offset| !interest.fates.contains_key(offset)).count();
        on_their_way + others + self.held.len() <= most
            && open_failures + interest.redriven.len() + self.held.len() + most < MAX_UNSETTLED as usize
    }

    fn lease_total(&self, ledger: &Ledger) -> Duration {
        let named =
            self.incarnation.and_then(|incarnation| ledger.interests.get(&incarnation)).and_then(|interest| interest.config.as_ref());
        named.map_or_else(
            || specs::spec("").max_lease_total.and_then(|total| total.try_into().ok()).unwrap_or(Duration::MAX),
            |config| config.max_lease_total,
        )
    }

    fn delivered(&mut self, delivery: wire::Delivery, ledger: &mut Ledger, key: &TokenKey) {
        ledger.hit(Seen::Delivered);
        ledger.trace(&delivery.token);
        let Ok(token) = key.open(&delivery.token) else {
            return ledger.hold("P4", false, || "a delivery has a token that its broker does not know".to_owned());
        };
        let (now, offset) = (ledger.now(), delivery.offset);
        ledger.log(|| {
            format!(
                "deliver  {:?} {:x} {offset} attempt {} losses {} {token:?}",
                self.name,
                self.session >> 96,
                delivery.attempt,
                delivery.losses
            )
        });
        let deadline = delivery.lease_expires_at.and_then(micros).unwrap_or(0);
        let is_new = ledger.tokens.insert(token);
        ledger.hold("P3", is_new, || format!("delivery {token:?} was made twice"));
        ledger.hold("P3", self.incarnation == Some(token.incarnation), || "a delivery of another subscription".to_owned());
        if let Some(interest) = ledger.interests.remove(&token.incarnation) {
            self.check_delivery(&delivery, &token, &interest, ledger);
            ledger.interests.insert(token.incarnation, interest);
        }
        if delivery.attempt > 1 {
            ledger.hit(Seen::Redelivered);
        }
        if delivery.attempt > 2 {
            ledger.hit(Seen::Attempts3);
        }
        let later = ledger.handed.get(&(token.incarnation, offset)).is_none_or(|before| token.is_later_than(&before.token));
        if later {
            ledger.handed.insert((token.incarnation, offset), Handed { token, session: self.session, deadline, is_certain: true });
        }
        let last = longest(now, self.lease_total(ledger));
        self.held.insert(delivery.token, Holding { token, deadline, last, busy: false });
    }

    fn check_delivery(&self, delivery: &wire::Delivery, token: &Token, interest: &Interest, ledger: &mut Ledger) {
        let (offset, name) = (delivery.offset, interest.name.as_str());
        let Some(stored) = ledger.events.get(&offset).cloned() else {
            return ledger.hold("P1", false, || format!("event {offset} is delivered to {name}, and is not stored"));
        };
        let same = delivery.event.as_ref().map(|event| &event.0) == ledger.event_bytes(offset).as_ref();
        ledger.hold("P14", same && token.offset == offset, || format!("event {offset} is delivered with other bytes"));
        if token.seek != interest.seek {
            return;
        }
        let is_wanted = delivery.redriven || interest.wants(offset, &stored.head);
        ledger.hold("P2", is_wanted, || format!("event {offset} is delivered to {name}, whose filter does not match: {:?}", stored.head));
        if let Some(config) = interest.config.as_ref().filter(|_| interest.is_named()) {
            let failed = delivery.attempt - 1 - delivery.losses;
            ledger.hold("P5", failed < config.retry.max_attempts && delivery.losses < config.retry.max_losses, || {
                format!("event {offset} is delivered to {name} after {failed} failures and {} losses", delivery.losses)
            });
            let known = interest.failures.get(&offset).copied().unwrap_or_default();
            // A slow reader may see a delivery after its failure became durable.
            let is_prompt = self.drained_at + 1 >= ledger.now().saturating_sub(1_000_000);
            ledger.hold("P5", failed <= known.attempts && delivery.losses <= known.losses || !is_prompt, || {
                format!("event {offset} is delivered to {name} as attempt {}, but only {known:?} is durable", delivery.attempt)
            });
        }
        if delivery.redriven {
            return ledger.hit(Seen::Redriven);
        }
        self.check_order(offset, stored.head.ordering_key(), interest, ledger);
    }

    /// P8: nothing of a key is handed out before what came earlier is settled.
    fn check_order(&self, offset: u64, key: &str, interest: &Interest, ledger: &mut Ledger) {
        let Some(same) = ledger.by_key.get(key).filter(|_| !key.is_empty() && interest.is_named()) else { return };
        let is_open = |earlier: &u64| ledger.events.get(earlier).is_some_and(|stored| interest.is_open(*earlier, &stored.head));
        let earlier = same
            .iter()
            .take_while(|earlier| **earlier < offset)
            .copied()
            .find(|earlier| !interest.redriven.contains(earlier) && is_open(earlier));
        ledger.hit(Seen::OrderedDelivery);
        ledger
            .hold("P8", earlier.is_none(), || format!("event {offset} of key {key} is delivered to {} before {earlier:?}", interest.name));
    }

    fn revoked(&mut self, revoked: &v1::Revoked, ledger: &mut Ledger) {
        ledger.hit(match revoked.reason() {
            RevokedReason::Expired | RevokedReason::LeaseTotalReached => Seen::RevokedExpired,
            RevokedReason::Settled => Seen::RevokedSettled,
            RevokedReason::Sought => Seen::RevokedSought,
            _ => Seen::Revoked,
        });
        ledger.trace(&[9]);
        ledger.log(|| format!("revoked  {:?} {:x} {revoked:?}", self.name, self.session >> 96));
        if let Some(holding) = self.held.remove(&revoked.token) {
            self.remember(revoked.token.clone(), holding.token);
        }
    }
}
