//! The operator: pauses, seeks, other filters, dead letters, deletions.

use std::sync::Arc;

use fastrand::Rng;
use tokio::task::JoinHandle;
use tonic::{Code, Request, Status};
use waypost_broker::dead_letters::DeadLetterKey;
use waypost_proto::v1::{
    self, dead_letter_admin_service_server::DeadLetterAdminService, start_position::Position,
    subscription_admin_service_server::SubscriptionAdminService,
};

use crate::{
    interest::Interest,
    ledger::{Ledger, SharedLedger, lock},
    life::Life,
    specs::{self, NAMES},
};

/// One order.
struct Order {
    kind: &'static str,
    incarnation: u64,
    /// How many of its kind were durable before.
    before: u64,
    handle: JoinHandle<Result<usize, Status>>,
}

#[derive(Default)]
pub(crate) struct Operator {
    orders: Vec<Order>,
    turn: u8,
}

fn find(ledger: &Ledger, name: &str) -> Option<u64> {
    ledger.owners.get(name).and_then(|owner| owner.incarnation)
}

impl Operator {
    pub(crate) fn act(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger) {
        let name = NAMES[rng.usize(..NAMES.len())];
        let tail = *life.broker.store.tail().borrow();
        let Some(incarnation) = find(&lock(ledger), name).filter(|_| self.orders.len() < 3) else { return };
        match rng.u8(0..100) {
            0..20 => self.pause(life, ledger, incarnation, name),
            20..45 => self.resume(life, ledger, incarnation, name),
            45..58 => {
                let position = match rng.u8(0..4) {
                    0 => Position::Offset(rng.u64(tail.saturating_sub(60)..=tail)),
                    1 => Position::Point(v1::StartPoint::New.into()),
                    2 => Position::Point(v1::StartPoint::Earliest.into()),
                    _ => Position::Time(waypost_broker::envelope::timestamp(life.clock.now() - rng.u64(0..3_000_000))),
                };
                self.seek(life, ledger, incarnation, name, position);
            }
            58..75 => self.update(life, rng, ledger, incarnation, name),
            75..85 => self.dead_letters(life, rng, ledger, incarnation, "redrive"),
            85..94 => self.dead_letters(life, rng, ledger, incarnation, "discard"),
            94..98 => self.delete(life, ledger, incarnation, name),
            _ => {}
        }
    }

    fn order(&mut self, ledger: &SharedLedger, kind: &'static str, incarnation: u64, handle: JoinHandle<Result<usize, Status>>) {
        let before = lock(ledger).interests.get(&incarnation).map_or(0, |interest| interest.steps(kind));
        self.orders.push(Order { kind, incarnation, before, handle });
    }

    fn pause(&mut self, life: &Life, ledger: &SharedLedger, incarnation: u64, name: &str) {
        let (service, request) =
            (Arc::clone(&life.subscriptions), v1::PauseSubscriptionRequest { name: name.to_owned(), reason: "simulated".to_owned() });
        let handle = tokio::spawn(async move { service.pause_subscription(Request::new(request)).await.map(|_| 1) });
        self.order(ledger, "pause", incarnation, handle);
    }

    pub(crate) fn resume(&mut self, life: &Life, ledger: &SharedLedger, incarnation: u64, name: &str) {
        let (service, request) = (Arc::clone(&life.subscriptions), v1::ResumeSubscriptionRequest { name: name.to_owned() });
        let handle = tokio::spawn(async move { service.resume_subscription(Request::new(request)).await.map(|_| 1) });
        self.order(ledger, "resume", incarnation, handle);
    }

    fn seek(&mut self, life: &Life, ledger: &SharedLedger, incarnation: u64, name: &str, position: Position) {
        let target = Some(v1::StartPosition { position: Some(position) });
        let request = v1::SeekSubscriptionRequest { name: name.to_owned(), target, incarnation: format!("{incarnation:016x}") };
        let service = Arc::clone(&life.subscriptions);
        let handle = tokio::spawn(async move { service.seek_subscription(Request::new(request)).await.map(|_| 1) });
        self.order(ledger, "seek", incarnation, handle);
    }

    fn update(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger, incarnation: u64, name: &str) {
        self.turn = self.turn.wrapping_add(u8::from(rng.bool()));
        let deadline = rng.bool().then(|| prost_types::Duration { seconds: 0, nanos: rng.i32(300..1_000) * 1_000_000 });
        let spec = v1::SubscriptionSpec {
            filter: Some(specs::filter(name, self.turn)),
            ack_deadline: deadline,
            ..v1::SubscriptionSpec::default()
        };
        let incarnation_text = format!("{incarnation:016x}");
        let request = v1::UpdateSubscriptionRequest {
            name: name.to_owned(),
            spec: Some(spec),
            reset_fields: Vec::new(),
            incarnation: incarnation_text,
        };
        let service = Arc::clone(&life.subscriptions);
        let handle = tokio::spawn(async move { service.update_subscription(Request::new(request)).await.map(|_| 1) });
        self.order(ledger, "update", incarnation, handle);
    }

    fn delete(&mut self, life: &Life, ledger: &SharedLedger, incarnation: u64, name: &str) {
        lock(ledger).ordered_deletions.insert(incarnation);
        let request = v1::DeleteSubscriptionRequest { name: name.to_owned(), incarnation: format!("{incarnation:016x}") };
        let service = Arc::clone(&life.subscriptions);
        let handle = tokio::spawn(async move { service.delete_subscription(Request::new(request)).await.map(|_| 1) });
        self.order(ledger, "delete", incarnation, handle);
    }

    fn dead_letters(&mut self, life: &Life, rng: &mut Rng, ledger: &SharedLedger, incarnation: u64, kind: &'static str) {
        let dead: Vec<u64> =
            lock(ledger).interests.get(&incarnation).map_or_else(Vec::new, |interest| interest.dead.iter().copied().collect());
        let ids: Vec<_> =
            dead.into_iter().filter(|_| rng.bool()).take(5).map(|offset| DeadLetterKey { incarnation, offset }.id()).collect();
        if ids.is_empty() {
            return;
        }
        let service = Arc::clone(&life.dead_letters);
        let done = |results: Vec<v1::DeadLetterResult>| results.iter().filter(|result| result.refusal.is_none()).count();
        let handle = if kind == "redrive" {
            tokio::spawn(async move {
                let answer = service.redrive_dead_letters(Request::new(v1::RedriveDeadLettersRequest { ids })).await?;
                Ok(done(answer.into_inner().results))
            })
        } else {
            tokio::spawn(async move {
                let answer = service.discard_dead_letters(Request::new(v1::DiscardDeadLettersRequest { ids })).await?;
                Ok(done(answer.into_inner().results))
            })
        };
        self.order(ledger, kind, incarnation, handle);
    }

    /// Takes in the answers that came: what is confirmed is durable.
    pub(crate) async fn collect(&mut self, ledger: &SharedLedger) {
        let (done, open) = std::mem::take(&mut self.orders).into_iter().partition(|order| order.handle.is_finished());
        self.orders = open;
        for Order { kind, incarnation, before, handle } in done {
            let answer = handle.await;
            let mut ledger = lock(ledger);
            let steps = ledger.interests.get(&incarnation).map_or(0, |interest| interest.steps(kind));
            // The dead letters of a subscription that is gone are rows without a machine: discarding them leaves no record.
            let leaves_none = kind == "discard" && ledger.interests.get(&incarnation).is_none_or(|interest| interest.deleted);
            match answer {
                Ok(Ok(0)) => {}
                Ok(Ok(_)) => {
                    ledger.trace(kind.as_bytes());
                    ledger.hold("P4", steps > before || leaves_none, || format!("{kind} was confirmed, and is not durable"));
                }
                Ok(Err(status)) => {
                    ledger.trace(&[10, status.code() as u8]);
                    let expected = matches!(
                        status.code(),
                        Code::Unavailable | Code::NotFound | Code::FailedPrecondition | Code::OutOfRange | Code::InvalidArgument
                    );
                    ledger.hold("P4", expected, || format!("{kind} failed with {status:?}"));
                }
                Err(_) => ledger.hold("P4", false, || format!("{kind} panicked")),
            }
        }
    }

    pub(crate) fn cut_off(&mut self) {
        self.orders.clear();
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.orders.is_empty()
    }
}

/// Named subscriptions that are there, with what is known of them.
pub(crate) fn named(ledger: &Ledger) -> Vec<Interest> {
    NAMES.iter().filter_map(|name| find(ledger, name)).filter_map(|incarnation| ledger.interests.get(&incarnation)).cloned().collect()
}
