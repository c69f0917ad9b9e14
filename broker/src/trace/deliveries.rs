//! The spans of what one subscription has handed out, each from its hand-over until it is known how it ended, and of their settlements.
//!
//! Constraints:
//! - Only looks at what the delivery machine says; decides nothing, and changes nothing that is decided (P13).
//! - Holds at most one span for an event that is not settled, and none when tracing is off or the event's trace is not sampled.
//! - A delivery that goes on elsewhere (the broker ends, a machine is restored) has not ended: its span is told by whoever sees the end.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, mem,
};

use opentelemetry::{KeyValue, trace::SpanKind};
use uuid::Uuid;
use waypost_delivery::{
    Action, Deliver, Offset, Record, RevokeReason, SettleOutcome, Time, Token,
    record::{AttemptOutcome, DeadLetterCause},
};
use waypost_store::{Micros, StoredEvent};

use super::{
    TraceContext, Tracer,
    context::TRACEPARENT,
    ids,
    span::{Begun, Ended, number, of_event},
    tracer::Recorder,
};
use crate::envelope;

/// What is on its way, by its offset: an event has one live lease (P3).
pub struct Deliveries {
    tracer: Tracer,
    subscription: String,
    live: BTreeMap<Offset, Live>,
    /// What sessions that come back say they hold, until it is known whether they do.
    held: Vec<Resumed>,
}

/// A delivery that a session brings with it, whose trace is sampled.
#[derive(Debug)]
pub struct Resumed {
    token: Token,
    parent: TraceContext,
    attributes: Vec<KeyValue>,
}

struct Live {
    token: Token,
    span: Begun,
    attributes: Vec<KeyValue>,
    /// Since when somebody asks to settle it, and how.
    asked: Option<(Micros, Settling)>,
    dead: Option<&'static str>,
}

/// How a delivery is settled.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Settling {
    Ack,
    Nack,
    Reject,
    Release,
}

impl Settling {
    fn of(action: &Action) -> Option<Self> {
        Some(match action {
            Action::Ack { .. } => Self::Ack,
            Action::Nack { .. } => Self::Nack,
            Action::Reject { .. } => Self::Reject,
            Action::Release => Self::Release,
            Action::Extend { .. } => return None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Reject => "reject",
            Self::Release => "release",
        }
    }

    fn end(self) -> End {
        match self {
            Self::Ack => End("acked", false),
            Self::Nack => End("nacked", true),
            Self::Reject => End("rejected", true),
            Self::Release => GIVEN_BACK,
        }
    }
}

/// How a delivery ended, and whether it failed.
#[derive(Clone, Copy)]
struct End(&'static str, bool);

/// Unused and uncounted.
const GIVEN_BACK: End = End("released", false);
const SETTLED_ELSEWHERE: End = End("settled_elsewhere", false);

impl fmt::Debug for Deliveries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deliveries").field("live", &self.live.len()).finish_non_exhaustive()
    }
}

impl Tracer {
    /// What a session that comes back holds, if it is to be recorded.
    #[must_use]
    pub fn resumed(&self, token: Token, event: &StoredEvent) -> Option<Resumed> {
        self.recorder()?;
        let parent = parent(event)?;
        let mut attributes = of_event(&event.head, "deliver", "send");
        attributes.extend([number("waypost.event.offset", event.offset), KeyValue::new("waypost.delivery.resumed", true)]);
        Some(Resumed { token, parent, attributes })
    }
}

/// What an event came from, if that is recorded.
fn parent(event: &StoredEvent) -> Option<TraceContext> {
    TraceContext::parse(envelope::attribute(&event.body, TRACEPARENT)?).filter(|parent| parent.sampled)
}

impl Deliveries {
    /// Of a subscription; its name is empty for an ephemeral one.
    #[must_use]
    pub fn of(tracer: &Tracer, subscription: &str) -> Self {
        let subscription = if subscription.is_empty() { "(ephemeral)" } else { subscription };
        Self { tracer: tracer.clone(), subscription: subscription.to_owned(), live: BTreeMap::new(), held: Vec::new() }
    }

    /// An event is handed to a session. Gives the `traceparent` of its delivery, if that is recorded.
    pub fn handed(&mut self, deliver: &Deliver, event: &StoredEvent) -> Option<String> {
        self.tracer.recorder()?;
        let parent = parent(event)?;
        let mut attributes = of_event(&event.head, "deliver", "send");
        attributes.extend([
            KeyValue::new("messaging.destination.subscription.name", self.subscription.clone()),
            KeyValue::new("messaging.client.id", Uuid::from_u128(deliver.session.0).to_string()),
            number("waypost.event.offset", event.offset),
            number("waypost.delivery.attempt", deliver.attempt.into()),
            number("waypost.delivery.losses", deliver.losses.into()),
        ]);
        if deliver.redriven {
            attributes.push(KeyValue::new("waypost.delivery.redriven", true));
        }
        self.begin(deliver.token, parent, attributes)
    }

    /// A session comes back with these.
    pub fn brought(&mut self, held: Vec<Resumed>) {
        self.held.extend(held);
    }

    /// These it goes on with. What began before a restart is recorded from here on.
    pub fn adopted(&mut self, adopted: &[(Token, Time)]) {
        if self.held.is_empty() {
            return;
        }
        let adopted: BTreeSet<_> = adopted.iter().map(|(token, _)| *token).collect();
        for Resumed { token, parent, mut attributes } in mem::take(&mut self.held) {
            let goes_on = self.live.get(&token.offset).is_some_and(|live| live.token == token);
            if !goes_on && adopted.contains(&token) {
                attributes.push(KeyValue::new("messaging.destination.subscription.name", self.subscription.clone()));
                self.begin(token, parent, attributes);
            }
        }
    }

    fn begin(&mut self, token: Token, parent: TraceContext, attributes: Vec<KeyValue>) -> Option<String> {
        let at = self.tracer.recorder()?.now();
        // One that is handed out again was given back without a word.
        self.end(token.offset, GIVEN_BACK);
        let context = parent.with_span(ids::delivery(&token));
        let span = Begun { context, parent: parent.span, parent_is_remote: true, at };
        self.live.insert(token.offset, Live { token, span, attributes, asked: None, dead: None });
        Some(context.to_string())
    }

    /// Whether there is anything to look for.
    #[must_use]
    pub fn is_watching(&self) -> bool {
        !self.live.is_empty()
    }

    /// Somebody asks for a settlement.
    pub fn asked(&mut self, token: &Token, action: &Action) {
        let Some(live) = self.live.get_mut(&token.offset).filter(|live| live.token == *token) else { return };
        if let (Some(recorder), Some(settling)) = (self.tracer.recorder(), Settling::of(action)) {
            live.asked = Some((recorder.now(), settling));
        }
    }

    /// It is answered.
    pub fn settled(&mut self, token: &Token, outcome: SettleOutcome) {
        let Some(live) = self.live.get_mut(&token.offset) else { return };
        match outcome {
            // Done by an earlier holder, whose late ack counts.
            SettleOutcome::Done if live.token != *token => self.end(token.offset, SETTLED_ELSEWHERE),
            SettleOutcome::Done => {
                let Some((since, settling)) = live.asked else { return };
                let (span, attributes) = (live.span, live.attributes.clone());
                if let Some(recorder) = self.tracer.recorder() {
                    settlement(recorder, &self.subscription, token, span, since, settling, attributes);
                }
                self.end(token.offset, settling.end());
            }
            SettleOutcome::Extended(_) => {}
            _ if live.token == *token => live.asked = None,
            _ => {}
        }
    }

    /// A session's hold ended without its doing.
    pub fn revoked(&mut self, token: &Token, reason: RevokeReason) {
        if self.live.get(&token.offset).is_some_and(|live| live.token == *token) {
            self.end(
                token.offset,
                match reason {
                    RevokeReason::Expired => End("expired", true),
                    RevokeReason::SettledElsewhere => SETTLED_ELSEWHERE,
                    RevokeReason::Sought => End("sought", false),
                    RevokeReason::Gone => End("gone", true),
                },
            );
        }
    }

    /// What the machine has decided on: of a lost session it says so here alone.
    pub fn decided(&mut self, records: &[Record]) {
        if self.live.is_empty() {
            return;
        }
        for record in records {
            let (offset, outcome, dead) = match record {
                Record::Failed(failure) => (failure.offset, Some(failure.attempt.outcome), None),
                Record::DeadLettered(letter) => (letter.offset, letter.history.last().map(|last| last.outcome), Some(cause(letter.cause))),
                _ => continue,
            };
            if let Some(live) = self.live.get_mut(&offset) {
                live.dead = dead;
                if outcome == Some(AttemptOutcome::Lost) {
                    self.end(offset, End("lost", true));
                }
            }
        }
    }

    /// Nobody holds anything: what is left was given back without a word.
    pub fn all_given_back(&mut self) {
        while let Some((&offset, _)) = self.live.first_key_value() {
            self.end(offset, GIVEN_BACK);
        }
    }

    fn end(&mut self, offset: Offset, End(outcome, is_error): End) {
        let Some(Live { span, mut attributes, dead, .. }) = self.live.remove(&offset) else { return };
        let Some(recorder) = self.tracer.recorder() else { return };
        attributes.push(KeyValue::new("waypost.delivery.outcome", outcome));
        attributes.extend(dead.map(|cause| KeyValue::new("waypost.dead_letter.cause", cause)));
        let name = format!("deliver {}", self.subscription).into();
        let error = is_error.then_some(outcome);
        recorder.end(span, Ended { kind: SpanKind::Producer, name, attributes, error, at: recorder.now() });
    }
}

/// From the request to settle until that is durable.
fn settlement(
    recorder: &Recorder,
    subscription: &str,
    token: &Token,
    delivery: Begun,
    since: Micros,
    settling: Settling,
    mut attributes: Vec<KeyValue>,
) {
    attributes.retain(|attribute| !attribute.key.as_str().starts_with("messaging.operation."));
    attributes.extend([KeyValue::new("messaging.operation.name", settling.name()), KeyValue::new("messaging.operation.type", "settle")]);
    let context = delivery.context.with_span(ids::settlement(token));
    let span = Begun { context, parent: delivery.context.span, parent_is_remote: false, at: since };
    let name = format!("{} {subscription}", settling.name()).into();
    recorder.end(span, Ended { kind: SpanKind::Internal, name, attributes, error: None, at: recorder.now() });
}

fn cause(cause: DeadLetterCause) -> &'static str {
    match cause {
        DeadLetterCause::Attempts => "attempts",
        DeadLetterCause::Losses => "losses",
        DeadLetterCause::Rejected => "rejected",
    }
}

#[cfg(test)]
mod tests;
