//! Agents that subscribe: good ones, hasty ones, forgetful ones, deaf ones.
//!
//! Constraint: what an agent does depends on the random source alone; what comes of it is judged in [`streams`](super::streams) and
//! [`settlements`](super::settlements).

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use waypost_broker::dispatcher::SubscribeStream;
use waypost_delivery::Token;
use waypost_proto::{v1, wire::agent_service_server::AgentService};

use crate::{
    coverage::Seen,
    ledger::{Ledger, Parting, SharedLedger, lock},
    life::Life,
    settlements::Asking,
    specs::{self, PROMPT, backlog_age, expires_after},
};

/// What an agent believes to hold.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    pub(crate) token: Token,
    pub(crate) deadline: u64,
    /// The longest that the lease can last.
    pub(crate) last: u64,
    /// A settlement of it is not answered yet.
    pub(crate) busy: bool,
}

pub(crate) struct Stream {
    pub(crate) stream: SubscribeStream,
    pub(crate) is_opened: bool,
    pub(crate) since: u64,
}

type Opening = JoinHandle<Result<Response<SubscribeStream>, Status>>;

pub(crate) struct Agent {
    /// The subscription's name; `None`: an ephemeral one.
    pub(crate) name: Option<&'static str>,
    pub(crate) session: u128,
    pub(crate) limit: u32,
    pub(crate) incarnation: Option<u64>,
    pub(crate) stream: Option<Stream>,
    /// One that was replaced: it must end.
    pub(crate) replaced: Option<SubscribeStream>,
    pub(crate) opening: Option<Opening>,
    /// When the stream broke.
    pub(crate) parted_at: u64,
    pub(crate) held: BTreeMap<Bytes, Holding>,
    /// Tokens that were held once.
    pub(crate) past: VecDeque<(Bytes, Token)>,
    /// It takes nothing from its stream until then.
    pub(crate) deaf_until: u64,
    /// Once its stream broke it stays away for long.
    strays: bool,
    away_until: u64,
    pub(crate) drained_at: u64,
    pub(crate) asking: Vec<Asking>,
    /// The next stream may create the subscription.
    may_create: bool,
    /// It does its best: acks what it gets, at once.
    pub(crate) willing: bool,
}

impl Agent {
    pub(crate) fn new(name: Option<&'static str>, rng: &mut Rng) -> Self {
        Self {
            name,
            session: rng.u128(..),
            limit: if name == Some(PROMPT) { 100 } else { rng.u32(1..8) },
            incarnation: None,
            stream: None,
            replaced: None,
            opening: None,
            parted_at: 0,
            held: BTreeMap::new(),
            past: VecDeque::new(),
            deaf_until: 0,
            strays: name.is_some_and(|name| backlog_age(name).or(expires_after(name)).is_some()),
            away_until: 0,
            drained_at: 0,
            asking: Vec::new(),
            may_create: name.is_none(),
            willing: name == Some(PROMPT),
        }
    }

    pub(crate) fn is_deaf(&self, now: u64) -> bool {
        now < self.deaf_until
    }

    /// Whether it has a stream, or asks for one.
    pub(crate) fn is_streaming(&self) -> bool {
        self.stream.is_some() || self.opening.is_some()
    }

    /// Its subscription, and since when its stream is open.
    pub(crate) fn prompt_since(&self) -> Option<(u64, u64)> {
        let stream = self.stream.as_ref().filter(|stream| stream.is_opened)?;
        self.incarnation.map(|incarnation| (incarnation, stream.since))
    }

    /// Does something.
    pub(crate) fn act(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger, taken: Option<(String, String)>) {
        if self.stream.is_none() {
            if self.opening.is_none() && life.clock.now() >= self.away_until && rng.u8(0..10) < 7 {
                if !self.willing && rng.u8(0..12) == 0 {
                    self.forget(rng);
                }
                self.open(life);
            }
            return;
        }
        if self.willing {
            return self.settle(life, rng, ledger, None);
        }
        match rng.u16(0..1000) {
            0..15 if self.strays => {
                self.break_stream(ledger);
                self.away_until = life.clock.now() + rng.u64(20_000_000..160_000_000);
            }
            0..15 => self.break_stream(ledger),
            15..25 => {
                self.break_stream(ledger);
                lock(ledger).hit(Seen::Vanished);
                self.forget(rng);
            }
            25..32 if self.opening.is_none() && self.replaced.is_none() => {
                self.replaced = self.stream.take().map(|stream| stream.stream);
                self.open(life);
            }
            32..50 => {
                lock(ledger).hit(Seen::SlowReader);
                self.deaf_until = life.clock.now() + rng.u64(100_000..4_000_000);
            }
            // Hangs.
            50..150 => {}
            _ => self.settle(life, rng, ledger, taken),
        }
    }

    /// Another process: what this one held is nobody's now, but its tokens may still be used.
    pub(crate) fn forget(&mut self, rng: &mut Rng) {
        self.session = rng.u128(..);
        self.replaced = None;
        for (bytes, holding) in std::mem::take(&mut self.held) {
            self.remember(bytes, holding.token);
        }
    }

    pub(crate) fn remember(&mut self, bytes: Bytes, token: Token) {
        self.past.push_back((bytes, token));
        if self.past.len() > 40 {
            self.past.pop_front();
        }
    }

    pub(crate) fn open(&mut self, life: &Life) {
        let request = v1::SubscribeRequest {
            subscription: self.name.unwrap_or_default().to_owned(),
            session_id: waypost_broker::grpc::convert::session_text(waypost_delivery::SessionId(self.session)),
            held_tokens: self.held.keys().cloned().collect(),
            spec: self.may_create.then(|| specs::spec(self.name.unwrap_or_default())),
            session_limits: Some(v1::SessionLimits { max_outstanding: Some(self.limit), max_outstanding_bytes: None }),
            heartbeat_interval: Some(prost_types::Duration { seconds: 5, nanos: 0 }),
            create_mode: (if self.may_create { v1::CreateMode::CreateIfMissing } else { v1::CreateMode::MustExist }).into(),
            client: "simulated".to_owned(),
        };
        let agents = Arc::clone(&life.agents);
        self.opening = Some(tokio::spawn(async move { agents.subscribe(Request::new(request)).await }));
    }

    /// Drops the stream, as a broken connection does.
    pub(crate) fn break_stream(&mut self, ledger: &SharedLedger) {
        if self.stream.take().is_some() {
            lock(ledger).log(|| format!("breaks   {:?} {:x}", self.name, self.session >> 96));
            self.parted(&mut lock(ledger));
        }
    }

    /// It does its best from now on.
    pub(crate) fn be_willing(&mut self) {
        (self.willing, self.deaf_until, self.away_until) = (true, 0, 0);
    }

    /// The stream is no more.
    pub(crate) fn parted(&mut self, ledger: &mut Ledger) {
        self.stream = None;
        self.parted_at = ledger.now();
        ledger.doubt(self.session);
        // Only if nothing in the stream was unread is it known what the session held.
        if self.drained_at == self.parted_at {
            ledger.partings.insert(self.session, Parting { at: self.parted_at });
        } else {
            ledger.partings.remove(&self.session);
        }
        if self.name.is_none() {
            self.end_ephemeral();
        }
    }

    /// An ephemeral subscription is found again by what its session holds, and only by that.
    fn end_ephemeral(&mut self) {
        if self.held.is_empty() {
            self.incarnation = None;
        }
    }

    /// The broker is gone, and all that was asked of it.
    pub(crate) fn cut_off(&mut self, ledger: &mut Ledger) {
        (self.opening, self.replaced) = (None, None);
        for asking in std::mem::take(&mut self.asking) {
            asking.unanswered(self, ledger);
        }
        if self.stream.take().is_some() {
            self.parted_at = ledger.now();
        }
        ledger.doubt(self.session);
        ledger.partings.remove(&self.session);
        if self.name.is_none() {
            self.held.clear();
            self.past.clear();
            self.incarnation = None;
        }
    }

    /// Takes in whether the stream could be opened.
    pub(crate) async fn collect_opening(&mut self, ledger: &SharedLedger) {
        let Some(handle) = self.opening.take_if(|handle| handle.is_finished()) else { return };
        let Ok(answer) = handle.await else {
            return lock(ledger).hold("P4", false, || "a subscribe call panicked".to_owned());
        };
        let mut ledger = lock(ledger);
        match answer {
            Ok(response) => {
                ledger.trace(&[3]);
                self.stream = Some(Stream { stream: response.into_inner(), is_opened: false, since: ledger.now() });
                self.may_create = self.name.is_none();
                ledger.partings.remove(&self.session);
                if self.name.is_none() {
                    ledger.hit(Seen::EphemeralOpened);
                }
            }
            Err(status) => {
                ledger.trace(&[4, status.code() as u8]);
                let expected = matches!(
                    status.code(),
                    tonic::Code::NotFound | tonic::Code::Unavailable | tonic::Code::ResourceExhausted | tonic::Code::Aborted
                ) || (status.code() == tonic::Code::FailedPrecondition && self.may_create);
                ledger.hold("P6", expected, || format!("a subscribe call failed with {status:?}"));
                self.may_create = self.name.is_none() || (status.code() == tonic::Code::NotFound && !self.may_create);
            }
        }
    }

    pub(crate) fn waits(&self) -> bool {
        self.opening.is_some() || !self.asking.is_empty()
    }
}

/// A lease as long as it can be.
pub(crate) fn longest(from: u64, total: Duration) -> u64 {
    from + u64::try_from(total.as_micros()).unwrap_or(u64::MAX)
}
