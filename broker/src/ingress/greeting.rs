//! Requests that only want to see that somebody is there, and what is answered to them.
//!
//! Constraints: which they are is said by the scheme; what is answered to whoever asks gives nothing away that the sender did not have.

use http::{
    HeaderName, HeaderValue, Method, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, X_CONTENT_TYPE_OPTIONS},
};

use super::{
    decode::{Selected, Selector},
    verify::{HandshakeRule, Incoming, Rejection, Reply, Verifier, View, equal},
};
use crate::config::Secret;

/// The handshakes of a source.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greetings {
    pub(crate) rules: Vec<HandshakeRule>,
    /// What the source and its provider agreed on for them.
    pub(crate) token: Option<Secret>,
    /// The pointers that they look at.
    pub(crate) selector: Selector,
}

/// A request that is answered and becomes no event.
#[derive(Debug)]
pub(crate) struct Greeting {
    pub(crate) answer: Filled,
    /// What is to be called before it is answered.
    pub(crate) fetch: Option<String>,
    /// A secret that is to be learned first; if it is not, the request is like any other.
    pub(crate) offered: Option<Secret>,
}

/// A reply, filled in.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

impl Greetings {
    /// With these rules; everything that they look at is asked of the selector, too.
    pub(crate) fn new(rules: &[HandshakeRule], token: Option<Secret>) -> Self {
        let mut selector = Selector::default();
        rules.iter().flat_map(HandshakeRule::templates).for_each(|template| template.ask(&mut selector));
        Self { rules: rules.to_vec(), token, selector }
    }

    /// The methods of requests that may be for the source.
    pub(crate) fn methods(&self) -> String {
        let mut methods = vec!["POST"];
        for rule in &self.rules {
            if !methods.contains(&rule.method.as_str()) {
                methods.push(rule.method.as_str());
            }
        }
        methods.join(", ")
    }

    /// The answer to a request of which only the head is known.
    pub(crate) fn at_the_door(&self, request: Incoming<'_>, verifier: Option<&Verifier>) -> Option<Greeting> {
        let rules = self.rules.iter().filter(|rule| rule.is_open() && !rule.needs_the_body());
        self.first(rules, request, verifier, &Selected::default()).ok().flatten()
    }

    /// The answer to a request that is not verified, and may not need to be.
    pub(crate) fn unverified(&self, request: Incoming<'_>, verifier: Option<&Verifier>) -> Option<Greeting> {
        self.by_the_body(|rule| rule.learns.is_none(), request, verifier)
    }

    /// The same of one that could not be verified, and may offer the secret to do so.
    pub(crate) fn offered(&self, request: Incoming<'_>, verifier: Option<&Verifier>) -> Option<Greeting> {
        self.by_the_body(|rule| rule.learns.is_some(), request, verifier)
    }

    fn by_the_body(&self, which: impl Fn(&HandshakeRule) -> bool, request: Incoming<'_>, verifier: Option<&Verifier>) -> Option<Greeting> {
        let mut rules = self.rules.iter().filter(|rule| rule.is_open() && rule.needs_the_body() && which(rule)).peekable();
        rules.peek()?;
        let selected = str::from_utf8(request.body).ok().and_then(|text| self.selector.select(text).ok()).unwrap_or_default();
        self.first(rules, request, verifier, &selected).ok().flatten()
    }

    /// The answer to a verified request with this payload.
    ///
    /// # Errors
    /// When it wants something to be called that is not the provider's.
    pub(crate) fn verified(&self, request: Incoming<'_>, verifier: Option<&Verifier>, json: &str) -> Result<Option<Greeting>, Rejection> {
        let mut rules = self.rules.iter().filter(|rule| !rule.is_open()).peekable();
        if rules.peek().is_none() {
            return Ok(None);
        }
        // A payload that is no JSON is found to be none where it is decoded.
        let selected = self.selector.select(json).unwrap_or_default();
        self.first(rules, request, verifier, &selected)
    }

    fn first<'r>(
        &self,
        mut rules: impl Iterator<Item = &'r HandshakeRule>,
        request: Incoming<'_>,
        verifier: Option<&Verifier>,
        selected: &Selected<'_>,
    ) -> Result<Option<Greeting>, Rejection> {
        let view = View {
            key: verifier.and_then(Verifier::first_key),
            ..View::new(request, verifier.map_or("", Verifier::base), &self.selector, selected)
        };
        rules.find_map(|rule| self.answer(rule, request.method, &view).transpose()).transpose()
    }

    fn answer(&self, rule: &HandshakeRule, method: &Method, view: &View<'_>) -> Result<Option<Greeting>, Rejection> {
        if rule.method != *method {
            return Ok(None);
        }
        let asks = |when| view.text(when).is_some_and(|text| rule.is.as_deref().is_none_or(|is| is == text));
        if !rule.when.as_ref().is_none_or(asks) || !rule.token.as_ref().is_none_or(|at| self.agrees(at, view)) {
            return Ok(None);
        }
        let offered = rule.learns.as_ref().map(|at| view.text(at).map(|text| Secret::new(text.as_bytes())));
        if offered == Some(None) {
            return Ok(None);
        }
        let Some(answer) = rule.reply.fill(view) else { return Ok(None) };
        let fetch = rule.fetch.as_ref().map(|fetch| fetch.address(view).ok_or(Rejection::NotAllowed)).transpose()?;
        Ok(Some(Greeting { answer, fetch, offered: offered.flatten() }))
    }

    fn agrees(&self, at: &super::Template, view: &View<'_>) -> bool {
        let (Some(token), Some(text)) = (&self.token, view.text(at)) else { return false };
        bool::from(equal(token.expose(), text.as_bytes()))
    }
}

impl Reply {
    /// Filled in; `None` when a part is missing, or cannot stand in a header.
    pub(crate) fn fill(&self, view: &View<'_>) -> Option<Filled> {
        let mut headers = HeaderMap::new();
        let body = match (&self.text, &self.json) {
            (Some(text), _) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
                // Whoever is lured into asking gets back what was asked with: it must not run.
                headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
                view.text(text)?.into_owned()
            }
            (None, Some(json)) => {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                json.fill(view)?.to_string()
            }
            (None, None) => String::new(),
        };
        for (name, template) in &self.headers {
            let mut value = HeaderValue::from_str(&view.text(template)?).ok()?;
            // It may be a secret that is echoed.
            value.set_sensitive(true);
            headers.insert(HeaderName::clone(name), value);
        }
        Some(Filled { status: self.status.unwrap_or(StatusCode::OK), headers, body })
    }
}
