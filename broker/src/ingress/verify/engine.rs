//! A scheme with its secrets, at work.
//!
//! Constraints:
//! - The signature is verified first, and the time and everything else after it: an attacker learns nothing by them.
//! - The body is looked into before that only by schemes whose signature is in it, or covers fields instead of bytes.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use http::HeaderMap;
use subtle::Choice;

use super::{
    grammar::Signatures,
    jwt::Token,
    mac::{self, Key},
    public::KeySet,
    published::KeysAt,
    scheme::Scheme,
    signature::{TimeUnit, TimestampRule},
    view::{Incoming, View},
};
use crate::{
    config::Secret,
    ingress::{
        decode::{Selected, Selector},
        template::{Part, Template},
    },
};

/// Why a request was not verified. For counters and logs; the sender is only told that it was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// There is no signature.
    SignatureMissing,
    /// There are several signature headers of one name.
    SignatureRepeated,
    /// The signature header, or the signature in it, is empty.
    SignatureEmpty,
    /// The signature header is not written as the scheme says: no prefix, no item, not text.
    SignatureGrammar,
    /// The signature is not hexadecimal, base64 or a token, as the scheme says.
    SignatureEncoding,
    /// No secret and no key gives this signature.
    SignatureWrong,
    /// What is signed with the body is missing, there several times, or not text.
    SignedPartMissing,
    /// The body is not the one whose hash was signed.
    BodyHashWrong,
    /// The signed time is missing or not written as the scheme says.
    TimestampMalformed,
    /// The signed time is longer ago than the tolerance.
    TimestampOld,
    /// The signed time lies further ahead than the tolerance.
    TimestampAhead,
    /// It was made with a key that the provider does not have, or names one at an address that is not the provider's.
    KeyUnknown,
    /// It is signed, but for somebody else: what the source allows is not in it.
    NotAllowed,
}

/// Verifies the webhooks of one source.
#[derive(Clone)]
pub struct Verifier {
    scheme: Scheme,
    keys: Vec<Key>,
    /// As they are configured, so that they can be found where they must not be.
    secrets: Vec<Secret>,
    /// Where the provider calls the source.
    base: String,
    /// What a webhook must hold, by the names of the scheme's `allow`.
    allow: BTreeMap<String, Vec<String>>,
    /// What is shown to the provider where its keys are for its customers alone.
    access: BTreeMap<String, Secret>,
    /// Every pointer that is looked at before a webhook is verified.
    selector: Selector,
    signs_the_secret: bool,
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("scheme", &self.scheme).field("keys", &self.keys.len()).finish_non_exhaustive()
    }
}

/// What a source says beside its secrets.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// Scheme and host as the provider calls them, without a slash at the end.
    pub base: String,
    /// What a webhook must hold, by the names of the scheme's `allow`.
    pub allow: BTreeMap<String, Vec<String>>,
    /// What the provider wants to see before it gives its keys, by the names of the scheme.
    pub access: BTreeMap<String, Secret>,
}

impl Verifier {
    /// Puts a scheme and its active secrets together. The scheme has no [`problems`](Scheme::problems), and everything that it wants a
    /// source to say is there.
    ///
    /// # Errors
    /// Which secret is wrong, and why.
    pub fn new(scheme: Scheme, secrets: &[Secret], expected: Expected) -> Result<Self, (usize, String)> {
        let key = |(index, secret)| Key::new(&scheme, secret).map_err(|problem| (index, problem));
        let keys = secrets.iter().enumerate().map(key).collect::<Result<_, _>>()?;
        let mut selector = Selector::default();
        let looked_at = [Some(&scheme.signed), scheme.signature.at.as_ref(), scheme.timestamp.as_ref().map(|rule| &rule.at)];
        let looked_at = looked_at.into_iter().flatten().chain(scheme.keys.as_ref().map(|rule| &rule.url)).chain(scheme.allow.values());
        looked_at.for_each(|template| template.ask(&mut selector));
        let signs_the_secret = scheme.signs_the_secret();
        let secrets = secrets.to_vec();
        let Expected { base, allow, access } = expected;
        Ok(Self { scheme, keys, secrets, base, allow, access, selector, signs_the_secret })
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

    /// Whether it could verify with another secret.
    ///
    /// # Errors
    /// What is wrong with the secret, without it.
    pub(crate) fn takes(&self, secret: &Secret) -> Result<(), String> {
        Key::new(&self.scheme, secret).map(drop)
    }

    /// The same secrets under another reading of times.
    pub(super) fn with(&self, scheme: Scheme) -> Self {
        Self { scheme, ..self.clone() }
    }

    /// The same, called by another address.
    pub(super) fn called(&self, base: &str) -> Self {
        Self { base: base.to_owned(), ..self.clone() }
    }

    /// Another scheme with other secrets, if they go together.
    pub(super) fn remade(&self, scheme: Scheme, secrets: &[Secret]) -> Option<Self> {
        let expected = Expected { base: self.base.clone(), allow: self.allow.clone(), access: self.access.clone() };
        (!secrets.is_empty()).then(|| Self::new(scheme, secrets, expected).ok()).flatten()
    }

    /// When a request says that it was signed, in microseconds since the Unix epoch; nothing vouches for it before it is verified.
    pub(crate) fn signed_at(&self, request: Incoming<'_>) -> Option<u64> {
        let rule = self.scheme.timestamp.as_ref()?;
        let selected = self.select(request.body);
        let view = View::new(request, &self.base, &self.selector, &selected);
        let placed = self.placed(&view).ok()?;
        let signatures = self.signatures(request.headers, placed.as_deref()).ok();
        let view = View { signatures: signatures.as_ref(), ..view };
        micros(rule.unit, &view.text(&rule.at)?)
    }

    /// What nobody may see: the active secrets, as they are configured. None where they are public keys.
    pub(crate) fn secrets(&self) -> &[Secret] {
        if self.scheme.method().is_some() { &[] } else { &self.secrets }
    }

    /// What nobody but the provider may see.
    pub(crate) fn access(&self) -> impl Iterator<Item = &Secret> {
        self.access.values()
    }

    pub(crate) fn first_key(&self) -> Option<&Key> {
        self.keys.first()
    }

    /// Scheme and host as the provider calls them.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// Where the public keys of a request are fetched, for schemes that fetch them. The address may come from the request, but is always
    /// one of those that the scheme pins.
    ///
    /// # Errors
    /// [`Rejection`] when it names none, or one that is not the provider's.
    pub(crate) fn keys_of(&self, request: Incoming<'_>) -> Result<Option<KeysAt>, Rejection> {
        let Some(rule) = &self.scheme.keys else { return Ok(None) };
        let selected = self.select(request.body);
        let view = View::new(request, &self.base, &self.selector, &selected);
        let url = rule.address(&view).ok_or(Rejection::KeyUnknown)?;
        let method = self.scheme.method().ok_or(Rejection::KeyUnknown)?;
        let placed = self.placed(&view)?;
        let signatures = self.signatures(request.headers, placed.as_deref())?;
        let id = match &self.scheme.jwt {
            Some(_) => Token::parse(signatures.first())?.key_id().map(str::to_owned),
            None => None,
        };
        rule.of(url, method, id, &view, &self.access).ok_or(Rejection::KeyUnknown).map(Some)
    }

    /// Verifies a request as it was received. `fetched` are the keys that [`keys_of`](Self::keys_of) asked for; `wall` is the wall time in
    /// microseconds.
    ///
    /// # Errors
    /// [`Rejection`] says why not.
    pub fn verify(&self, request: Incoming<'_>, fetched: Option<&KeySet>, wall: u64) -> Result<(), Rejection> {
        let Some(batch) = self.scheme.batch.as_ref().filter(|batch| batch.signed) else {
            let selected = self.select(request.body);
            return self.verify_one(&View::new(request, &self.base, &self.selector, &selected), fetched, wall);
        };
        let text = str::from_utf8(request.body).map_err(|_| Rejection::SignatureMissing)?;
        let items = batch.items(text).map_err(|_| Rejection::SignatureMissing)?;
        // Nothing signs that there is nothing.
        if items.is_empty() {
            return Err(Rejection::SignatureMissing);
        }
        items.iter().try_for_each(|item| {
            let selected = self.selector.select(item).map_err(|_| Rejection::SignatureMissing)?;
            self.verify_one(&View::new(request, &self.base, &self.selector, &selected), fetched, wall)
        })
    }

    /// What the scheme looks at in the body before it is verified: nothing, in most.
    fn select<'a>(&self, body: &'a [u8]) -> Selected<'a> {
        if self.selector.is_empty() {
            return Selected::default();
        }
        // A body that is no JSON has no fields; whether one was needed is seen where it is missing.
        str::from_utf8(body).ok().and_then(|text| self.selector.select(text).ok()).unwrap_or_default()
    }

    fn verify_one(&self, view: &View<'_>, fetched: Option<&KeySet>, wall: u64) -> Result<(), Rejection> {
        let placed = self.placed(view)?;
        let signatures = self.signatures(view.request.headers, placed.as_deref())?;
        let view = View { signatures: Some(&signatures), ..*view };
        let claims = match &self.scheme.jwt {
            Some(rule) => {
                let keys: Vec<&KeySet> = self.keys.iter().filter_map(Key::public).chain(fetched).collect();
                Some(Token::parse(signatures.first())?.verify(rule, &keys, wall)?)
            }
            None => {
                self.verify_signature(&view, &signatures, fetched, wall)?;
                None
            }
        };
        let view = View { claims: claims.as_ref(), ..view };
        self.check_body_hash(&view)?;
        if let Some(rule) = &self.scheme.timestamp {
            check_time(rule, view.text(&rule.at), wall)?;
        }
        self.check_allowed(&view)
    }

    /// The signature of a scheme that has it elsewhere than in a header.
    fn placed<'a>(&'a self, view: &View<'a>) -> Result<Option<Cow<'a, str>>, Rejection> {
        self.scheme.signature.at.as_ref().map(|at| view.text(at).ok_or(Rejection::SignatureMissing)).transpose()
    }

    fn signatures<'a>(&self, headers: &'a HeaderMap, placed: Option<&'a str>) -> Result<Signatures<'a>, Rejection> {
        let rule = &self.scheme.signature;
        let mut signatures = Signatures::default();
        if let Some(text) = placed {
            signatures.add(rule, text)?;
        }
        for name in &rule.header {
            let mut values = headers.get_all(name).iter();
            let Some(value) = values.next() else { continue };
            if values.next().is_some() {
                return Err(Rejection::SignatureRepeated);
            }
            signatures.add(rule, value.to_str().map_err(|_| Rejection::SignatureGrammar)?)?;
        }
        if signatures.candidates.is_empty() { Err(Rejection::SignatureMissing) } else { Ok(signatures) }
    }

    fn verify_signature(&self, view: &View<'_>, signatures: &Signatures<'_>, fetched: Option<&KeySet>, wall: u64) -> Result<(), Rejection> {
        let candidates: Vec<Vec<u8>> = signatures.candidates.iter().filter_map(|candidate| mac::decode(&self.scheme, candidate)).collect();
        if candidates.is_empty() {
            return Err(Rejection::SignatureEncoding);
        }
        let content = |key| View { key, ..*view }.pieces(&self.scheme.signed).ok_or(Rejection::SignedPartMissing);
        let elsewhere = |content: &[Cow<'_, [u8]>]| match (fetched, self.scheme.method()) {
            (Some(keys), Some(method)) => mac::verify_public(keys, method, content, &candidates, wall),
            _ => Choice::from(0),
        };
        let mut verified = Choice::from(0);
        if self.signs_the_secret {
            for key in &self.keys {
                let content = content(Some(key))?;
                verified |= key.verifies(&content, &candidates, wall) | elsewhere(&content);
            }
        } else {
            let content = content(None)?;
            self.keys.iter().for_each(|key| verified |= key.verifies(&content, &candidates, wall));
            verified |= elsewhere(&content);
        }
        if bool::from(verified) { Ok(()) } else { Err(Rejection::SignatureWrong) }
    }

    /// A form whose fields are signed needs no hash: everything that is read of it is in them.
    fn check_body_hash(&self, view: &View<'_>) -> Result<(), Rejection> {
        let Some(at) = &self.scheme.body_hash else { return Ok(()) };
        if view.is_form() && self.scheme.signed.parts().any(|part| *part == Part::Form) {
            return Ok(());
        }
        let said = view.text(at).ok_or(Rejection::SignedPartMissing)?;
        if mac::is_hash_of(&said, view.request.body) { Ok(()) } else { Err(Rejection::BodyHashWrong) }
    }

    fn check_allowed(&self, view: &View<'_>) -> Result<(), Rejection> {
        let is_allowed = |(name, template): (&String, &Template)| {
            let text = view.text(template)?;
            self.allow.get(name).filter(|allowed| allowed.iter().any(|allowed| *allowed == *text))
        };
        if self.scheme.allow.iter().all(|rule| is_allowed(rule).is_some()) { Ok(()) } else { Err(Rejection::NotAllowed) }
    }
}

fn check_time(rule: &TimestampRule, text: Option<Cow<'_, str>>, wall: u64) -> Result<(), Rejection> {
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
