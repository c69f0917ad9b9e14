//! The signature header taken apart.
//!
//! Constraint: what is not understood is refused, never guessed: a signature that is missing in one place is not looked for in another.

use super::Rejection;
use super::scheme::SignatureRule;

/// A signature header.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Signatures<'a> {
    /// The values that may be the signature, still encoded.
    pub(super) candidates: Vec<&'a str>,
    /// The items of a list, by name.
    items: Vec<(&'a str, &'a str)>,
}

impl<'a> Signatures<'a> {
    pub(super) fn parse(rule: &SignatureRule, header: &'a str) -> Result<Self, Rejection> {
        let header = header.trim();
        if header.is_empty() {
            return Err(Rejection::SignatureEmpty);
        }
        let Some(list) = &rule.list else {
            let signature = header.strip_prefix(&*rule.prefix).ok_or(Rejection::SignatureGrammar)?;
            return if signature.is_empty() {
                Err(Rejection::SignatureEmpty)
            } else {
                Ok(Self { candidates: vec![signature], items: Vec::new() })
            };
        };
        let items: Vec<_> = header
            .split(list.separator)
            .filter_map(|item| item.trim().split_once(list.assign))
            .map(|(name, value)| (name.trim(), value.trim()))
            .collect();
        let named = items.iter().filter(|(name, _)| *name == list.key);
        let candidates: Vec<_> =
            named.filter_map(|(_, value)| value.strip_prefix(&*rule.prefix)).filter(|value| !value.is_empty()).collect();
        if candidates.is_empty() {
            return Err(Rejection::SignatureGrammar);
        }
        Ok(Self { candidates, items })
    }

    /// The value of the one item of a name: a second one would leave open which of them is signed.
    pub(super) fn item(&self, name: &str) -> Option<&'a str> {
        let mut values = self.items.iter().filter(|(item, _)| *item == name);
        let value = values.next()?.1;
        values.next().is_none().then_some(value)
    }
}
