//! Why a webhook is not verified, found by computation: what would have to be otherwise for its signature to fit.
//!
//! Constraints:
//! - It verifies as the edge does, with the same engine; each guess changes one thing and is verified again. What it names has been
//!   shown: with that one change, the signature fits.
//! - The time is looked at last, by itself: a signature that is too old still says whose it is.
//! - It is for operators: a sender is never told (`webhook`).

mod fault;

use std::borrow::Cow;

use http::{
    HeaderMap, HeaderValue, Uri,
    header::{CONTENT_TYPE, HOST},
};

pub use self::fault::Fault;
use super::{
    Incoming, KeySet, Rejection, Verifier,
    scheme::Scheme,
    signature::{Algorithm, Encoding, KeyEncoding},
};
use crate::{
    config::{Secret, Span},
    ingress::rewrite,
};

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
    Err((rejection, trial.fault(verifier, around.others).unwrap_or_else(|| rejection.into())))
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
