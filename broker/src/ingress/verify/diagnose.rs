//! Why a webhook is not verified, found by computation: what would have to be otherwise for its signature to fit.
//!
//! Constraints:
//! - It verifies as the edge does, with the same engine; each guess changes one thing and is verified again. What it names has been
//!   shown: with that one change, the signature fits.
//! - The time is looked at last, by itself: a signature that is too old still says whose it is.
//! - It is for operators: a sender is never told (`webhook`).

use std::{borrow::Cow, fmt};

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{CONTENT_TYPE, HOST},
};

use super::{
    Incoming, KeySet, Rejection, Verifier,
    scheme::{Algorithm, Encoding, KeyEncoding, Scheme},
};
use crate::{
    config::{Secret, Span},
    ingress::rewrite,
};

/// What is wrong with a webhook that is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The signature fits; the time that was signed is this many seconds before (or, below zero, after) the request's.
    ClockSkew(i64),
    /// The signature stands under another header.
    HeaderName {
        /// Where it is.
        found: String,
        /// Where the scheme looks.
        due: String,
    },
    /// The signature header is there several times, with one of which it fits.
    HeaderRepeated,
    /// What stands before the signature is missing.
    PrefixMissing(String),
    /// Something stands before the signature which the scheme does not have.
    PrefixUnexpected(String),
    /// The signature is written in hexadecimal where base64 is due.
    HexForBase64,
    /// The signature is written in base64 where hexadecimal is due.
    Base64ForHex,
    /// The signature is in the alphabet of base64 for addresses.
    UrlSafeBase64,
    /// It was made with another algorithm of the same kind.
    Algorithm(&'static str),
    /// The secret is meant to be decoded otherwise.
    KeyEncoding(&'static str),
    /// There are spaces or a line break around the secret as it is configured.
    SecretPadded,
    /// It is the signature of another source's secret.
    SecretOf(String),
    /// The body was changed on its way; how.
    Body(&'static str),
    /// The content type says another thing of the body than the provider did.
    ContentType(&'static str),
    /// The provider called another address than `public_base_url` and the path say.
    Url(String),
    /// Something that stands in the request, and need not be guessed.
    Plain(&'static str),
    /// None of what was tried makes it fit.
    Unknown,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ClockSkew(seconds) if *seconds >= 0 => {
                write!(
                    f,
                    "clock skew: the signature fits, but it was signed {seconds} s before the request came; check the clocks, or it was kept back or replayed"
                )
            }
            Self::ClockSkew(seconds) => {
                write!(
                    f,
                    "clock skew: the signature fits, but it was signed {} s after the request came; a clock is wrong",
                    seconds.unsigned_abs()
                )
            }
            Self::HeaderName { found, due } => write!(f, "wrong header: the signature is in {found}, and the scheme looks in {due}"),
            Self::HeaderRepeated => {
                f.write_str("the signature header is there several times, one of which fits: something on the way adds it again")
            }
            Self::PrefixMissing(prefix) => write!(f, "prefix missing: {prefix:?} is due before the signature"),
            Self::PrefixUnexpected(prefix) => {
                write!(f, "unexpected prefix: {prefix:?} stands before the signature, and the scheme has none")
            }
            Self::HexForBase64 => f.write_str("hex where base64 is due: the signature fits, written otherwise"),
            Self::Base64ForHex => f.write_str("base64 where hex is due: the signature fits, written otherwise"),
            Self::UrlSafeBase64 => f.write_str("base64 for addresses (- and _) where the usual one (+ and /) is due"),
            Self::Algorithm(name) => write!(f, "another algorithm: it was made with {name}"),
            Self::KeyEncoding(how) => write!(f, "the secret is to be taken otherwise: it fits {how}"),
            Self::SecretPadded => f.write_str("the secret has a space or a line break at its end, here or at the provider"),
            Self::SecretOf(source) => write!(f, "wrong secret: it fits the secret of the source {source}"),
            Self::Body(how) => write!(f, "body changed: {how}"),
            Self::ContentType(how) => write!(f, "content type: {how}"),
            Self::Url(url) => write!(f, "URL mismatch: the provider signed {url}; public_base_url and the path must give that"),
            Self::Plain(what) => f.write_str(what),
            Self::Unknown => {
                f.write_str("wrong secret, or a body or address that is not the one that was signed: nothing that was tried makes it fit")
            }
        }
    }
}

/// What is known beside the request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Around<'a> {
    /// The provider's keys, for schemes that fetch them.
    pub fetched: Option<&'a KeySet>,
    /// Other sources, by name.
    pub others: &'a [(&'a str, &'a Verifier)],
}

/// A request that can be changed.
#[derive(Clone)]
struct Guess<'a> {
    target: Cow<'a, Uri>,
    headers: Cow<'a, HeaderMap>,
    body: Cow<'a, [u8]>,
}

struct Trial<'a> {
    request: Incoming<'a>,
    fetched: Option<&'a KeySet>,
    /// The verifier, for which no time is too old.
    verifier: Verifier,
    wall: u64,
}

/// Verifies a request as the edge would at a time, and says what is wrong if it does not verify.
///
/// # Errors
/// Why it was refused, and what would have to be otherwise.
pub fn diagnose(verifier: &Verifier, request: Incoming<'_>, wall: u64, around: Around<'_>) -> Result<(), (Rejection, Fault)> {
    let rejection = match verifier.verify(request, around.fetched, wall) {
        Ok(()) => return Ok(()),
        Err(rejection) => rejection,
    };
    let trial = Trial { request, fetched: around.fetched, verifier: verifier.with(timeless(verifier.scheme())), wall };
    Err((rejection, trial.fault(verifier, around.others).unwrap_or_else(|| plain(rejection))))
}

/// What a rejection says by itself.
fn plain(rejection: Rejection) -> Fault {
    match rejection {
        Rejection::SignatureWrong => Fault::Unknown,
        Rejection::SignatureMissing => Fault::Plain("there is no signature where the scheme has it"),
        Rejection::SignatureRepeated => Fault::Plain("the signature header is there several times, and none of them fits"),
        Rejection::SignatureEmpty => Fault::Plain("the signature is empty"),
        Rejection::SignatureGrammar => {
            Fault::Plain("the signature is not written as the scheme has it: a prefix, or an item of a list, is missing")
        }
        Rejection::SignatureEncoding => Fault::Plain("the signature is neither hexadecimal nor base64, as the scheme has it"),
        Rejection::SignedPartMissing => {
            Fault::Plain("something that is signed with the body is missing, or there twice: a header or a parameter")
        }
        Rejection::BodyHashWrong => Fault::Plain("body changed: it is not the one whose hash was signed"),
        Rejection::TimestampMalformed => Fault::Plain("the signed time is missing, or not written as the scheme has it"),
        Rejection::TimestampOld => Fault::Plain("clock skew: the token was over when the request came"),
        Rejection::TimestampAhead => Fault::Plain("clock skew: the token had not begun when the request came"),
        Rejection::KeyUnknown => {
            Fault::Plain("it was made with a key that the provider does not have, or names one at an address that is not the provider's")
        }
        Rejection::NotAllowed => Fault::Plain("it is signed, but for somebody else: what the source lists under allow is not in it"),
    }
}

/// The same scheme, in which no time is too old.
fn timeless(scheme: &Scheme) -> Scheme {
    let mut scheme = scheme.clone();
    if let Some(rule) = &mut scheme.timestamp {
        rule.tolerance = Span::from_millis(1_000 * 366 * 86_400_000);
    }
    scheme
}

impl Trial<'_> {
    fn fault(&self, original: &Verifier, others: &[(&str, &Verifier)]) -> Option<Fault> {
        let as_it_is = self.guess();
        if self.fits(&self.verifier, &as_it_is) {
            return original.signed_at(self.request).map(|signed| {
                let micros = i128::from(self.wall) - i128::from(signed);
                Fault::ClockSkew(i64::try_from(micros / 1_000_000).unwrap_or(i64::MAX))
            });
        }
        let guesses = self.header().or_else(|| self.body()).or_else(|| self.url());
        guesses.or_else(|| self.secret()).or_else(|| self.other(others))
    }

    fn guess(&self) -> Guess<'_> {
        let Incoming { target, headers, body, .. } = self.request;
        Guess { target: Cow::Borrowed(target), headers: Cow::Borrowed(headers), body: Cow::Borrowed(body) }
    }

    fn fits(&self, verifier: &Verifier, guess: &Guess<'_>) -> bool {
        let request = Incoming { method: self.request.method, target: &guess.target, headers: &guess.headers, body: &guess.body };
        verifier.verify(request, self.fetched, self.wall).is_ok()
    }

    fn fits_with(&self, headers: HeaderMap) -> bool {
        self.fits(&self.verifier, &Guess { headers: Cow::Owned(headers), ..self.guess() })
    }

    /// Where and how the signature is written.
    fn header(&self) -> Option<Fault> {
        let rule = &self.verifier.scheme().signature;
        let due = rule.header.first()?;
        let set = |value: &str| {
            let mut headers = self.request.headers.clone();
            rule.header.iter().for_each(|name| drop(headers.remove(name)));
            headers.insert(due, HeaderValue::from_str(value).ok()?);
            Some(headers)
        };
        let fits = |value: &str| set(value).is_some_and(|headers| self.fits_with(headers));
        let placed = rule.header.iter().flat_map(|name| self.request.headers.get_all(name));
        for value in placed.filter_map(|value| value.to_str().ok()) {
            if let Some(fault) = self.written(value, &fits) {
                return Some(fault);
            }
        }
        for (name, value) in self.request.headers.iter().filter(|(name, _)| !rule.header.contains(name)) {
            let Ok(value) = value.to_str() else { continue };
            let prefixed = format!("{}{value}", rule.prefix);
            let bare = value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("sha256=")).unwrap_or(value);
            if fits(value) || fits(&prefixed) || fits(bare) {
                return Some(Fault::HeaderName { found: name.to_string(), due: due.to_string() });
            }
        }
        None
    }

    /// How the signature that stands where it must is written.
    fn written(&self, value: &str, fits: &dyn Fn(&str) -> bool) -> Option<Fault> {
        let scheme = self.verifier.scheme();
        let rule = &scheme.signature;
        if fits(value) {
            return Some(Fault::HeaderRepeated);
        }
        if let Some(list) = &rule.list {
            let whole = format!("{}{}{value}", list.key, list.assign);
            if fits(&whole) {
                return Some(Fault::PrefixMissing(format!("{}{}", list.key, list.assign)));
            }
        } else if !rule.prefix.is_empty() && fits(&format!("{}{value}", rule.prefix)) {
            return Some(Fault::PrefixMissing(rule.prefix.clone()));
        }
        let starts = ["sha256=", "sha1=", "sha512=", "v0=", "v1=", "v1,", "Bearer ", "Basic ", "hmac ", "HMAC ", "HMAC-SHA256 "];
        for start in starts.into_iter().filter(|start| *start != rule.prefix) {
            let Some(bare) = value.strip_prefix(start) else { continue };
            if fits(&format!("{}{bare}", rule.prefix)) {
                return Some(Fault::PrefixUnexpected(start.to_owned()));
            }
        }
        if !scheme.algorithm.signs() {
            return None;
        }
        let other = match rule.encoding {
            Encoding::Hex => (Fault::Base64ForHex, rewrite::base64_to_hex as fn(&str) -> Option<String>),
            Encoding::Base64 => (Fault::HexForBase64, rewrite::hex_to_base64 as fn(&str) -> Option<String>),
        };
        for (fault, convert) in [other, (Fault::UrlSafeBase64, rewrite::usual_base64 as fn(&str) -> Option<String>)] {
            if rewritten(value, scheme, convert).is_some_and(|value| fits(&value)) {
                return Some(fault);
            }
        }
        None
    }

    /// What may have been done to the body.
    fn body(&self) -> Option<Fault> {
        if !self.verifier.scheme().looks_at_the_body() {
            return None;
        }
        for (how, body) in rewrite::bodies(self.request.body) {
            if self.fits(&self.verifier, &Guess { body: Cow::Owned(body), ..self.guess() }) {
                return Some(Fault::Body(how));
            }
        }
        let kinds = [
            ("the body is a form, and the header does not say so", "application/x-www-form-urlencoded"),
            ("the body is JSON, and the header does not say so", "application/json"),
        ];
        for (how, kind) in kinds {
            let mut headers = self.request.headers.clone();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            if self.fits_with(headers) {
                return Some(Fault::ContentType(how));
            }
        }
        None
    }

    /// Which address the provider may have called.
    fn url(&self) -> Option<Fault> {
        if !self.verifier.scheme().signs_the_url() {
            return None;
        }
        let text = |name: &str| self.request.headers.get(name).and_then(|value| value.to_str().ok());
        let base = self.verifier.base();
        let configured = base.split_once("://").map_or("", |(_, host)| host);
        let target = self.request.target;
        let hosts = [
            Some(configured),
            text(HOST.as_str()),
            text("x-forwarded-host"),
            text("x-original-host"),
            target.authority().map(|host| host.as_str()),
        ];
        let path = target.path();
        let query = target.query().map(|query| format!("?{query}")).unwrap_or_default();
        let other_slash = path.strip_suffix('/').map_or_else(|| format!("{path}/"), str::to_owned);
        let paths = [format!("{path}{query}"), format!("{other_slash}{query}"), path.to_owned(), other_slash];
        for host in hosts.into_iter().flatten() {
            let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
            for host in [host.to_owned(), bare.to_owned(), format!("{bare}:443"), format!("www.{bare}")] {
                for scheme in ["https", "http"] {
                    let base = format!("{scheme}://{host}");
                    let verifier = self.verifier.called(&base);
                    for path in &paths {
                        let Ok(target) = path.parse::<Uri>() else { continue };
                        if self.fits(&verifier, &Guess { target: Cow::Owned(target), ..self.guess() }) {
                            return Some(Fault::Url(format!("{base}{path}")));
                        }
                    }
                }
            }
        }
        None
    }

    /// How the secret may be meant, and what may have been computed with it.
    fn secret(&self) -> Option<Fault> {
        let scheme = self.verifier.scheme();
        let secrets = self.verifier.secrets();
        let fits = |scheme: Scheme, secrets: &[Secret]| {
            let verifier = self.verifier.remade(scheme, secrets)?;
            self.fits(&verifier, &self.guess()).then_some(())
        };
        let macs = [(Algorithm::HmacSha1, "HMAC-SHA1"), (Algorithm::HmacSha256, "HMAC-SHA256"), (Algorithm::HmacSha512, "HMAC-SHA512")];
        if macs.iter().any(|(algorithm, _)| *algorithm == scheme.algorithm) {
            for (algorithm, name) in macs.into_iter().filter(|(algorithm, _)| *algorithm != scheme.algorithm) {
                if fits(Scheme { algorithm, ..scheme.clone() }, secrets).is_some() {
                    return Some(Fault::Algorithm(name));
                }
            }
        }
        if !scheme.algorithm.signs() {
            return None;
        }
        let ways =
            [(KeyEncoding::Utf8, "as it is written"), (KeyEncoding::Hex, "decoded from hex"), (KeyEncoding::Base64, "decoded from base64")];
        for (key, how) in ways {
            for key_prefix in [scheme.key_prefix.clone(), String::new(), "whsec_".to_owned()] {
                let is_other = key != scheme.key || key_prefix != scheme.key_prefix;
                if is_other && fits(Scheme { key, key_prefix: key_prefix.clone(), ..scheme.clone() }, secrets).is_some() {
                    return Some(Fault::KeyEncoding(if key == scheme.key {
                        "with or without what stands before it (whsec_)"
                    } else {
                        how
                    }));
                }
            }
        }
        for change in [
            |text: &str| text.trim().to_owned(),
            |text: &str| format!("{text}\n"),
            |text: &str| format!("{text}\r\n"),
            |text: &str| format!("{text} "),
        ] {
            let padded: Vec<Secret> =
                secrets.iter().filter_map(|secret| Some(Secret::new(change(str::from_utf8(secret.expose()).ok()?)))).collect();
            if fits(scheme.clone(), &padded).is_some() {
                return Some(Fault::SecretPadded);
            }
        }
        None
    }

    /// Whose secret it may be.
    fn other(&self, others: &[(&str, &Verifier)]) -> Option<Fault> {
        others.iter().find_map(|(name, other)| {
            let verifier = self.verifier.remade(self.verifier.scheme().clone(), other.secrets())?;
            self.fits(&verifier, &self.guess()).then(|| Fault::SecretOf((*name).to_owned()))
        })
    }
}

/// A signature header with every signature in it written otherwise.
fn rewritten(value: &str, scheme: &Scheme, convert: fn(&str) -> Option<String>) -> Option<String> {
    let rule = &scheme.signature;
    let Some(list) = &rule.list else {
        return Some(format!("{}{}", rule.prefix, convert(value.trim().strip_prefix(&*rule.prefix)?)?));
    };
    let items = value.split(list.separator).map(|item| match item.split_once(list.assign) {
        Some((name, signature)) if name.trim() == list.key => {
            let plain = signature.strip_prefix(&*rule.prefix).unwrap_or(signature);
            convert(plain).map_or_else(|| item.to_owned(), |converted| format!("{name}{}{}{converted}", list.assign, rule.prefix))
        }
        _ => item.to_owned(),
    });
    Some(items.collect::<Vec<_>>().join(&list.separator.to_string()))
}
