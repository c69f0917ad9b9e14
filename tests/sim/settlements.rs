//! What agents ask about what they hold, and how it is answered.
//!
//! Constraint: every answer is held against what is durable at that moment (P4).

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use fastrand::Rng;
use tokio::task::JoinHandle;
use tonic::{Request, Response, Status};
use waypost_delivery::Token;
use waypost_proto::{
    v1::{self, SettlementStatus},
    wire::{self, agent_service_server::AgentService, settlement::Action},
};

use crate::{
    agents::{Agent, longest},
    coverage::Seen,
    interest::{Fate, Interest},
    ledger::{Asked, Ledger, SharedLedger, lock},
    life::{GRACE, Life},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ack,
    AckWithOutputs,
    AckWithTakenOutput,
    Nack,
    NackDelayed,
    Reject,
    Release,
    Extend,
    Nothing,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    bytes: Bytes,
    /// `None`: not one of the broker's.
    token: Option<Token>,
    kind: Kind,
    was_held: bool,
    /// Failures by nack that were durable when it was asked.
    nacks: u32,
}

/// One call.
pub(crate) struct Asking {
    items: Vec<Item>,
    handle: JoinHandle<Result<Response<v1::SettleResponse>, Status>>,
}

impl Kind {
    fn is_ack(self) -> bool {
        matches!(self, Self::Ack | Self::AckWithOutputs | Self::AckWithTakenOutput)
    }

    fn count(self, asked: &mut Asked) -> Option<&mut u32> {
        match self {
            Self::Ack | Self::AckWithOutputs | Self::AckWithTakenOutput => Some(&mut asked.acks),
            Self::Nack | Self::NackDelayed => Some(&mut asked.nacks),
            Self::Reject => Some(&mut asked.rejects),
            Self::Release | Self::Extend | Self::Nothing => None,
        }
    }
}

impl Agent {
    /// Settles some of what it holds, and now and then something that it does not.
    pub(crate) fn settle(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger, taken: Option<(String, String)>) {
        if self.asking.len() >= 3 {
            return;
        }
        let mut chosen = Vec::new();
        let free: Vec<_> =
            self.held.iter().filter(|(_, holding)| !holding.busy).map(|(bytes, holding)| (bytes.clone(), holding.token)).collect();
        for (bytes, token) in free {
            if self.willing || rng.u8(0..10) < 6 {
                let kind = if self.willing { Kind::Ack } else { kind(rng, taken.is_some()) };
                chosen.push((bytes, Some(token), kind, true));
            }
        }
        if !self.willing {
            self.add_odd_ones(rng, &mut chosen);
        }
        if !chosen.is_empty() {
            self.ask(life, rng, ledger, chosen, taken);
        }
    }

    fn add_odd_ones(&self, rng: &mut Rng, chosen: &mut Vec<(Bytes, Option<Token>, Kind, bool)>) {
        if rng.u8(0..10) == 0 && !self.past.is_empty() {
            let (bytes, token) = self.past[rng.usize(..self.past.len())].clone();
            let kind = if rng.u8(0..3) == 0 { kind(rng, false) } else { Kind::Ack };
            chosen.push((bytes, Some(token), kind, false));
        }
        if rng.u8(0..60) == 0 {
            let mut bytes = self.held.keys().next().map_or_else(|| vec![1; 40], |bytes| bytes.to_vec());
            let at = rng.usize(..bytes.len());
            bytes[at] ^= rng.u8(1..);
            chosen.push((bytes.into(), None, Kind::Ack, false));
        }
    }

    fn ask(
        &mut self,
        life: &Life,
        rng: &mut Rng,
        ledger: &SharedLedger,
        chosen: Vec<(Bytes, Option<Token>, Kind, bool)>,
        taken: Option<(String, String)>,
    ) {
        let mut ledger = lock(ledger);
        let (mut items, mut settlements) = (Vec::new(), Vec::new());
        for (bytes, token, kind, was_held) in chosen {
            let action = token.map_or(Some(Action::Ack(wire::Ack::default())), |token| action(kind, &token, rng, taken.as_ref()));
            settlements.push(wire::Settlement { token: bytes.clone(), action });
            let nacks = token.map_or(0, |token| nacks(&ledger, &token));
            if let Some(token) = token {
                let asked = ledger.asked_mut(&token);
                asked.open += 1;
                if let Some(count) = kind.count(asked) {
                    *count += 1;
                }
            }
            if let Some(holding) = self.held.get_mut(&bytes) {
                holding.busy = true;
            }
            if let Some(handed) = token.and_then(|token| ledger.handed.get_mut(&(token.incarnation, token.offset))) {
                handed.is_certain = false;
            }
            items.push(Item { bytes, token, kind, was_held, nacks });
        }
        let agents = Arc::clone(&life.agents);
        let request = wire::SettleRequest { settlements };
        let handle = tokio::spawn(async move { agents.settle(Request::new(request)).await });
        self.asking.push(Asking { items, handle });
    }

    /// Takes in the answers that came.
    pub(crate) async fn collect_answers(&mut self, ledger: &SharedLedger) {
        let (done, open) = std::mem::take(&mut self.asking).into_iter().partition(|asking| asking.handle.is_finished());
        self.asking = open;
        for Asking { items, handle } in done {
            let answer = handle.await;
            let mut ledger = lock(ledger);
            let Ok(Ok(response)) = answer else {
                ledger.hold("P4", false, || format!("a settle call failed as a whole: {answer:?}"));
                continue;
            };
            let results = response.into_inner().results;
            ledger.hold("P4", results.len() == items.len(), || format!("{} settlements, {} answers", items.len(), results.len()));
            for (item, result) in items.iter().zip(results) {
                self.answered(item, &result, &mut ledger);
            }
        }
    }

    fn answered(&mut self, item: &Item, result: &v1::SettleResult, ledger: &mut Ledger) {
        let status = result.status();
        ledger.trace(&[5, status as u8]);
        ledger.log(|| format!("settled  {:?} {:x} {:?} {:?} {status:?}", self.name, self.session >> 96, item.token, item.kind));
        if let Some(holding) = self.held.get_mut(&item.bytes) {
            holding.busy = false;
            if status == SettlementStatus::Unavailable {
                // It may have happened: the lease is not certain any more.
                holding.deadline = 0;
            }
        }
        let Some(token) = item.token else {
            ledger.hit(Seen::UnknownToken);
            return ledger.hold("P4", status == SettlementStatus::UnknownToken, || format!("a forged token was answered with {status:?}"));
        };
        // What was not done may not be taken for asked, except that the outcome is unknown.
        let is_known = status != SettlementStatus::Unavailable;
        let asked = ledger.asked_mut(&token);
        asked.open -= 1;
        if is_known
            && status != SettlementStatus::Done
            && let Some(count) = item.kind.count(asked)
        {
            *count -= 1;
        }
        let is_over = match status {
            SettlementStatus::Done => item.kind != Kind::Extend,
            SettlementStatus::Unavailable | SettlementStatus::Invalid | SettlementStatus::OutputRefused => false,
            _ => true,
        };
        if is_over && self.held.remove(&item.bytes).is_some() {
            self.remember(item.bytes.clone(), token);
        }
        match ledger.interests.remove(&token.incarnation) {
            Some(mut interest) => {
                let settles = item.kind.is_ack() || item.kind == Kind::Reject;
                if settles && status == SettlementStatus::Done && token.seek == interest.seek && !interest.redriven.contains(&token.offset)
                {
                    interest.confirmed.insert(token.offset);
                }
                self.judge(item, &token, result, &interest, ledger);
                ledger.interests.insert(token.incarnation, interest);
            }
            None => {
                ledger.hold("P4", status == SettlementStatus::UnknownToken, || format!("a token of nobody was answered with {status:?}"));
            }
        }
    }

    fn judge(&mut self, item: &Item, token: &Token, result: &v1::SettleResult, interest: &Interest, ledger: &mut Ledger) {
        let (status, offset) = (result.status(), token.offset);
        let name = interest.name.as_str();
        let same_seek = token.seek == interest.seek;
        let fate = interest.fates.get(&offset).copied();
        match status {
            SettlementStatus::Done => self.done(item, token, result, interest, ledger),
            SettlementStatus::AlreadySettled => {
                ledger.hit(if item.kind.is_ack() { Seen::AckTwice } else { Seen::Stale });
                let is_settled = fate.is_some() || !interest.is_named() || interest.is_gap(offset) || !same_seek || is_gone(ledger, offset);
                ledger.hold("P4", is_settled, || format!("event {offset} of {name} was answered as settled, and is not"));
                if item.kind == Kind::AckWithOutputs && !result.output_ids.is_empty() {
                    ledger.hit(Seen::OutputsRepeated);
                    self.outputs(token, &result.output_ids, ledger);
                }
            }
            SettlementStatus::DeadLettered => {
                ledger.hit(Seen::AckOfDeadLetter);
                let is_dead = [&interest.dead, &interest.discarded, &interest.redriven].iter().any(|set| set.contains(&offset));
                ledger.hold("P4", is_dead, || format!("event {offset} of {name} was answered as a dead letter, and is none"));
            }
            SettlementStatus::Stale => {
                ledger.hit(if same_seek { Seen::Stale } else { Seen::AckOfOldSeek });
                // A late ack counts.
                let counts = item.kind.is_ack() || item.kind == Kind::Reject;
                let is_late = same_seek && !interest.deleted && fate.is_none() && interest.is_named();
                ledger.hold("P4", !(counts && is_late), || format!("a late {:?} of event {offset} of {name} was refused", item.kind));
            }
            SettlementStatus::UnknownToken => {
                ledger.hit(Seen::UnknownToken);
                ledger.hold("P4", interest.deleted || !interest.is_named(), || format!("a token of {name} is not known any more"));
            }
            SettlementStatus::Invalid => {
                ledger.hit(Seen::Invalid);
                ledger.hold("P4", item.kind == Kind::Nothing, || format!("{:?} was answered as invalid: {}", item.kind, result.message));
            }
            SettlementStatus::OutputRefused => {
                ledger.hit(Seen::OutputRefused);
                ledger.hold("P9", item.kind == Kind::AckWithTakenOutput, || format!("an output was refused: {}", result.message));
            }
            SettlementStatus::Unavailable => ledger.hit(Seen::Unavailable),
            other => ledger.hold("P4", false, || format!("a settlement was answered with {other:?}: {}", result.message)),
        }
    }

    fn done(&mut self, item: &Item, token: &Token, result: &v1::SettleResult, interest: &Interest, ledger: &mut Ledger) {
        let (offset, name) = (token.offset, interest.name.as_str());
        // A seek may have come after it.
        let same_seek = token.seek == interest.seek;
        let fate = interest.fates.get(&offset).copied().filter(|_| same_seek && interest.is_named());
        let is_certain = same_seek && interest.is_named() && !interest.deleted && !interest.redriven.contains(&offset);
        match item.kind {
            Kind::Ack | Kind::AckWithOutputs | Kind::AckWithTakenOutput => {
                ledger.hit(if item.was_held { Seen::AckDone } else { Seen::AckLate });
                ledger.hold("P4", !is_certain || fate == Some(Fate::Settled), || {
                    format!("an ack of event {offset} of {name} was confirmed, and is not durable: {fate:?}")
                });
                ledger.hold("P9", item.kind != Kind::AckWithTakenOutput, || {
                    format!("event {offset} was settled with an output that cannot be")
                });
                if item.kind == Kind::AckWithOutputs {
                    self.outputs(token, &result.output_ids, ledger);
                }
                if !interest.is_named() {
                    ledger.tokens.remove(token);
                }
            }
            Kind::Nack | Kind::NackDelayed => {
                ledger.hit(if item.kind == Kind::Nack { Seen::NackDone } else { Seen::NackDelayed });
                let failed = nacks_of(interest, offset) > item.nacks || fate.is_some();
                ledger
                    .hold("P5", !is_certain || failed, || format!("a nack of event {offset} of {name} was confirmed, and is not durable"));
            }
            Kind::Reject => {
                ledger.hit(Seen::RejectDone);
                ledger.hold("P5", !is_certain || fate.is_some(), || format!("a rejection of event {offset} of {name} is not durable"));
            }
            Kind::Release => ledger.hit(Seen::ReleaseDone),
            Kind::Extend => {
                ledger.hit(Seen::ExtendDone);
                let until = result.lease_expires_at.and_then(waypost_broker::grpc::convert::micros).unwrap_or(u64::MAX);
                // After a restart it may have been adopted already, up to the end of the grace.
                let owner = ledger.owners.get(name).filter(|owner| token.epoch < owner.epoch);
                let total = interest.config.as_ref().map_or(Duration::ZERO, |config| config.max_lease_total);
                let adopted = owner.map_or(0, |owner| longest(owner.claimed_at, GRACE + total));
                if let Some(holding) = self.held.get_mut(&item.bytes) {
                    let last = holding.last.max(adopted);
                    ledger.hold("P5", until <= last, || {
                        format!("the lease on event {offset} of {name} is extended to {until}, beyond {last}")
                    });
                    holding.deadline = until;
                    if let Some(handed) = ledger.handed.get_mut(&(token.incarnation, offset)).filter(|handed| handed.token == *token) {
                        handed.deadline = until;
                    }
                }
            }
            Kind::Nothing => ledger.hold("P4", false, || "a settlement without an action was done".to_owned()),
        }
    }

    /// P9: what a completion says to have published is there, under the ids that it always has.
    fn outputs(&self, token: &Token, ids: &[String], ledger: &mut Ledger) {
        for (position, id) in ids.iter().enumerate() {
            let derived = waypost_broker::publisher::output_id(token.incarnation, token.offset, position);
            ledger.hold("P9", *id == derived, || format!("output {position} of event {} is {id}, not {derived}", token.offset));
            let is_there = ledger.find("agents/out", id).is_some();
            ledger.hold("P9", is_there, || format!("output {id} of event {} was answered, and is not there", token.offset));
        }
        ledger.hold("P9", !ids.is_empty(), || format!("the outputs of event {} were not named", token.offset));
    }
}

impl Asking {
    /// The process that was asked is gone: it may have happened.
    pub(crate) fn unanswered(self, agent: &mut Agent, ledger: &mut Ledger) {
        for item in self.items {
            if let Some(holding) = agent.held.get_mut(&item.bytes) {
                holding.busy = false;
            }
            if let Some(token) = item.token {
                ledger.asked_mut(&token).open -= 1;
            }
        }
    }
}

/// Whether an event is not kept any more, which a settled one need not be.
fn is_gone(ledger: &Ledger, offset: u64) -> bool {
    ledger.events.get(&offset).is_none_or(|stored| stored.lost)
}

fn nacks(ledger: &Ledger, token: &Token) -> u32 {
    ledger.interests.get(&token.incarnation).map_or(0, |interest| nacks_of(interest, token.offset))
}

fn nacks_of(interest: &Interest, offset: u64) -> u32 {
    interest.failures.get(&offset).map_or(0, |failures| failures.nacks)
}

fn kind(rng: &mut Rng, has_taken: bool) -> Kind {
    match rng.u8(0..100) {
        0..54 => Kind::Ack,
        54..64 => Kind::AckWithOutputs,
        64..66 if has_taken => Kind::AckWithTakenOutput,
        64..73 => Kind::Nack,
        73..79 => Kind::NackDelayed,
        79..83 => Kind::Reject,
        83..88 => Kind::Release,
        88..99 => Kind::Extend,
        _ => Kind::Nothing,
    }
}

fn action(kind: Kind, token: &Token, rng: &mut Rng, taken: Option<&(String, String)>) -> Option<Action> {
    let millis = |millis: i32| Some(prost_types::Duration { seconds: i64::from(millis / 1000), nanos: millis % 1000 * 1_000_000 });
    let output = |(source, id): (&str, &str), subject: String| wire::Event {
        source: source.to_owned(),
        id: id.to_owned(),
        r#type: "sim.out.Done".to_owned(),
        subject,
        ..wire::Event::default()
    };
    let subject = format!("output/{:x}/{}", token.incarnation, token.offset);
    Some(match kind {
        Kind::Ack => Action::Ack(wire::Ack::default()),
        // As many and the same for one event, or the ids would be those of other content.
        Kind::AckWithOutputs => {
            Action::Ack(wire::Ack { outputs: (0..=token.offset % 2).map(|_| output(("agents/out", ""), subject.clone())).collect() })
        }
        Kind::AckWithTakenOutput => {
            let (source, id) = taken.map_or(("", ""), |(source, id)| (source, id));
            Action::Ack(wire::Ack { outputs: vec![output((source, id), subject)] })
        }
        Kind::Nack => Action::Nack(v1::Nack { delay: None, reason: "simulated".to_owned() }),
        Kind::NackDelayed => Action::Nack(v1::Nack { delay: millis(rng.i32(0..1500)), reason: String::new() }),
        Kind::Reject => Action::Reject(v1::Reject { reason: "simulated".to_owned() }),
        Kind::Release => Action::Release(v1::Release {}),
        Kind::Extend => Action::Extend(v1::Extend { by: rng.bool().then(|| rng.i32(1..3000)).and_then(millis) }),
        Kind::Nothing => return None,
    })
}

/// Leases that clients know to be live now, of sessions whose streams hold nothing unread.
pub(crate) fn live(agents: &[Agent], now: u64) -> BTreeMap<(u64, u64), Vec<(usize, Token)>> {
    let mut live: BTreeMap<(u64, u64), Vec<(usize, Token)>> = BTreeMap::new();
    for (index, agent) in agents.iter().enumerate().filter(|(_, agent)| agent.stream.is_some() && agent.drained_at == now) {
        for holding in agent.held.values().filter(|holding| !holding.busy && holding.deadline > now) {
            live.entry((holding.token.incarnation, holding.token.offset)).or_default().push((index, holding.token));
        }
    }
    live
}
