//! How one source asks its provider: the rule with everything filled in that the source says.
//!
//! Constraints: checked at start ([`PollPlan::new`]); the token is filled in when it is sent, and stands nowhere else.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, header};
use waypost_store::Micros;

use super::{
    Address, PollRule,
    page::Item,
    rule::{SINCE, TOKEN},
};
use crate::{
    config::{Secret, Span},
    ingress::{Identity, IdentityTable, Template, decode::Selector, template::Absent},
};

/// How one source asks its provider.
#[derive(Clone, Debug)]
pub(crate) struct PollPlan {
    pub(super) rule: Arc<PollRule>,
    /// From the end of a round to the next one.
    pub(super) every: Span,
    /// How far back the first round asks.
    pub(super) lookback: Span,
    token: Option<Secret>,
    values: BTreeMap<String, String>,
    identity: Option<ItemIdentity>,
}

/// What tells items apart, where the rule says it.
#[derive(Clone, Debug)]
struct ItemIdentity {
    rule: Identity,
    selector: Selector,
}

impl ItemIdentity {
    fn new(template: &Template) -> Result<Self, String> {
        let mut selector = Selector::default();
        // Another text of the same item is the same item.
        let rule = Identity::compile(&IdentityTable::DeliveryId(template.clone()), 0, &mut selector)?;
        if rule.headers().is_empty() {
            Ok(Self { rule, selector })
        } else {
            Err("looks at a header, which an item does not have".to_owned())
        }
    }
}

impl PollPlan {
    /// Fills a rule in.
    ///
    /// # Errors
    /// Everything that cannot work, as (key of `[sources.NAME.poll]`, problem).
    pub(crate) fn new(
        rule: PollRule,
        every: Span,
        lookback: Span,
        token: Option<Secret>,
        values: BTreeMap<String, String>,
    ) -> Result<Self, Vec<(String, String)>> {
        let mut problems: Vec<_> = rule.problems().into_iter().map(|(key, problem)| (format!("rule.{key}"), problem)).collect();
        let names = rule.names();
        for name in names.iter().filter(|name| ![SINCE, TOKEN].contains(name) && !values.contains_key(**name)) {
            problems.push((format!("values.{name}"), "is missing: the address needs it".to_owned()));
        }
        for name in values.keys().filter(|name| !names.contains(&***name)) {
            problems.push((format!("values.{name}"), "would not be used: the rule has no place of this name".to_owned()));
        }
        match (&token, names.contains(TOKEN)) {
            (None, true) => problems
                .push(("token".to_owned(), "is missing: the provider's API wants one; refer to it, such as \"env:API_TOKEN\"".to_owned())),
            (Some(_), false) => problems.push(("token".to_owned(), "would not be used: the rule has no place for it".to_owned())),
            _ => {}
        }
        let identity = rule.identity.as_ref().map(ItemIdentity::new).transpose();
        let identity = identity.map_err(|problem| problems.push(("rule.identity".to_owned(), problem))).ok().flatten();
        let plan = Self { rule: Arc::new(rule), every, lookback, token, values, identity };
        if problems.is_empty() && plan.first(0).parse::<Uri>().is_err() {
            problems.push(("values".to_owned(), format!("make no address: {}", plan.first(0))));
        }
        if problems.is_empty() && plan.request(Method::GET, "https://x/").is_none() {
            problems.push(("token".to_owned(), "holds something that a header cannot".to_owned()));
        }
        if problems.is_empty() { Ok(plan) } else { Err(problems) }
    }

    /// What nobody may see.
    pub(crate) fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The address of the first page of what happened since a time.
    pub(super) fn first(&self, since: Micros) -> String {
        let since = self.rule.since.text(since);
        self.rule.url.fill(|name| if name == SINCE { Some(&since) } else { self.value(name) }, |_| None).unwrap_or_default()
    }

    /// What tells an item apart, by the rule: `None` where the source says that.
    pub(super) fn id(&self, item: &[u8]) -> Option<Result<String, Absent>> {
        let ItemIdentity { rule, selector } = self.identity.as_ref()?;
        let selected = str::from_utf8(item).ok().and_then(|text| selector.select(text).ok()).unwrap_or_default();
        Some(rule.id(&HeaderMap::new(), &selected, item))
    }

    /// Where a delivery is asked for again; `None` if the item does not say which it is.
    pub(super) fn again(&self, url: &Address, item: &Item) -> Option<String> {
        url.fill(|name| self.value(name), |field| item.field(field))
    }

    /// A request with the headers of the rule; `None` if it cannot be one.
    pub(super) fn request(&self, method: Method, url: &str) -> Option<Request<Bytes>> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method;
        *request.uri_mut() = url.parse().ok()?;
        *request.headers_mut() = self.headers(&self.rule.headers)?;
        let agent = HeaderValue::from_static(concat!("waypost/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().entry(header::USER_AGENT).or_insert(agent);
        Some(request)
    }

    /// The headers with which an item would have come as a webhook.
    pub(super) fn webhook_headers(&self) -> HeaderMap {
        self.headers(&self.rule.webhook_headers).unwrap_or_default()
    }

    fn headers(&self, headers: &[(HeaderName, Address)]) -> Option<HeaderMap> {
        let mut filled = HeaderMap::new();
        for (name, value) in headers {
            let mut text = HeaderValue::try_from(value.fill(|name| self.value(name), |_| None)?).ok()?;
            text.set_sensitive(value.names().any(|name| name == TOKEN));
            filled.insert(name, text);
        }
        Some(filled)
    }

    fn value(&self, name: &str) -> Option<&str> {
        match name {
            TOKEN => str::from_utf8(self.token.as_ref()?.expose()).ok(),
            _ => self.values.get(name).map(|value| &**value),
        }
    }
}
