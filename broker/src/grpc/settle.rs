//! Settle: a batch over any subscriptions, a result for each.
//!
//! Constraints:
//! - One bad settlement never fails the others; results are in the order of the request.
//! - Everything that could refuse an output is checked before the subscription is asked (P9).
//! - Each subscription is asked once, whatever many settlements it has.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::BytesMut;
use tokio::sync::oneshot;
use waypost_delivery::{Action, SettleOutcome, Token};
use waypost_proto::{
    v1::{self, ErrorReason, SettlementStatus as Status},
    wire,
};
use waypost_store::{NewEvent, ReadLimits, Selection};

use super::{
    convert::{duration, time},
    publish::check_count,
};
use crate::{
    access::{Act, Caller},
    broker::Broker,
    dead_letters::{self, DeadLetterKey, DeadLetterRow},
    defect::{self, Defect},
    dispatcher::{Command, SettleItem, Settled},
    error::{Fault, Violation},
    limits,
    publisher::{Cause, check_output_bytes, may_publish, output_id},
    registry::Handle,
    trace::{Emission, ids},
};

const LONGEST_DELAY: Duration = Duration::from_secs(86_400);

pub(super) async fn settle(broker: &Broker, caller: &Caller, request: wire::SettleRequest) -> Result<v1::SettleResponse, Fault> {
    check_count("settlements", request.settlements.len())?;
    let mut results: Vec<Option<v1::SettleResult>> = Vec::with_capacity(request.settlements.len());
    let mut batches: BTreeMap<u64, Batch> = BTreeMap::new();
    let mut emissions = Vec::new();
    for (index, settlement) in request.settlements.into_iter().enumerate() {
        results.push(match check(broker, caller, (index, settlement), &mut emissions).await {
            Ok((handle, item)) => {
                let batch = batches.entry(handle.incarnation).or_insert_with(|| Batch { handle, indexes: Vec::new(), items: Vec::new() });
                batch.indexes.push(index);
                batch.items.push(item);
                None
            }
            Err(refused) if defect::is_on(Defect::BatchFailsWhole) => return Err(Fault::invalid("settlements", refused.message)),
            Err(refused) => Some(*refused),
        });
    }
    // All are asked before any answer is waited for.
    let mut asked = Vec::with_capacity(batches.len());
    for Batch { handle, indexes, items } in batches.into_values() {
        let outputs: Vec<_> = items.iter().map(|item| output_names(&item.outputs)).collect();
        let (reply, answer) = oneshot::channel();
        let sent = handle.send(broker.registry.shared(), Command::Settle { settlements: items, reply }).await;
        asked.push((indexes, outputs, sent.map(|()| answer)));
    }
    for (indexes, outputs, sent) in asked {
        let settled = match sent {
            Ok(answer) => answer.await.unwrap_or_else(|_| vec![Settled::Unknown; indexes.len()]),
            Err(fault) if fault.reason == ErrorReason::SubscriptionNotFound => vec![Settled::Gone; indexes.len()],
            Err(_) => vec![Settled::Unknown; indexes.len()],
        };
        for ((index, outputs), settled) in indexes.into_iter().zip(outputs).zip(settled) {
            results[index] = Some(result(broker, settled, outputs).await);
        }
    }
    let results: Vec<_> = results.into_iter().map(Option::unwrap_or_default).collect();
    let is_done = |index: usize| results.get(index).is_some_and(|result| result.status() == Status::Done);
    broker.publisher.tracer.appended(emissions.into_iter().filter(|emission| is_done(emission.index())), Ok(&[]));
    Ok(v1::SettleResponse { results })
}

struct Batch {
    handle: Arc<Handle>,
    indexes: Vec<usize>,
    items: Vec<SettleItem>,
}

/// The source and id of each output.
type Names = Vec<(Arc<str>, String)>;

fn output_names(outputs: &[NewEvent]) -> Names {
    outputs.iter().map(|event| (event.head.source().into(), event.head.id().to_owned())).collect()
}

/// Checks one settlement: the subscription to ask, and what. The outputs whose trace is sampled go to `emissions`, with its index.
async fn check(
    broker: &Broker,
    caller: &Caller,
    (index, settlement): (usize, wire::Settlement),
    emissions: &mut Vec<Emission>,
) -> Result<(Arc<Handle>, SettleItem), Box<v1::SettleResult>> {
    let token = broker.tokens.open(&settlement.token).map_err(|error| refused(Status::UnknownToken, error.to_string()))?;
    let gone = || refused(Status::UnknownToken, "the subscription of the token is gone");
    let handle = broker.registry.by_incarnation(token.incarnation).ok_or_else(gone)?;
    let name = if handle.is_ephemeral() { "" } else { &*handle.name };
    caller.may(&Act::Use { name }).map_err(denied)?;
    let (action, outputs) = match settlement.action {
        Some(wire::settlement::Action::Ack(ack)) => {
            let outputs = seal_outputs(broker, caller, &token, (index, ack.outputs), emissions).await?;
            let output_bytes = check_output_bytes(&outputs).map_err(output_refused)?;
            (Action::Ack { outputs: u32::try_from(outputs.len()).unwrap_or(u32::MAX), output_bytes }, outputs)
        }
        Some(other) => (plain(other).map_err(|fault| refused(Status::Invalid, fault.message))?, Vec::new()),
        None => return Err(refused(Status::Invalid, "action is required: ack, nack, reject, release or extend")),
    };
    Ok((handle, SettleItem { token, action, outputs }))
}

fn plain(action: wire::settlement::Action) -> Result<Action, Fault> {
    use wire::settlement::Action as Asked;
    Ok(match action {
        Asked::Ack(_) => Action::Ack { outputs: 0, output_bytes: 0 },
        Asked::Nack(v1::Nack { delay, reason }) => Action::Nack { delay: span("nack.delay", delay)?, reason },
        Asked::Reject(v1::Reject { reason }) if reason.is_empty() => {
            return Err(Fault::invalid("reject.reason", "is required: it is what the operator will see"));
        }
        Asked::Reject(v1::Reject { reason }) => Action::Reject { reason },
        Asked::Release(v1::Release {}) => Action::Release,
        Asked::Extend(v1::Extend { by }) => Action::Extend { by: span("extend.by", by)? },
    })
}

fn span(field: &str, asked: Option<prost_types::Duration>) -> Result<Option<Duration>, Fault> {
    let Some(asked) = asked else { return Ok(None) };
    let span = duration(asked).filter(|span| *span <= LONGEST_DELAY);
    span.map(Some).ok_or_else(|| Fault::invalid(field, format!("is {}s, 0 to 24h is allowed", asked.seconds)))
}

/// Checks and seals the outputs of an ack: their cause is the event of the delivery.
async fn seal_outputs(
    broker: &Broker,
    caller: &Caller,
    token: &Token,
    (index, outputs): (usize, Vec<wire::Event>),
    emissions: &mut Vec<Emission>,
) -> Result<Vec<NewEvent>, Box<v1::SettleResult>> {
    if outputs.is_empty() {
        return Ok(Vec::new());
    }
    if outputs.len() > limits::MAX_OUTPUTS_PER_ACK {
        let text = format!("ack.outputs has {} events, at most {} are allowed", outputs.len(), limits::MAX_OUTPUTS_PER_ACK);
        return Err(refused(Status::Invalid, text));
    }
    for (position, output) in outputs.iter().enumerate() {
        may_publish(caller, output).map_err(|fault| output_refused(of_output(position, fault)))?;
    }
    caller.spend(broker.clock.now(), outputs.len()).map_err(output_refused)?;
    let cause = match cause(broker, token).await {
        Ok(Some(cause)) => cause.within(ids::settlement(token)),
        // What is not settled is kept, so this is: by whom, only its subscription could have told.
        Ok(None) => return Err(refused(Status::AlreadySettled, "the event was settled and is not kept any more; no output was published")),
        Err(fault) => return Err(unavailable(fault)),
    };
    let (mut sealed, mut room) = (Vec::with_capacity(outputs.len()), BytesMut::new());
    for (position, mut output) in outputs.into_iter().enumerate() {
        if output.id.is_empty() {
            output.id = if defect::is_on(Defect::OutputIdByChance) {
                broker.entropy.uuid(broker.clock.now()).to_string()
            } else {
                output_id(token.incarnation, token.offset, position)
            };
        }
        let (output, emission) = broker.publisher.seal_traced(output, None, Some(&cause), index, &mut room);
        sealed.push(output.map_err(|fault| output_refused(of_output(position, fault)))?);
        emissions.extend(emission);
    }
    Ok(sealed)
}

async fn cause(broker: &Broker, token: &Token) -> Result<Option<Cause>, Fault> {
    let event = match broker.publisher.event_at(token.offset).await? {
        Some(event) => Some(event),
        None => {
            let key = DeadLetterKey { incarnation: token.incarnation, offset: token.offset };
            dead_letters::find(&*broker.store, key).await?.as_ref().and_then(DeadLetterRow::event)
        }
    };
    event.as_ref().map(Cause::of).transpose()
}

/// The paths of a fault of an event, as paths from the ack.
fn of_output(position: usize, mut fault: Fault) -> Fault {
    for violation in &mut fault.violations {
        let field = violation.field.strip_prefix("event").unwrap_or(&violation.field);
        violation.field = format!("outputs[{position}]{field}");
    }
    if fault.violations.is_empty() {
        fault.violations = vec![Violation::new(format!("outputs[{position}]"), fault.message.clone())];
    }
    fault
}

async fn result(broker: &Broker, settled: Settled, outputs: Names) -> v1::SettleResult {
    let ids = |outputs: Names| outputs.into_iter().map(|(_, id)| id).collect();
    match settled {
        Settled::Outcome(SettleOutcome::Done) => v1::SettleResult { output_ids: ids(outputs), ..status(Status::Done, "") },
        Settled::Outcome(SettleOutcome::Extended(until)) => {
            v1::SettleResult { lease_expires_at: Some(time(until)), ..status(Status::Done, "") }
        }
        Settled::Outcome(SettleOutcome::AlreadySettled) => {
            let published = were_published(broker, &outputs).await;
            let output_ids = if published { ids(outputs) } else { Vec::new() };
            v1::SettleResult { output_ids, ..status(Status::AlreadySettled, "the event was settled before") }
        }
        Settled::Outcome(SettleOutcome::DeadLettered) => {
            status(Status::DeadLettered, "the event had become a dead letter; an ack is noted there for the operator")
        }
        Settled::Outcome(SettleOutcome::Stale) => status(Status::Stale, "the lease is gone; stop working on the event"),
        Settled::OutputConflict { output, first } => {
            let text = format!("an event with this source and id is stored at offset {first}, with other content");
            *output_refused(Fault::fields(ErrorReason::IdConflict, vec![Violation::new(format!("outputs[{output}].id"), text)]))
        }
        Settled::Outcome(SettleOutcome::OutputRefused) => {
            *output_refused(Fault::new(ErrorReason::IdConflict, "an output's id is taken by an event of other content"))
        }
        Settled::Outcome(SettleOutcome::Unavailable) => {
            *unavailable(Fault::new(ErrorReason::OutcomeUnknown, "the store refused for now; nothing changed"))
        }
        Settled::Unknown => *unavailable(Fault::outcome_unknown()),
        Settled::Gone => status(Status::UnknownToken, "the subscription of the token is gone"),
    }
}

/// Whether the outputs of a repeated ack are stored: then it was this one's.
async fn were_published(broker: &Broker, outputs: &Names) -> bool {
    for (source, id) in outputs {
        let selection = Selection::Id { source: Arc::clone(source), id: id.as_str().into() };
        let found = broker.store.read(0, &selection, ReadLimits { events: 1, bytes: 1 }).await;
        if !found.is_ok_and(|batch| !batch.events.is_empty()) {
            return false;
        }
    }
    true
}

fn status(status: Status, message: impl Into<String>) -> v1::SettleResult {
    v1::SettleResult { status: status.into(), message: message.into(), ..v1::SettleResult::default() }
}

fn refused(outcome: Status, message: impl Into<String>) -> Box<v1::SettleResult> {
    Box::new(status(outcome, message))
}

fn denied(fault: Fault) -> Box<v1::SettleResult> {
    let message = fault.message.clone();
    Box::new(v1::SettleResult { refusal: Some(fault.refusal()), ..status(Status::PermissionDenied, message) })
}

fn output_refused(fault: Fault) -> Box<v1::SettleResult> {
    let message = fault.message.clone();
    Box::new(v1::SettleResult { refusal: Some(fault.refusal()), ..status(Status::OutputRefused, message) })
}

fn unavailable(fault: Fault) -> Box<v1::SettleResult> {
    let fault = Fault { retry: Some(fault.retry.unwrap_or(limits::RETRY_DELAY)), ..fault };
    let message = fault.message.clone();
    Box::new(v1::SettleResult { refusal: Some(fault.refusal()), ..status(Status::Unavailable, message) })
}
