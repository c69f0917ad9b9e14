//! One answer of a provider: its items, their times, and where it goes on.
//!
//! Constraints: an item is a slice of the answer, so that its numbers are as exact as they were sent; the next page is at the host of the
//! first.

use bytes::Bytes;
use http::{HeaderMap, Uri, header::LINK};
use serde_json::value::RawValue;
use waypost_store::Micros;

use super::{
    address::escaped,
    rule::{Next, PollRule},
};
use crate::ingress::decode::{Pointer, Selector};

/// Why an answer is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PageError {
    /// It is not JSON, or has no array where the items should be.
    #[error("the answer has no array of items at {0:?}")]
    NoItems(String),
    /// An item does not say when it happened.
    #[error("an item has no time at {0}: RFC 3339, or seconds since the Unix epoch")]
    NoTime(String),
    /// It goes on elsewhere.
    #[error("the next page is not at the host of the first one")]
    Elsewhere,
}

/// One item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Item {
    /// As it was sent.
    pub(crate) json: Bytes,
    /// When it happened.
    pub(crate) at: Micros,
}

/// One answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    /// The address of the next one.
    pub(crate) next: Option<String>,
}

impl Page {
    /// Reads the answer to a request for `url`.
    pub(crate) fn read(rule: &PollRule, url: &str, headers: &HeaderMap, body: &Bytes) -> Result<Self, PageError> {
        let none = || PageError::NoItems(rule.items.to_string());
        let text = str::from_utf8(body).map_err(|_| none())?;
        let array = json_at(text, &rule.items).ok_or_else(none)?;
        let slices: Vec<&RawValue> = serde_json::from_str(array).map_err(|_| none())?;
        let mut items = Vec::with_capacity(slices.len());
        for slice in slices {
            let at = text_at(slice.get(), &rule.time).and_then(|time| time_of(&time));
            let at = at.ok_or_else(|| PageError::NoTime(rule.time.to_string()))?;
            items.push(Item { json: body.slice_ref(slice.get().as_bytes()), at });
        }
        let next = match &rule.next {
            Next::None => None,
            // Nothing follows an empty page, whatever it says.
            _ if items.is_empty() => None,
            Next::Link => link(headers),
            Next::Cursor(cursor) => {
                let goes_on = cursor.more.as_ref().is_none_or(|more| text_at(text, more).as_deref() == Some("true"));
                let in_answer = cursor.cursor.as_ref().and_then(|at| text_at(text, at));
                let in_item = || cursor.last_item.as_ref().zip(items.last()).and_then(|(at, item)| text_at(item.text(), at));
                let value = in_answer.or_else(in_item).filter(|_| goes_on);
                value.map(|value| with_query(url, &cursor.query, &value))
            }
        };
        match next {
            Some(next) if !same_host(url, &next) => Err(PageError::Elsewhere),
            next => Ok(Self { items, next }),
        }
    }
}

impl Item {
    /// The same as text, which it is.
    pub(crate) fn text(&self) -> &str {
        str::from_utf8(&self.json).unwrap_or_default()
    }

    /// A field of it, as text.
    pub(crate) fn field(&self, at: &Pointer) -> Option<String> {
        text_at(self.text(), at)
    }
}

fn json_at<'a>(json: &'a str, at: &Pointer) -> Option<&'a str> {
    let mut selector = Selector::default();
    let slot = selector.add(at);
    selector.select(json).ok()?.json(slot)
}

fn text_at(json: &str, at: &Pointer) -> Option<String> {
    let mut selector = Selector::default();
    let slot = selector.add(at);
    selector.select(json).ok()?.text(slot).map(std::borrow::Cow::into_owned)
}

fn time_of(text: &str) -> Option<Micros> {
    let seconds = text.parse::<u64>().ok().and_then(|seconds| seconds.checked_mul(1_000_000));
    seconds.or_else(|| text.parse::<jiff::Timestamp>().ok().and_then(|time| time.as_microsecond().try_into().ok()))
}

/// The target of `rel="next"`.
fn link(headers: &HeaderMap) -> Option<String> {
    let values = headers.get_all(LINK).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).find_map(|link| {
        let (target, parameters) = link.trim().strip_prefix('<')?.split_once('>')?;
        let is_next = parameters.split(';').any(|parameter| matches!(parameter.trim(), "rel=\"next\"" | "rel=next"));
        is_next.then(|| target.to_owned())
    })
}

/// The address with a parameter of its query set.
fn with_query(url: &str, name: &str, value: &str) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let is_other = |part: &&str| !part.is_empty() && part.split('=').next() != Some(name);
    let others: Vec<&str> = query.split('&').filter(is_other).collect();
    let separator = if others.is_empty() { "" } else { "&" };
    format!("{base}?{}{separator}{name}={}", others.join("&"), escaped(value))
}

pub(super) fn same_host(url: &str, next: &str) -> bool {
    let host = |url: &str| url.parse::<Uri>().ok().map(|url| (url.scheme().cloned(), url.authority().cloned()));
    host(url).is_some_and(|first| Some(first) == host(next))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn rule(lines: &str) -> PollRule {
        toml::from_str(&format!("url = 'https://x.example/l'\ntime = '/at'\n{lines}")).unwrap()
    }

    fn read(rule: &PollRule, url: &str, body: &'static str) -> Result<Page, PageError> {
        Page::read(rule, url, &HeaderMap::new(), &Bytes::from_static(body.as_bytes()))
    }

    #[test]
    fn items_come_as_they_were_sent_with_their_times() {
        let body = r#"{"data":[{"id":820982911946154508,"at":1700000000},{"n":1.50,"at":"2023-11-14T22:13:21Z"}]}"#;
        let page = read(&rule("items = '/data'"), "https://x.example/l", body).unwrap();
        let items: Vec<_> = page.items.iter().map(|item| (item.text(), item.at)).collect();
        let expected = [
            (r#"{"id":820982911946154508,"at":1700000000}"#, 1_700_000_000_000_000),
            (r#"{"n":1.50,"at":"2023-11-14T22:13:21Z"}"#, 1_700_000_001_000_000),
        ];
        assert_eq!(items, expected);
        assert_eq!(page.next, None);
    }

    #[test]
    fn what_is_no_list_says_so() {
        let rule = rule("items = '/data'");
        for body in ["", "[]", "{}", r#"{"data":{}}"#, "{\"data\":[1"] {
            assert_eq!(read(&rule, "https://x.example/l", body), Err(PageError::NoItems("/data".to_owned())), "{body}");
        }
        assert_eq!(read(&rule, "https://x.example/l", r#"{"data":[{"at":"soon"}]}"#), Err(PageError::NoTime("/at".to_owned())));
    }

    #[test]
    fn a_list_goes_on_by_a_link_at_the_same_host_only() {
        let rule = rule("next = 'link'");
        let page = |link: &str| {
            let headers = HeaderMap::from_iter([(LINK, link.parse().unwrap())]);
            Page::read(&rule, "https://x.example/l", &headers, &Bytes::from_static(b"[{\"at\":1}]")).map(|page| page.next)
        };
        let both = "<https://x.example/l?p=1>; rel=\"prev\", <https://x.example/l?p=3>; rel=\"next\"";
        assert_eq!(page(both), Ok(Some("https://x.example/l?p=3".to_owned())));
        assert_eq!(page("<https://x.example/l?p=1>; rel=\"prev\""), Ok(None));
        for elsewhere in ["<https://evil.example/>; rel=\"next\"", "<http://x.example/l>; rel=next", "</l?p=3>; rel=\"next\""] {
            assert_eq!(page(elsewhere), Err(PageError::Elsewhere), "{elsewhere}");
        }
    }

    #[test]
    fn a_list_goes_on_by_a_cursor() {
        let url = "https://x.example/l?limit=2&after=a";
        let last = rule("items = '/data'\nnext = { query = 'after', last_item = '/id', more = '/has_more' }");
        let next = read(&last, url, r#"{"has_more":true,"data":[{"id":"b/c","at":1}]}"#).unwrap().next;
        assert_eq!(next.as_deref(), Some("https://x.example/l?limit=2&after=b%2Fc"));
        assert_eq!(read(&last, url, r#"{"has_more":false,"data":[{"id":"b","at":1}]}"#).unwrap().next, None);
        assert_eq!(read(&last, url, r#"{"has_more":true,"data":[]}"#).unwrap().next, None, "nothing follows an empty page");
        let given = rule("items = '/data'\nnext = { query = 'page', cursor = '/next' }");
        let next = read(&given, "https://x.example/l", r#"{"next":"x=","data":[{"at":1}]}"#).unwrap().next;
        assert_eq!(next.as_deref(), Some("https://x.example/l?page=x%3D"));
        assert_eq!(read(&given, "https://x.example/l", r#"{"next":null,"data":[{"at":1}]}"#).unwrap().next, None);
    }
}
