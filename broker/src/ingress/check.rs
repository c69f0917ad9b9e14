//! The way of a request through the edge, step by step, for somebody who wants to know where it ends.
//!
//! Constraint: each step is the edge's own; nothing is stored, and the sender is nobody.

use bytes::Bytes;
use http::Request;

use super::{
    Outcome, Source, body,
    coding::{coding, unpacked},
    understand::{Meaning, Meaningless, Webhook},
    verify::{Around, Incoming, Rejection, diagnose},
};
use crate::entropy::Entropy;

/// What became of a request that nobody sent.
#[derive(Clone, Debug, Default)]
pub struct Checked {
    /// The steps that it passed, each with what was found there.
    pub steps: Vec<(&'static str, String)>,
    /// The step at which it ended, if it was not accepted, and why.
    pub failed: Option<(&'static str, Why)>,
    /// Whether its scheme signs a time.
    pub is_timed: bool,
}

/// Why it ended there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Why {
    /// As the label of the metrics.
    pub reason: &'static str,
    /// For people.
    pub text: String,
}

impl Checked {
    fn passed(&mut self, step: &'static str, said: impl Into<String>) {
        self.steps.push((step, said.into()));
    }

    fn ended(mut self, step: &'static str, outcome: Outcome, text: impl Into<String>) -> Self {
        self.failed = Some((step, Why { reason: outcome.reason(), text: text.into() }));
        self
    }
}

fn step(rejection: Rejection) -> &'static str {
    match rejection {
        Rejection::TimestampMalformed | Rejection::TimestampOld | Rejection::TimestampAhead => "timestamp",
        Rejection::NotAllowed => "allow",
        Rejection::KeyUnknown => "keys",
        _ => "signature",
    }
}

impl Source {
    /// Goes the way of a request, as if it came at `at`, or else at the time at which it was signed. `now` is when it would be an event.
    #[must_use]
    pub fn check(&self, request: Request<Bytes>, at: Option<u64>, around: Around<'_>, entropy: &Entropy, now: u64) -> Checked {
        let (head, raw) = request.into_parts();
        let incoming = Incoming { method: &head.method, target: &head.uri, headers: &head.headers, body: &raw };
        let mut checked =
            Checked { is_timed: self.verifier().is_some_and(|verifier| verifier.scheme().timestamp.is_some()), ..Checked::default() };
        if head.uri.path() == self.path {
            checked.passed("path", self.path.clone());
        } else {
            let text = format!("{} is not the path of the source, which is {}", head.uri.path(), self.path);
            return checked.ended("path", Outcome::RefusedPeer, text);
        }
        let open = Incoming { body: b"", ..incoming };
        let greetings =
            || self.greetings.at_the_door(open, self.verifier()).or_else(|| self.greetings.unverified(incoming, self.verifier()));
        if let Some(greeting) = greetings().or_else(|| self.greetings.offered(incoming, self.verifier())) {
            let said = match greeting.offered {
                None => "it is one: answered, and no event",
                Some(_) => "it offers a secret, which is learned while pairing is open",
            };
            checked.passed("handshake", said);
            return checked;
        }
        if head.method != http::Method::POST {
            return checked.ended("method", Outcome::RefusedMethod, format!("{}: webhooks are posted", head.method));
        }
        checked.passed("method", "POST");
        let kind = match body::kind(&head.headers, self.taken()) {
            Ok(kind) => kind,
            Err(outcome) => return checked.ended("content", outcome, "the content type or its encoding is not one that the source takes"),
        };
        if let Err(outcome) = coding(&head.headers) {
            return checked.ended("content", outcome, "its content-encoding is not one that the source takes");
        }
        checked.passed(
            "content",
            match kind {
                body::Kind::Json => "JSON",
                body::Kind::BinaryCloudEvent => "a CloudEvent in binary mode",
                body::Kind::Form(_) => "a form",
            },
        );
        if raw.len() > self.max_body {
            return checked.ended("body", Outcome::RefusedTooLarge, format!("{} bytes; the source takes {}", raw.len(), self.max_body));
        }
        checked.passed("body", format!("{} bytes", raw.len()));
        if let Some(verifier) = self.verifier() {
            if let (Ok(Some(keys)), None) = (verifier.keys_of(incoming), around.fetched) {
                let text = format!("the provider's keys are at {}; fetch them, and give the file with --keys", keys.url);
                return checked.ended("keys", Outcome::KeysUnavailable, text);
            }
            let at = at.or_else(|| verifier.signed_at(incoming)).unwrap_or(now);
            if let Err((rejection, fault)) = diagnose(verifier, incoming, at, around) {
                let outcome = Outcome::from(rejection);
                return checked.ended(step(rejection), outcome, fault.to_string());
            }
            checked.passed("signature", format!("{}, verified", self.scheme));
        } else {
            checked.passed("signature", "UNVERIFIED: the source takes what anybody posts");
        }
        let mut head = head;
        let plain = match unpacked(&mut head.headers, &raw, self.max_body) {
            Ok(plain) => plain,
            Err(problem) => return checked.ended("event", Outcome::QuarantinedMalformedBody, problem),
        };
        let webhook = Webhook { head: &head, raw: plain, kind, now, arrival: None, replay_of: None };
        match self.understand(&webhook, entropy) {
            Ok(Meaning::Event(made)) => {
                let (head, doubt) = (&made.event.head, if made.is_doubtful { ", which it does not look like" } else { "" });
                checked.passed("event", format!("{} {}{doubt}", head.event_type(), head.id()));
            }
            Ok(Meaning::Batch(batch)) => {
                checked.passed("event", format!("{} events", batch.events.len()));
                if let Some((_, why)) = batch.aside.into_iter().next() {
                    return checked.ended("event", why.reason.into(), format!("{} {}", why.path, why.message));
                }
            }
            Ok(Meaning::Greeting(_)) => checked.passed("handshake", "it is one: answered, and no event"),
            Err(Meaningless::Undecodable(why)) => {
                return checked.ended("event", why.reason.into(), format!("{} {}", why.path, why.message));
            }
            Err(Meaningless::Refused(rejection)) => {
                return checked.ended("handshake", rejection.into(), "it asks for something that is not its provider's");
            }
        }
        checked
    }
}
