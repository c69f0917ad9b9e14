//! Which entry of a table a provider's event type finds.
//!
//! Constraint: one rule for every provider: the entry with the longest name that fits. A name fits itself and what goes on after a dot; one
//! that ends in `*` fits all that begins with what stands before it.
//!
//! `charge` is for `charge.succeeded`, `charge.dispute` for `charge.dispute.created`, `orders/*` for `orders/paid`, `*` for all.

use std::collections::BTreeMap;

/// Entries by name.
#[derive(Clone, Debug)]
pub(super) struct Entries<T> {
    named: BTreeMap<String, T>,
    /// Those that end in `*`, by what stands before it, the longest first: a source has some at most.
    open: Vec<(String, T)>,
}

impl<T> Default for Entries<T> {
    fn default() -> Self {
        Self { named: BTreeMap::new(), open: Vec::new() }
    }
}

impl<T> Entries<T> {
    /// Adds an entry.
    ///
    /// # Errors
    /// For people: what is wrong with the name.
    pub(super) fn add(&mut self, name: &str, entry: T) -> Result<(), String> {
        let start = name.strip_suffix('*');
        if start.unwrap_or(name).contains('*') {
            return Err("a * stands at the end of a name only: it is for all that begins with what stands before it".to_owned());
        }
        match start {
            None => drop(self.named.insert(name.to_owned(), entry)),
            Some(start) => {
                let at = self.open.partition_point(|(other, _)| other.len() >= start.len());
                self.open.insert(at, (start.to_owned(), entry));
            }
        }
        Ok(())
    }

    /// All of them.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.named.values().chain(self.open.iter().map(|(_, entry)| entry))
    }

    /// The entry for a name.
    pub(super) fn find(&self, name: &str) -> Option<&T> {
        let mut part = name;
        let named = loop {
            match (self.named.get(part), part.rsplit_once('.')) {
                (Some(entry), _) => break Some((part.len(), entry)),
                (None, Some((shorter, _))) => part = shorter,
                (None, None) => break None,
            }
        };
        let open = self.open.iter().find(|(start, _)| name.starts_with(&**start));
        match (named, open) {
            (Some((length, entry)), Some((start, _))) if length >= start.len() => Some(entry),
            (_, Some((_, entry))) | (Some((_, entry)), None) => Some(entry),
            (None, None) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn the_longest_name_that_fits_decides() {
        let mut entries = Entries::default();
        let names = ["*", "charge", "charge.dispute", "charge.refund", "orders/*", "orders/create", "a*", "a", "a.b.c"];
        for name in names {
            entries.add(name, name).unwrap();
        }
        for (name, expected) in [
            ("charge", "charge"),
            ("charge.succeeded", "charge"),
            ("charge.dispute.created", "charge.dispute"),
            ("charge.refunded", "charge"),
            ("charge.refund.updated", "charge.refund"),
            ("charges", "*"),
            ("orders/create", "orders/create"),
            ("orders/created", "orders/*"),
            ("orders/", "orders/*"),
            ("orders", "*"),
            ("a", "a"),
            ("a.b", "a"),
            ("ab", "a*"),
            ("a.b.c.d", "a.b.c"),
            ("", "*"),
        ] {
            assert_eq!(entries.find(name), Some(&expected), "{name}");
        }
        assert!(entries.add("a*b", "").unwrap_err().contains("at the end"));
        assert_eq!(Entries::<()>::default().find("x"), None);
    }
}
