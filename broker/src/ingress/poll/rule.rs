//! How a provider is asked for what was missed, as data.
//!
//! Constraint: checked at start with the source that uses it, so that what is left can be run without questions.

use std::collections::{BTreeMap, BTreeSet};

use http::HeaderName;
use serde::{Deserialize, Deserializer, de::Error};
use waypost_store::Micros;

use super::address::Address;

use crate::{
    config::Span,
    ingress::{
        Template,
        decode::Pointer,
        words::{Word, word_or_table},
    },
};

/// The place of the time from which on is asked.
pub(super) const SINCE: &str = "since";

/// The place of the provider's token.
pub(super) const TOKEN: &str = "token";

/// How a provider is asked.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollRule {
    /// The address of the first page. Its places are `{since}`, `{token}`, and those that the source fills in under `values`.
    pub url: Address,
    /// What goes with each request.
    #[serde(default, deserialize_with = "headers")]
    pub headers: Vec<(HeaderName, Address)>,
    /// How `{since}` is written. Default: `rfc3339`.
    #[serde(default)]
    pub since: TimeFormat,
    /// The array of items in an answer; empty, the default, for the whole.
    #[serde(default, deserialize_with = "pointer")]
    pub items: Pointer,
    /// When an item happened: RFC 3339, or seconds since the Unix epoch.
    #[serde(deserialize_with = "pointer")]
    pub time: Pointer,
    /// Where it goes on. Default: `none`.
    #[serde(default, deserialize_with = "next")]
    pub next: Next,
    /// How long before the newest item that was seen it is asked again from: what a provider lists late is found. Default: 10 min.
    #[serde(default = "overlap")]
    pub overlap: Span,
    /// The headers with which an item would have come as a webhook.
    #[serde(default, deserialize_with = "headers")]
    pub webhook_headers: Vec<(HeaderName, Address)>,
    /// What tells its items apart, where they lack the delivery id that their webhooks have. What came as a webhook is found in the item's
    /// story (its correlation id): an event whose payload says the same here.
    #[serde(default)]
    pub identity: Option<Template>,
    /// Set where items are deliveries that the provider makes again when it is asked to; otherwise each item is a payload.
    #[serde(default)]
    pub redeliver: Option<Redelivery>,
}

/// How a time is written in an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeFormat {
    /// `2026-04-05T10:30:00Z`.
    #[default]
    Rfc3339,
    /// Seconds since the Unix epoch.
    Unix,
}

impl TimeFormat {
    /// A time, without the parts of a second: what is asked for begins earlier rather than later.
    pub(super) fn text(self, time: Micros) -> String {
        let seconds = time / 1_000_000;
        match self {
            Self::Unix => seconds.to_string(),
            Self::Rfc3339 => jiff::Timestamp::from_second(i64::try_from(seconds).unwrap_or(i64::MAX))
                .map_or_else(|_| String::new(), |time| time.to_string()),
        }
    }
}

/// Where a list goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Next {
    /// There is one page.
    #[default]
    None,
    /// At the `Link` header's `rel="next"` (RFC 8288).
    Link,
    /// At the same address with a cursor in its query.
    Cursor(Cursor),
}

/// A cursor in the query.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// The parameter's name.
    pub query: String,
    /// Where it stands in the answer.
    #[serde(default, deserialize_with = "some_pointer")]
    pub cursor: Option<Pointer>,
    /// Instead: where it stands in the last item.
    #[serde(default, deserialize_with = "some_pointer")]
    pub last_item: Option<Pointer>,
    /// What must be `true` for it to go on, if the answer says.
    #[serde(default, deserialize_with = "some_pointer")]
    pub more: Option<Pointer>,
}

/// How a provider is asked to make a delivery again.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Redelivery {
    /// What the webhook is known by: the identity of its source.
    #[serde(deserialize_with = "pointer")]
    pub id: Pointer,
    /// Where it says how a delivery went.
    #[serde(deserialize_with = "pointer")]
    pub status: Pointer,
    /// What it says of one that went well.
    pub ok: String,
    /// What is posted to, so that it is made again.
    pub url: Address,
}

impl Word for Next {
    const EXPECTED: &'static str = "link or none, or a table with query and cursor or last_item";

    fn word(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            "link" => Ok(Self::Link),
            _ => Err(format!("{text:?} is not where a list goes on: use {}", Self::EXPECTED)),
        }
    }
}

impl From<Cursor> for Next {
    fn from(cursor: Cursor) -> Self {
        Self::Cursor(cursor)
    }
}

fn overlap() -> Span {
    Span::from_millis(600_000)
}

fn pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pointer, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

fn some_pointer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Pointer>, D::Error> {
    pointer(deserializer).map(Some)
}

fn next<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Next, D::Error> {
    word_or_table::<Next, Cursor, D>(deserializer)
}

fn headers<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<(HeaderName, Address)>, D::Error> {
    let named = BTreeMap::<String, Address>::deserialize(deserializer)?;
    let header = |(name, value): (String, Address)| match HeaderName::try_from(name.as_str()) {
        Ok(header) => Ok((header, value)),
        Err(_) => Err(D::Error::custom(format!("{name:?} is not the name of a header"))),
    };
    named.into_iter().map(header).collect()
}

fn values(headers: &[(HeaderName, Address)]) -> impl Iterator<Item = &Address> {
    headers.iter().map(|(_, value)| value)
}

impl PollRule {
    /// The values that a source must give, `since` and `token` among them.
    pub(crate) fn names(&self) -> BTreeSet<&str> {
        let attempts = self.redeliver.iter().map(|rule| &rule.url);
        let all = [&self.url].into_iter().chain(values(&self.headers)).chain(values(&self.webhook_headers)).chain(attempts);
        all.flat_map(Address::names).collect()
    }

    /// What cannot work, as (key, problem).
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let is_secure = |url: &Address| url.to_string().starts_with("https://");
        if !is_secure(&self.url) {
            problems.push(("url", format!("{} does not begin with https://", self.url)));
        }
        if let Some(rule) = self.redeliver.as_ref().filter(|rule| !is_secure(&rule.url)) {
            problems.push(("redeliver.url", format!("{} does not begin with https://", rule.url)));
        }
        let has_item = |address: &Address| address.pointers().next().is_some();
        if has_item(&self.url) || values(&self.headers).chain(values(&self.webhook_headers)).any(has_item) {
            problems.push(("url", "or a header holds a {/pointer}, but there is no item yet; only redeliver.url may have one".to_owned()));
        }
        let shows_token = |url: &Address| url.names().any(|name| name == TOKEN);
        if shows_token(&self.url) || self.redeliver.as_ref().is_some_and(|rule| shows_token(&rule.url)) {
            problems.push(("url", "holds {token}, which would be kept in logs on the way; send it in a header".to_owned()));
        }
        if self.redeliver.is_some() && self.identity.is_some() {
            problems.push(("identity", "would not be used: what is delivered again has the identity of its source".to_owned()));
        }
        if let Next::Cursor(cursor) = &self.next
            && cursor.cursor.is_some() == cursor.last_item.is_some()
        {
            problems.push(("next", "needs either cursor or last_item: where the cursor stands".to_owned()));
        }
        problems
    }
}
