//! What a scheme says beside its signature: tokens, handshakes, batches, answers.
//!
//! Constraint: rules are data, and whatever a rule can do, an operator's own scheme can do.

use std::{collections::BTreeMap, fmt, str::FromStr};

use http::{HeaderName, Method as HttpMethod, StatusCode};
use serde::{Deserialize, Deserializer, de::Error};
use serde_json::{Map, Value, value::RawValue};

use super::{public::Method, view::View};
use crate::ingress::{
    decode::{DecodeError, Pointer, Selector},
    template::{Part, Template},
};

/// What a JSON Web Token must say.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JwtRule {
    /// The one algorithm that is taken.
    pub algorithm: JwtAlgorithm,
    /// Claims that must be there, each with the values that it may have.
    #[serde(default)]
    pub claims: BTreeMap<String, Vec<String>>,
    /// Whether it must say when it ends (`exp`). One that says so is always held to it. Default: true.
    #[serde(default = "yes")]
    pub expires: bool,
}

fn yes() -> bool {
    true
}

/// The algorithm of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub enum JwtAlgorithm {
    /// RSA (PKCS #1) with SHA-256.
    RS256,
    /// ECDSA with P-256 and SHA-256.
    ES256,
}

impl JwtAlgorithm {
    pub(super) fn method(self) -> Method {
        match self {
            Self::RS256 => Method::RsaSha256,
            Self::ES256 => Method::P256Fixed,
        }
    }

    /// As tokens name it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::ES256 => "ES256",
        }
    }
}

/// The address at a template, if it is one of those that may be asked.
pub(super) fn pinned(url: &Template, pinned: &[UrlPattern], view: &View<'_>) -> Option<String> {
    let is_fixed = url.0.iter().all(|part| matches!(part, Part::Literal(_)));
    let text = view.text(url)?;
    (is_fixed || pinned.iter().any(|pattern| pattern.fits(&text))).then(|| text.into_owned())
}

/// What an address may be: `https://sns.*.amazonaws.com/SimpleNotificationService-*.pem`.
///
/// A `*` in the host stands for letters, digits and hyphens; behind the host, for everything but `/`, `@`, `#`, `\` and white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UrlPattern(String);

impl UrlPattern {
    /// Whether an address is such a one. Host and scheme are compared letter by letter.
    #[must_use]
    pub fn fits(&self, url: &str) -> bool {
        let host = |text: &str| text.match_indices('/').nth(2).map_or(text.len(), |(at, _)| at);
        let (pattern, url) = (self.0.split_at(host(&self.0)), url.split_at(host(url)));
        let in_host = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let behind = |byte: u8| byte.is_ascii_graphic() && !b"/@#\\".contains(&byte);
        glob(pattern.0.as_bytes(), url.0.as_bytes(), &in_host) && glob(pattern.1.as_bytes(), url.1.as_bytes(), &behind)
    }
}

/// Whether a text is what a pattern says, where `*` stands for one or more of the bytes that are allowed.
fn glob(pattern: &[u8], text: &[u8], allowed: &dyn Fn(u8) -> bool) -> bool {
    let Some(star) = pattern.iter().position(|byte| *byte == b'*') else { return pattern == text };
    let Some(text) = text.strip_prefix(&pattern[..star]) else { return false };
    let most = text.iter().position(|byte| !allowed(*byte)).unwrap_or(text.len());
    (1..=most).any(|taken| glob(&pattern[star + 1..], &text[taken..], allowed))
}

impl FromStr for UrlPattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("https://").ok_or_else(|| format!("{text:?} does not begin with https://"))?;
        let host = rest.split('/').next().unwrap_or_default();
        let stars = text.bytes().filter(|byte| *byte == b'*').count();
        let last = host.rsplit('.').take(2).collect::<Vec<_>>();
        if last.len() < 2 || last.iter().any(|label| label.is_empty() || label.contains('*')) || !rest.contains('/') {
            return Err(format!("{text:?} pins no host; write it like https://keys.*.example.com/certs/*"));
        }
        // Each star multiplies the ways to fit.
        if stars > 3 {
            return Err(format!("{text:?} has {stars} times *; at most 3 are allowed"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for UrlPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for UrlPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// How a webhook holds several events.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRule {
    /// The array, as a JSON pointer; empty, the default, for the whole payload. What is no array is one event.
    #[serde(default = "whole", deserialize_with = "pointer")]
    pub at: Pointer,
    /// Whether every item is signed on its own: then `signature`, `signed` and `allow` look into the item. Delivery id, event type and
    /// the like always do.
    #[serde(default)]
    pub signed: bool,
}

impl BatchRule {
    /// The items of a payload, each as it was sent.
    ///
    /// # Errors
    /// When the payload is not JSON.
    pub(crate) fn items<'a>(&self, json: &'a str) -> Result<Vec<&'a str>, DecodeError> {
        let mut selector = Selector::default();
        let slot = selector.add(&self.at);
        let Some(array) = selector.select(json)?.json(slot) else { return Ok(vec![json]) };
        match serde_json::from_str::<Vec<&RawValue>>(array) {
            Ok(items) => Ok(items.into_iter().map(RawValue::get).collect()),
            Err(_) => Ok(vec![json]),
        }
    }
}

fn whole() -> Pointer {
    Pointer::default()
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pointer, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// A request that is answered and becomes no event.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HandshakeRule {
    /// Its method. Default: `POST`.
    #[serde(default = "post", deserialize_with = "method")]
    pub method: HttpMethod,
    /// Whether it is answered without a signature. Those of other methods than POST always are.
    #[serde(default)]
    pub open: bool,
    /// What must be there.
    #[serde(default)]
    pub when: Option<Template>,
    /// What that must be; none: whatever it is.
    #[serde(default)]
    pub is: Option<String>,
    /// What must be the source's `handshake_token`.
    #[serde(default)]
    pub token: Option<Template>,
    /// Where the provider gives its secret. Heeded only while the source's pairing is open: it is then kept in the source's file.
    #[serde(default)]
    pub learns: Option<Template>,
    /// An address that is to be called first.
    #[serde(default)]
    pub fetch: Option<FetchRule>,
    /// What is answered. Default: 200, and nothing.
    #[serde(default)]
    pub reply: Reply,
}

fn post() -> HttpMethod {
    HttpMethod::POST
}

fn method<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HttpMethod, D::Error> {
    match &*String::deserialize(deserializer)? {
        "GET" => Ok(HttpMethod::GET),
        "HEAD" => Ok(HttpMethod::HEAD),
        "OPTIONS" => Ok(HttpMethod::OPTIONS),
        "POST" => Ok(HttpMethod::POST),
        other => Err(D::Error::custom(format!("{other:?} is not a method of a handshake: use GET, HEAD, OPTIONS or POST"))),
    }
}

impl HandshakeRule {
    /// Whether it is answered without a signature.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.open || self.method != HttpMethod::POST || self.learns.is_some()
    }

    /// Whether it can be told by the head alone.
    #[must_use]
    pub fn needs_the_body(&self) -> bool {
        self.templates().any(|template| template.parts().any(|part| matches!(part, Part::Pointer(_) | Part::FormField(_))))
    }

    /// Everything that is looked at or filled in.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &Template> {
        let own = [&self.when, &self.token, &self.learns].into_iter().flatten();
        own.chain(self.fetch.iter().map(|fetch| &fetch.url)).chain(self.reply.templates())
    }
}

/// An address that is called to confirm something.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FetchRule {
    /// Where the address stands.
    pub url: Template,
    /// What it may be. Nothing else is ever called.
    pub pinned: Vec<UrlPattern>,
}

impl FetchRule {
    /// The address that a webhook names, if it is one of those that may be called.
    pub(crate) fn address(&self, view: &View<'_>) -> Option<String> {
        pinned(&self.url, &self.pinned, view)
    }
}

/// An answer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reply {
    /// Default: 200.
    #[serde(default, deserialize_with = "status")]
    pub status: Option<StatusCode>,
    /// As `text/plain`.
    #[serde(default)]
    pub text: Option<Template>,
    /// As JSON; texts in it are templates.
    #[serde(default)]
    pub json: Option<JsonTemplate>,
    /// Headers.
    #[serde(default, deserialize_with = "headers")]
    pub headers: Vec<(HeaderName, Template)>,
}

impl Reply {
    /// Everything that is filled in.
    pub(crate) fn templates(&self) -> Vec<&Template> {
        let json = self.json.iter().flat_map(JsonTemplate::templates);
        self.text.iter().chain(json).chain(self.headers.iter().map(|(_, template)| template)).collect()
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StatusCode>, D::Error> {
    let code = u16::deserialize(deserializer)?;
    let status = StatusCode::from_u16(code).ok().filter(StatusCode::is_success);
    status.map(Some).ok_or_else(|| D::Error::custom(format!("{code} is not a status of success (200 to 299)")))
}

pub(super) fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(HeaderName, Template)>, D::Error> {
    let named = BTreeMap::<String, Template>::deserialize(deserializer)?;
    let parse = |(name, template): (String, Template)| match name.parse() {
        Ok(name) => Ok((name, template)),
        Err(_) => Err(D::Error::custom(format!("{name:?} is not the name of a header"))),
    };
    named.into_iter().map(parse).collect()
}

/// JSON with texts to be filled in.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "expected a text, a whole number, true, false or a table")]
pub enum JsonTemplate {
    /// A text.
    Text(Template),
    /// A number.
    Number(i64),
    /// True or false.
    Flag(bool),
    /// An object.
    Object(BTreeMap<String, JsonTemplate>),
}

impl JsonTemplate {
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Text(template) => vec![template],
            Self::Number(_) | Self::Flag(_) => Vec::new(),
            Self::Object(members) => members.values().flat_map(Self::templates).collect(),
        }
    }

    /// Filled in; `None` when a part is missing.
    pub(crate) fn fill(&self, view: &View<'_>) -> Option<Value> {
        Some(match self {
            Self::Text(template) => Value::String(view.text(template)?.into_owned()),
            Self::Number(number) => Value::from(*number),
            Self::Flag(flag) => Value::Bool(*flag),
            Self::Object(members) => {
                let members = members.iter().map(|(name, member)| Some((name.clone(), member.fill(view)?)));
                Value::Object(members.collect::<Option<Map<_, _>>>()?)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_address_is_pinned_to_its_host() {
        let pattern: UrlPattern = "https://sns.*.amazonaws.com/SimpleNotificationService-*.pem".parse().unwrap();
        assert!(pattern.fits("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a1b.pem"));
        for wrong in [
            "http://sns.us-east-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
            "https://sns.us-east-1.amazonaws.com.evil.example/SimpleNotificationService-0a1b.pem",
            "https://sns.evil.example/x.amazonaws.com/SimpleNotificationService-0a1b.pem",
            "https://sns.a.b.amazonaws.com/SimpleNotificationService-0a1b.pem",
            "https://sns.us-east-1.amazonaws.com:444/SimpleNotificationService-0a1b.pem",
            "https://me@sns.us-east-1.amazonaws.com/SimpleNotificationService-0a1b.pem",
            "https://sns.us-east-1.amazonaws.com/../SimpleNotificationService-0a1b.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a/b.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-a.pem#",
            "https://sns..amazonaws.com/SimpleNotificationService-a.pem",
            "",
        ] {
            assert!(!pattern.fits(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_pattern_that_pins_nothing_is_refused() {
        for wrong in
            ["http://a.example/x", "https://*.com/x", "https://*/x", "https://example/x", "https://a.example.*/", "https://a.example"]
        {
            assert!(wrong.parse::<UrlPattern>().is_err(), "{wrong}");
        }
        assert!("https://a.example/*/*/*/*".parse::<UrlPattern>().unwrap_err().contains("at most 3"));
    }
}
