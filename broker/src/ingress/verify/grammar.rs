//! The signature taken apart.
//!
//! Constraint: what is not understood is refused, never guessed: a signature that is missing in one place is not looked for in another.

use super::Rejection;
use super::signature::SignatureRule;

/// Signatures, and what stands beside them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Signatures<'a> {
    /// The values that may be the signature, still encoded.
    pub(super) candidates: Vec<&'a str>,
    /// The items of a list, by name.
    items: Vec<(&'a str, &'a str)>,
}

impl<'a> Signatures<'a> {
    /// Takes one more text apart.
    pub(super) fn add(&mut self, rule: &SignatureRule, text: &'a str) -> Result<(), Rejection> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Rejection::SignatureEmpty);
        }
        let Some(list) = &rule.list else {
            let signature = text.strip_prefix(&*rule.prefix).ok_or(Rejection::SignatureGrammar)?;
            if signature.is_empty() {
                return Err(Rejection::SignatureEmpty);
            }
            self.candidates.push(signature);
            return Ok(());
        };
        let items = text
            .split(list.separator)
            .filter_map(|item| item.trim().split_once(list.assign))
            .map(|(name, value)| (name.trim(), value.trim()));
        let before = self.candidates.len();
        for (name, value) in items {
            self.items.push((name, value));
            let signature = value.strip_prefix(&*rule.prefix).filter(|signature| name == list.key && !signature.is_empty());
            self.candidates.extend(signature);
        }
        if self.candidates.len() == before { Err(Rejection::SignatureGrammar) } else { Ok(()) }
    }

    /// The first that may be the signature; empty if there is none.
    pub(super) fn first(&self) -> &'a str {
        self.candidates.first().copied().unwrap_or_default()
    }

    /// The value of the one item of a name: a second one would leave open which of them is signed.
    pub(super) fn item(&self, name: &str) -> Option<&'a str> {
        let mut values = self.items.iter().filter(|(item, _)| *item == name);
        let value = values.next()?.1;
        values.next().is_none().then_some(value)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ingress::verify::{Encoding, ListGrammar};

    proptest! {
        #[test]
        fn no_header_makes_the_grammar_panic(text in ".{0,80}", prefix in "[a-z=]{0,4}", separator in any::<char>(), assign in any::<char>()) {
            let list = ListGrammar { separator, assign, key: "v1".to_owned() };
            for list in [None, Some(list)] {
                let rule = SignatureRule { header: Vec::new(), at: None, prefix: prefix.clone(), list, encoding: Encoding::Hex };
                let mut signatures = Signatures::default();
                let added = signatures.add(&rule, &text);
                prop_assert_eq!(added.is_ok(), !signatures.candidates.is_empty(), "a signature, or a reason");
            }
        }
    }
}
