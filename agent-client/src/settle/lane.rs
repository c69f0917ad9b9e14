//! One Settle call at a time.
//!
//! Constraints: nothing lingers when no call is in flight; a failed call is made again, with backoff, until it is
//! answered; [`Lane::turn`] is cancel safe.

use std::future::{Future, pending};
use std::pin::Pin;
use std::time::Duration;

use tokio::time::{Instant, sleep_until, timeout};
use tonic::Code;
use waypost_proto::v1::{SettleRequest, SettleResponse, SettlementStatus};

use super::outbox::{Outbox, Queued};
use super::outcome::SettleError;
use super::settler::{Order, Purpose};
use crate::backoff::Backoff;
use crate::failure::Failure;
use crate::rpc::Rpc;

/// A call that has no answer by then is made again: settling twice is harmless.
const ATTEMPT: Duration = Duration::from_secs(10);

type Answer = Result<SettleResponse, Failure>;

struct Call {
    sent: Vec<Queued>,
    answer: Pin<Box<dyn Future<Output = Answer> + Send>>,
}

/// Sends orders in batches, one after the other.
pub(crate) struct Lane {
    client: Rpc,
    outbox: Outbox,
    call: Option<Call>,
    backoff: Backoff,
    not_before: Instant,
}

impl Lane {
    pub(crate) fn new(client: Rpc) -> Self {
        Self { client, outbox: Outbox::default(), call: None, backoff: Backoff::without_immediate(), not_before: Instant::now() }
    }

    pub(crate) fn push(&mut self, order: Order) {
        self.outbox.push(order);
    }

    /// Makes the next call, if none is in flight and something waits.
    pub(crate) fn start(&mut self) {
        let now = Instant::now();
        if self.call.is_some() || now < self.not_before {
            return;
        }
        let batch = self.outbox.take(now);
        for late in batch.late {
            late.order.fail(SettleError::TimedOut);
        }
        if batch.ready.is_empty() {
            return;
        }
        let request = SettleRequest { settlements: batch.ready.iter().map(|queued| queued.settlement.clone()).collect() };
        self.call = Some(Call { sent: batch.ready, answer: Box::pin(settle(self.client.clone(), request)) });
    }

    /// Waits until something is to be done, and does it.
    pub(crate) async fn turn(&mut self) {
        if let Some(call) = &mut self.call {
            let answer = call.answer.as_mut().await;
            if let Some(call) = self.call.take() {
                self.answered(call.sent, answer);
            }
            return;
        }
        match self.outbox.next_due(Instant::now()) {
            Some(due) => sleep_until(due.max(self.not_before)).await,
            None => pending().await,
        }
    }

    fn answered(&mut self, sent: Vec<Queued>, answer: Answer) {
        match answer {
            Ok(response) => {
                self.backoff = Backoff::without_immediate();
                for (queued, result) in sent.into_iter().zip(response.results) {
                    match (result.status(), &queued.order.purpose) {
                        (SettlementStatus::Unavailable, Purpose::Settle(_)) => {
                            let asked = result.refusal.map(Failure::from).and_then(|failure| failure.retry_after);
                            self.outbox.put_off(queued, asked, Instant::now());
                        }
                        _ => queued.order.answer(result),
                    }
                }
            }
            Err(failure) if failure.is_transient() => {
                tracing::debug!(%failure, settlements = sent.len(), "settling again");
                self.not_before = Instant::now() + self.backoff.next(failure.retry_after);
                // An extension is asked for anew when it is due, with the lease that there is by then.
                let (settlements, extensions): (Vec<_>, Vec<_>) = sent.into_iter().partition(|queued| queued.order.is_settlement());
                self.outbox.put_back(settlements);
                extensions.into_iter().for_each(|queued| queued.order.fail(SettleError::TimedOut));
            }
            Err(failure) => {
                tracing::warn!(%failure, settlements = sent.len(), "the broker refuses to settle");
                sent.into_iter().for_each(|queued| queued.order.fail(SettleError::Failed(failure.clone())));
            }
        }
    }
}

async fn settle(mut client: Rpc, request: SettleRequest) -> Answer {
    let asked = request.settlements.len();
    let response = timeout(ATTEMPT, client.settle(request)).await.map_err(|_| Failure::timed_out("Settle", ATTEMPT))??.into_inner();
    match response.results.len() {
        answered if answered == asked => Ok(response),
        answered => Err(Failure::local(Code::Internal, format!("the broker answered {answered} of {asked} settlements"))),
    }
}
