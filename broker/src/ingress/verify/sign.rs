//! A scheme the other way round: signing samples, as the provider would.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};

use super::{
    engine::Verifier,
    mac,
    scheme::Scheme,
    signature::TimeUnit,
    view::{Incoming, View},
};
use crate::ingress::{
    decode::{Selected, Selector},
    template::{Part, Template},
};

/// Why a sample could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleProblem {
    /// There is no secret to sign with.
    #[error("the source has no secret to sign with")]
    NoSecret,
    /// Only the provider can sign.
    #[error("the provider signs with a private key, which only it has; have it send a test, or replay what it sent")]
    PrivateKey,
    /// The signature is a part of the body.
    #[error("the signature stands in the body or the address; have the provider send a test, or replay what it sent")]
    NotInAHeader,
    /// A part cannot be made up.
    #[error("{part} must be given: it is signed, or names the event or the delivery")]
    Missing {
        /// The part.
        part: String,
    },
    /// A text cannot stand in a header.
    #[error("{name}: {value:?} cannot be the value of a header")]
    NotAHeader {
        /// The header.
        name: HeaderName,
        /// The text.
        value: String,
    },
}

/// What is to be signed.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    /// Path and query.
    pub target: &'a Uri,
    /// The body, which is taken as it is: a time inside it is not set.
    pub body: &'a [u8],
    /// What the provider would name the delivery by.
    pub delivery_id: &'a str,
    /// The provider's event type, for schemes that have it in a header.
    pub event_type: Option<&'a str>,
    /// The wall time in microseconds.
    pub wall: u64,
}

impl Verifier {
    /// The headers that make a sample a verified webhook, signed with the first secret: those given, the signature, the signed time, and
    /// the delivery id and the event type where the scheme has them in a header.
    ///
    /// # Errors
    /// [`SampleProblem`] says what is missing, or why only the provider can sign.
    pub fn sign(&self, mut headers: HeaderMap, sample: &Sample<'_>) -> Result<HeaderMap, SampleProblem> {
        let scheme = self.scheme();
        if scheme.method().is_some() {
            return Err(SampleProblem::PrivateKey);
        }
        let header = scheme.signature.header.first().ok_or(SampleProblem::NotInAHeader)?;
        let time = scheme.timestamp.as_ref().map(|rule| (&rule.at, time_text(rule.unit, sample.wall)));
        if let Some((Part::Header(name), text)) = time.as_ref().and_then(|(at, text)| Some((at.0.first()?, text))) {
            set(&mut headers, name, text)?;
        }
        if let Some(name) = scheme.delivery_id.as_ref().and_then(only_header) {
            set(&mut headers, name, sample.delivery_id)?;
        }
        if let Some(name) = scheme.event_type.first().and_then(only_header) {
            // A later part comes from the payload: `issues.opened` is sent as `issues`.
            let first =
                sample.event_type.map(|text| if scheme.event_type.len() > 1 { text.split('.').next().unwrap_or(text) } else { text });
            match first {
                Some(text) => set(&mut headers, name, text)?,
                None if headers.contains_key(name) => {}
                None => return Err(SampleProblem::Missing { part: format!("the event type (header {name})") }),
            }
        }
        let signature = self.signature(scheme, &headers, sample, time.as_ref().map(|(_, text)| text.as_str()))?;
        set(&mut headers, header, &signature)?;
        Ok(headers)
    }

    fn signature(&self, scheme: &Scheme, headers: &HeaderMap, sample: &Sample<'_>, time: Option<&str>) -> Result<String, SampleProblem> {
        let key = self.first_key().ok_or(SampleProblem::NoSecret)?;
        let (selector, selected) = (Selector::default(), Selected::default());
        let request = Incoming { method: &Method::POST, target: sample.target, headers, body: sample.body };
        let view = View { key: Some(key), ..View::new(request, self.base(), &selector, &selected) };
        let mut items = Vec::new();
        let mut content: Vec<Cow<'_, [u8]>> = Vec::new();
        for part in &scheme.signed.0 {
            let missing = || SampleProblem::Missing { part: part.to_string() };
            content.push(match part {
                // The one item beside the signature that a scheme can sign is its time.
                Part::Signature(name) => {
                    let text = time.ok_or_else(missing)?;
                    items.push((name, text));
                    Cow::Borrowed(text.as_bytes())
                }
                part => view.piece(part).ok_or_else(missing)?,
            });
        }
        let rule = &scheme.signature;
        let signed = key.sign(&content).ok_or(SampleProblem::PrivateKey)?;
        let signature = format!("{}{}", rule.prefix, mac::encode_for(scheme, &signed));
        let Some(list) = &rule.list else { return Ok(signature) };
        let mut text: String = items.iter().map(|(name, value)| format!("{name}{}{value}{}", list.assign, list.separator)).collect();
        text.push_str(&format!("{}{}{signature}", list.key, list.assign));
        Ok(text)
    }
}

fn only_header(template: &Template) -> Option<&HeaderName> {
    match &*template.0 {
        [Part::Header(name)] => Some(name),
        [Part::FirstOf(parts)] => parts.iter().find_map(|part| if let Part::Header(name) = part { Some(name) } else { None }),
        _ => None,
    }
}

fn set(headers: &mut HeaderMap, name: &HeaderName, text: &str) -> Result<(), SampleProblem> {
    let value = HeaderValue::from_str(text);
    let value = value.map_err(|_| SampleProblem::NotAHeader { name: name.clone(), value: text.to_owned() })?;
    headers.insert(name, value);
    Ok(())
}

fn time_text(unit: TimeUnit, wall: u64) -> String {
    match unit {
        TimeUnit::S => (wall / 1_000_000).to_string(),
        TimeUnit::Ms => (wall / 1_000).to_string(),
        TimeUnit::Rfc3339 => {
            let micros = i64::try_from(wall).unwrap_or(i64::MAX);
            jiff::Timestamp::from_microsecond(micros).unwrap_or(jiff::Timestamp::MAX).to_string()
        }
    }
}
