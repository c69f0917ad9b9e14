//! Public keys that a provider publishes: where they are asked for, with what, and how an answer is read.
//!
//! Constraints:
//! - Only addresses that a scheme pins are asked. What a source shows the provider (an API key) goes there and nowhere else, and is in no log or
//!   `Debug`.
//! - An answer of another form is no key, and says why.

use std::collections::{BTreeMap, BTreeSet};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request,
    header::{ACCEPT, CONTENT_TYPE},
};
use serde::{Deserialize, Deserializer, de::Error};

use super::{
    public::{KeySet, Method},
    rules::{JsonTemplate, UrlPattern, headers, pinned},
    view::View,
};
use crate::{
    config::Secret,
    ingress::{
        decode::{Pointer, PointerError, Selector},
        template::{Part, Template},
    },
};

/// Where a provider's public keys are fetched.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeysRule {
    /// The address, or where it stands in the webhook.
    pub url: Template,
    /// What an address from a webhook may be. Nothing else is ever asked.
    #[serde(default)]
    pub pinned: Vec<UrlPattern>,
    /// Headers to ask with, such as `Bearer {access:api_key}`.
    #[serde(default, deserialize_with = "headers")]
    pub headers: Vec<(HeaderName, Template)>,
    /// What is posted there, as JSON. None: it is only asked for.
    #[serde(default)]
    pub post: Option<JsonTemplate>,
    /// How they are written.
    pub format: KeyFormat,
    /// Where they stand in an answer of JSON. None: they are the answer.
    #[serde(default, deserialize_with = "pointer")]
    pub at: Option<Pointer>,
    /// Where an answer of JSON says since when the key holds no longer.
    #[serde(default, deserialize_with = "pointer")]
    pub ended: Option<Pointer>,
}

/// How fetched keys are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyFormat {
    /// A JSON Web Key, or a set of them.
    Jwks,
    /// Certificates or keys.
    Pem,
    /// One key with its kind (SubjectPublicKeyInfo, in DER), in base64.
    Spki,
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pointer>, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error: PointerError| D::Error::custom(error))
}

impl KeysRule {
    /// What a request asks for, and with what.
    fn templates(&self) -> impl Iterator<Item = &Template> {
        self.headers.iter().map(|(_, template)| template).chain(self.post.iter().flat_map(JsonTemplate::templates))
    }

    /// What a source must be able to show, by name.
    pub(crate) fn access(&self) -> BTreeSet<&str> {
        let parts = self.templates().flat_map(Template::parts);
        parts.filter_map(|part| if let Part::Access(name) = part { Some(name.as_str()) } else { None }).collect()
    }

    /// What cannot be asked with.
    pub(super) fn odd_part(&self) -> Option<&Part> {
        let usable = |part: &&Part| matches!(part, Part::Literal(_) | Part::Header(_) | Part::KeyId | Part::Access(_));
        self.templates().flat_map(Template::parts).find(|part| !usable(part))
    }

    /// The address that a webhook names, if it is one of those that may be asked.
    pub(super) fn address(&self, view: &View<'_>) -> Option<String> {
        pinned(&self.url, &self.pinned, view)
    }

    /// The keys at an address; `None` if a request lacks what they are asked for with.
    pub(super) fn of(
        &self,
        url: String,
        method: Method,
        id: Option<String>,
        view: &View<'_>,
        access: &BTreeMap<String, Secret>,
    ) -> Option<KeysAt> {
        let view = View { key_id: id.as_deref(), access: Some(access), ..*view };
        let mut shown = HeaderMap::new();
        for (name, template) in &self.headers {
            let mut value = HeaderValue::from_str(&view.text(template)?).ok()?;
            value.set_sensitive(true);
            shown.insert(name, value);
        }
        let post = match &self.post {
            Some(json) => Some(Secret::new(json.fill(&view)?.to_string())),
            None => None,
        };
        Some(KeysAt { url, headers: shown, post, reading: self.reading(method), id })
    }

    /// How its answers are read.
    pub(crate) fn reading(&self, method: Method) -> Reading {
        Reading { format: self.format, at: self.at.clone(), ended: self.ended.clone(), method }
    }
}

/// Public keys to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct KeysAt {
    pub(crate) url: String,
    headers: HeaderMap,
    post: Option<Secret>,
    pub(crate) reading: Reading,
    /// The key of these that is needed, if the request names it.
    pub(crate) id: Option<String>,
}

impl KeysAt {
    /// By what they are remembered: where one is asked for by its id, by that as well.
    pub(crate) fn name(&self) -> String {
        match (&self.post, &self.id) {
            (Some(_), Some(id)) => format!("{} {id}", self.url),
            _ => self.url.clone(),
        }
    }

    /// Whether something of the source's is shown for them.
    pub(crate) fn takes_access(&self) -> bool {
        self.post.is_some() || !self.headers.is_empty()
    }

    /// What is sent for them; `None` if it is no request.
    pub(crate) fn request(&self) -> Option<Request<Bytes>> {
        let (mut request, body) = match &self.post {
            Some(json) => (Request::post(&self.url).header(CONTENT_TYPE, "application/json"), Bytes::copy_from_slice(json.expose())),
            None => (Request::get(&self.url), Bytes::new()),
        };
        if self.takes_access() {
            request = request.header(ACCEPT, "application/json");
        }
        request.headers_mut()?.extend(self.headers.clone());
        request.body(body).ok()
    }

    /// That are there for everybody.
    #[cfg(test)]
    pub(crate) fn open(url: String, format: KeyFormat, id: Option<&str>) -> Self {
        let reading = Reading { format, at: None, ended: None, method: Method::RsaSha256 };
        Self { url, headers: HeaderMap::new(), post: None, reading, id: id.map(str::to_owned) }
    }
}

/// How an answer is read.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    format: KeyFormat,
    at: Option<Pointer>,
    ended: Option<Pointer>,
    method: Method,
}

impl Reading {
    /// The keys of an answer; `None` if it says that they hold no longer.
    ///
    /// # Errors
    /// Why there are none, for people.
    pub(crate) fn read(&self, answer: &[u8]) -> Result<Option<KeySet>, String> {
        if self.at.is_none() && self.ended.is_none() {
            return self.keys(answer).map(Some);
        }
        let mut selector = Selector::default();
        let at = selector.add(self.at.as_ref().unwrap_or(&Pointer::default()));
        let ended = self.ended.as_ref().map(|pointer| selector.add(pointer));
        let text = str::from_utf8(answer).map_err(|_| "the answer is not text".to_owned())?;
        let selected = selector.select(text).map_err(|error| format!("the answer is not JSON: {error}"))?;
        if ended.is_some_and(|slot| selected.text(slot).is_some()) {
            return Ok(None);
        }
        let found = match self.format {
            KeyFormat::Jwks => selected.json(at).map(Into::into),
            KeyFormat::Pem | KeyFormat::Spki => selected.text(at),
        };
        let found = found.ok_or_else(|| format!("the answer has no key at {}", self.at.clone().unwrap_or_default()))?;
        self.keys(found.as_bytes()).map(Some)
    }

    fn keys(&self, written: &[u8]) -> Result<KeySet, String> {
        match self.format {
            KeyFormat::Jwks => KeySet::of_jwks(written),
            KeyFormat::Pem => KeySet::of_pem(written),
            KeyFormat::Spki => {
                let decoded = STANDARD.decode(written.trim_ascii()).map_err(|_| "is not base64".to_owned())?;
                KeySet::of_bytes(self.method, &decoded)
            }
        }
    }
}
