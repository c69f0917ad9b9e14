//! A scheme with its secrets, at work.
//!
//! Constraint: the signature is verified first and the time after it: an attacker learns nothing by a time.

use std::fmt;

use http::HeaderMap;
use subtle::Choice;

use super::{
    grammar::Signatures,
    mac::{self, Key},
    scheme::{Scheme, TimeUnit, TimestampRule},
};
use crate::{
    config::Secret,
    ingress::{
        decode::{Pointer, Selector},
        template::{Part, one_header},
    },
};

/// Why a request was not verified. For counters and logs; the sender is only told that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no signature header.
    SignatureMissing,
    /// There are several signature headers.
    SignatureRepeated,
    /// The signature header, or the signature in it, is empty.
    SignatureEmpty,
    /// The signature header is not written as the scheme says: no prefix, no item, not text.
    SignatureGrammar,
    /// The signature is not hexadecimal or base64, as the scheme says.
    SignatureEncoding,
    /// No secret gives this signature.
    SignatureWrong,
    /// A header that is signed with the body is missing, there several times, or not text.
    SignedPartMissing,
    /// The signed time is missing or not written as the scheme says.
    TimestampMalformed,
    /// The signed time is longer ago than the tolerance.
    TimestampOld,
    /// The signed time lies further ahead than the tolerance.
    TimestampAhead,
}

/// Verifies the webhooks of one source.
#[derive(Clone)]
pub struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).field("keys", &self.keys.len()).finish()
    }
}

impl Verifier {
    /// Puts a scheme and its active secrets together. The scheme has no [`problems`](Scheme::problems).
    ///
    /// # Errors
    /// Which secret is wrong, and why.
    pub fn new(scheme: Scheme, secrets: &[Secret]) -> Result<Self, (usize, String)> {
        let key = |(index, secret)| Key::new(&scheme, secret).map_err(|problem| (index, problem));
        let keys = secrets.iter().enumerate().map(key).collect::<Result<_, _>>()?;
        Ok(Self { scheme, keys })
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> &Scheme {
        &self.scheme
    }

    /// How many secrets are active.
    #[must_use]
    pub fn active_secrets(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn first_key(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// Verifies a request as it was received. `wall` is the wall time in microseconds.
    ///
    /// # Errors
    /// [`Rejection`] says why not.
    pub fn verify(&self, headers: &HeaderMap, body: &[u8], wall: u64) -> Result<(), Rejection> {
        let signatures = Signatures::parse(&self.scheme.signature, self.signature_header(headers)?)?;
        let candidates: Vec<Vec<u8>> = signatures.candidates.iter().filter_map(|candidate| mac::decode(&self.scheme, candidate)).collect();
        if candidates.is_empty() {
            return Err(Rejection::SignatureEncoding);
        }
        let content = self.content(headers, body, &signatures)?;
        let mut verified = Choice::from(0);
        for key in &self.keys {
            let expected = key.sign(&content);
            for candidate in &candidates {
                verified |= mac::equal(&expected, candidate);
            }
        }
        if !bool::from(verified) {
            return Err(Rejection::SignatureWrong);
        }
        match &self.scheme.timestamp {
            Some(rule) => check_time(rule, self.time_text(rule, headers, body, &signatures), wall),
            None => Ok(()),
        }
    }

    fn signature_header<'a>(&self, headers: &'a HeaderMap) -> Result<&'a str, Rejection> {
        let mut values = headers.get_all(&self.scheme.signature.header).iter();
        let value = values.next().ok_or(Rejection::SignatureMissing)?;
        if values.next().is_some() {
            return Err(Rejection::SignatureRepeated);
        }
        value.to_str().map_err(|_| Rejection::SignatureGrammar)
    }

    /// What is signed, in pieces.
    fn content<'a>(&'a self, headers: &'a HeaderMap, body: &'a [u8], signatures: &Signatures<'a>) -> Result<Vec<&'a [u8]>, Rejection> {
        let piece = |part: &'a Part| match part {
            Part::Literal(text) => Some(text.as_bytes()),
            Part::Header(name) => one_header(headers, name).map(str::as_bytes),
            Part::Signature(key) => signatures.item(key).map(str::as_bytes),
            Part::Body => Some(body),
            Part::Pointer(_) | Part::FirstOf(_) => None,
        };
        self.scheme.signed.0.iter().map(piece).collect::<Option<_>>().ok_or(Rejection::SignedPartMissing)
    }

    fn time_text(&self, rule: &TimestampRule, headers: &HeaderMap, body: &[u8], signatures: &Signatures<'_>) -> Option<String> {
        match rule.at.0.first()? {
            Part::Header(name) => one_header(headers, name).map(str::to_owned),
            Part::Signature(key) => signatures.item(key).map(str::to_owned),
            Part::Pointer(pointer) => text_at(pointer, str::from_utf8(body).ok()?),
            Part::Literal(_) | Part::FirstOf(_) | Part::Body => None,
        }
    }
}

fn text_at(pointer: &Pointer, json: &str) -> Option<String> {
    let mut selector = Selector::default();
    let slot = selector.add(pointer);
    selector.select(json).ok()?.text(slot).map(std::borrow::Cow::into_owned)
}

fn check_time(rule: &TimestampRule, text: Option<String>, wall: u64) -> Result<(), Rejection> {
    let signed = text.and_then(|text| micros(rule.unit, &text)).ok_or(Rejection::TimestampMalformed)?;
    let tolerance = rule.tolerance.micros();
    if signed < wall.saturating_sub(tolerance) {
        Err(Rejection::TimestampOld)
    } else if signed > wall.saturating_add(tolerance) {
        Err(Rejection::TimestampAhead)
    } else {
        Ok(())
    }
}

fn micros(unit: TimeUnit, text: &str) -> Option<u64> {
    let digits = || text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    match unit {
        TimeUnit::S => digits()?.checked_mul(1_000_000),
        TimeUnit::Ms => digits()?.checked_mul(1_000),
        TimeUnit::Rfc3339 => u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_microsecond()).ok(),
    }
}
