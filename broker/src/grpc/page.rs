//! Page tokens of lists.
//!
//! Constraint: a token is good for the query that it was given for, and no other: it carries a hash of it.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost::Message;
use waypost_proto::v1::ErrorReason;
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    error::{Fault, Violation},
    limits,
};

/// The part of a list that is asked for.
#[derive(Debug)]
pub(super) struct Page {
    /// How many items.
    pub(super) size: usize,
    /// The last item of the page before, if there was one.
    pub(super) after: Option<Vec<u8>>,
    query: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Token {
    #[prost(fixed64, tag = "1")]
    query: u64,
    #[prost(bytes = "vec", tag = "2")]
    after: Vec<u8>,
}

/// How many items are asked for.
pub(super) fn size(asked: Option<u32>, max: u32) -> Result<usize, Fault> {
    let size = asked.unwrap_or(limits::DEFAULT_PAGE);
    if (1..=max).contains(&size) {
        return Ok(size as usize);
    }
    Err(Fault::invalid("page_size", format!("is {size}, 1 to {max} is allowed")))
}

/// Of another list, or of the same with other conditions.
pub(super) fn wrong_token(token: &str) -> Fault {
    let shown = &token[..token.floor_char_boundary(limits::MAX_TOKEN_BYTES)];
    let text = format!("{shown:?} is not one that this list gave, or the query changed between pages; start over without");
    Fault::fields(ErrorReason::PageTokenInvalid, vec![Violation::new("page_token", text)])
}

impl Page {
    /// Reads what a request asks for; `query` is all of it that decides which items are listed.
    pub(super) fn new(size: Option<u32>, max: u32, token: &str, query: &impl Message) -> Result<Self, Fault> {
        let size = self::size(size, max)?;
        let query = xxh3_64(&query.encode_to_vec());
        let wrong = || wrong_token(token);
        let after = if token.is_empty() {
            None
        } else {
            let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| wrong())?;
            let token = Token::decode(bytes.as_slice()).map_err(|_| wrong())?;
            Some(token).filter(|token| token.query == query).map(|token| Some(token.after)).ok_or_else(wrong)?
        };
        Ok(Self { size, after, query })
    }

    /// The token of the page after the one that ends with this item.
    pub(super) fn next(&self, last: Vec<u8>) -> String {
        URL_SAFE_NO_PAD.encode(Token { query: self.query, after: last }.encode_to_vec())
    }

    /// Takes a page off a sorted list. `key` sorts as the list does.
    pub(super) fn take<T>(&self, items: impl Iterator<Item = T>, key: impl Fn(&T) -> Vec<u8>) -> (Vec<T>, String) {
        let mut items = items.skip_while(|item| self.after.as_ref().is_some_and(|after| key(item) <= *after));
        let page: Vec<T> = items.by_ref().take(self.size).collect();
        let next = match (page.last(), items.next()) {
            (Some(last), Some(_)) => self.next(key(last)),
            _ => String::new(),
        };
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::v1::ListSubscriptionsRequest;

    use super::*;

    #[test]
    fn pages_follow_each_other_and_end() {
        let query = ListSubscriptionsRequest::default();
        let (mut token, mut seen) = (String::new(), Vec::new());
        loop {
            let page = Page::new(Some(2), 10, &token, &query).unwrap();
            let (items, next) = page.take(1..=5_u8, |item| vec![*item]);
            seen.push(items);
            token = next;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, [vec![1, 2], vec![3, 4], vec![5]]);
    }

    #[test]
    fn a_token_of_another_query_is_refused() {
        let query = ListSubscriptionsRequest::default();
        let other = ListSubscriptionsRequest { name_prefix: "a".into(), ..query.clone() };
        let token = Page::new(Some(5), 10, "", &query).unwrap().next(vec![1]);
        assert!(Page::new(Some(5), 10, &token, &query).is_ok());
        for token in [token.as_str(), "nonsense", "////"] {
            assert_eq!(Page::new(Some(5), 10, token, &other).unwrap_err().reason, ErrorReason::PageTokenInvalid);
        }
    }
}
