//! A scheme the other way round: signing samples, as the provider would.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::{
    engine::Verifier,
    mac,
    scheme::{Scheme, TimeUnit},
};
use crate::ingress::template::{Part, Template, one_header};

/// Why a sample could not be signed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleProblem {
    /// There is no secret to sign with.
    #[error("the source has no secret to sign with")]
    NoSecret,
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

impl Verifier {
    /// The headers that make a body a verified webhook, signed with the first secret: those given, the signature, the signed time, and
    /// the delivery id and the event type where the scheme has them in a header. `wall` is the wall time in microseconds.
    ///
    /// A time inside the body is not set: the body is taken as it is.
    ///
    /// # Errors
    /// [`SampleProblem`] says what is missing.
    pub fn sign(
        &self,
        mut headers: HeaderMap,
        body: &[u8],
        delivery_id: &str,
        event_type: Option<&str>,
        wall: u64,
    ) -> Result<HeaderMap, SampleProblem> {
        let scheme = self.scheme();
        let time = scheme.timestamp.as_ref().map(|rule| (&rule.at, time_text(rule.unit, wall)));
        if let Some((Part::Header(name), text)) = time.as_ref().and_then(|(at, text)| Some((at.0.first()?, text))) {
            set(&mut headers, name, text)?;
        }
        if let Some(name) = scheme.delivery_id.as_ref().and_then(only_header) {
            set(&mut headers, name, delivery_id)?;
        }
        if let Some(name) = scheme.event_type.first().and_then(only_header) {
            // A later part comes from the payload: `issues.opened` is sent as `issues`.
            let first = event_type.map(|text| if scheme.event_type.len() > 1 { text.split('.').next().unwrap_or(text) } else { text });
            match first {
                Some(text) => set(&mut headers, name, text)?,
                None if headers.contains_key(name) => {}
                None => return Err(SampleProblem::Missing { part: format!("the event type (header {name})") }),
            }
        }
        let signature = self.signature(scheme, &headers, body, time.as_ref().map(|(_, text)| text.as_str()))?;
        set(&mut headers, &scheme.signature.header, &signature)?;
        Ok(headers)
    }

    fn signature(&self, scheme: &Scheme, headers: &HeaderMap, body: &[u8], time: Option<&str>) -> Result<String, SampleProblem> {
        let key = self.first_key().ok_or(SampleProblem::NoSecret)?;
        let mut items = Vec::new();
        let mut content: Vec<&[u8]> = Vec::new();
        for part in &scheme.signed.0 {
            let missing = || SampleProblem::Missing { part: part.to_string() };
            content.push(match part {
                Part::Literal(text) => text.as_bytes(),
                Part::Body => body,
                Part::Header(name) => one_header(headers, name).ok_or_else(missing)?.as_bytes(),
                // The one item beside the signature that a scheme can sign is its time.
                Part::Signature(name) => {
                    let text = time.ok_or_else(missing)?;
                    items.push((name, text));
                    text.as_bytes()
                }
                Part::Pointer(_) | Part::FirstOf(_) => return Err(missing()),
            });
        }
        let rule = &scheme.signature;
        let signature = format!("{}{}", rule.prefix, mac::encode(scheme, &key.sign(&content)));
        let Some(list) = &rule.list else { return Ok(signature) };
        let mut text: String = items.iter().map(|(name, value)| format!("{name}{}{value}{}", list.assign, list.separator)).collect();
        text.push_str(&format!("{}{}{signature}", list.key, list.assign));
        Ok(text)
    }
}

fn only_header(template: &Template) -> Option<&HeaderName> {
    match &*template.0 {
        [Part::Header(name)] => Some(name),
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
