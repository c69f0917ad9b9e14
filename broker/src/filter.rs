//! A filter, compiled.
//!
//! Constraints: what the store can index (types) is asked of the store, the rest is matched here; nothing is decoded unless the filter
//! has a condition on attributes. A filter that does not name the broker's own types never matches them.

use std::{collections::BTreeMap, sync::Arc};

use waypost_proto::v1;
use waypost_store::{EventHead, Selection, StoredEvent, TypeSet};

use crate::{envelope, error::Violation, limits};

/// The types of the broker's own events start with it.
pub const SYSTEM_PREFIX: &str = "waypost.";

/// Which events are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// `None`: every type but the broker's own.
    types: Option<TypeSet>,
    sources: Option<TypeSet>,
    subject_prefix: String,
    attributes: BTreeMap<String, String>,
}

impl Filter {
    /// Checks and compiles.
    ///
    /// # Errors
    /// Every entry that is wrong, by its path within the filter.
    pub fn compile(filter: &v1::Filter) -> Result<Self, Vec<Violation>> {
        let mut violations = Vec::new();
        let entries = filter.types.len() + filter.sources.len() + filter.attributes.len();
        if entries > limits::MAX_FILTER_ENTRIES {
            let text = format!("has {entries} entries, at most {} are allowed", limits::MAX_FILTER_ENTRIES);
            violations.push(Violation::new("", text));
        }
        let types = names("types", &filter.types, &mut violations);
        let sources = names("sources", &filter.sources, &mut violations);
        if filter.subject_prefix.len() > limits::MAX_FILTER_TEXT_BYTES {
            let text = format!("has {} bytes, at most {} are allowed", filter.subject_prefix.len(), limits::MAX_FILTER_TEXT_BYTES);
            violations.push(Violation::new("subject_prefix", text));
        }
        for (name, value) in &filter.attributes {
            if name.len() > limits::MAX_NAME_BYTES || value.len() > limits::MAX_FILTER_TEXT_BYTES {
                let text = format!("name and value may have {} and {} bytes", limits::MAX_NAME_BYTES, limits::MAX_FILTER_TEXT_BYTES);
                violations.push(Violation::new(format!("attributes[{name:?}]"), text));
            }
        }
        if violations.is_empty() {
            Ok(Self { types, sources, subject_prefix: filter.subject_prefix.clone(), attributes: filter.attributes.clone() })
        } else {
            Err(violations)
        }
    }

    /// The empty filter.
    #[must_use]
    pub fn everything() -> Self {
        Self { types: None, sources: None, subject_prefix: String::new(), attributes: BTreeMap::new() }
    }

    /// The types that it asks for; `None` for all but the broker's own.
    #[must_use]
    pub fn types(&self) -> Option<&TypeSet> {
        self.types.as_ref()
    }

    /// What to ask of the store: everything that matches, and maybe more.
    #[must_use]
    pub fn selection(&self) -> Selection {
        self.types.clone().map_or(Selection::All, Selection::Types)
    }

    /// Whether the store's selection is (but for the broker's own events) all there is to it.
    #[must_use]
    pub fn is_by_type(&self) -> bool {
        self.sources.is_none() && self.subject_prefix.is_empty() && self.attributes.is_empty()
    }

    /// Whether whatever the store's selection finds is wanted: nothing needs to be looked at again.
    #[must_use]
    pub fn is_selection(&self) -> bool {
        self.types.is_some() && self.is_by_type()
    }

    /// Whether an event is wanted.
    #[must_use]
    pub fn matches(&self, event: &StoredEvent) -> bool {
        self.matches_head(&event.head) && self.matches_attributes(event)
    }

    fn matches_head(&self, head: &EventHead) -> bool {
        let is_type = match &self.types {
            Some(types) => types.contains(head.event_type()),
            None => !head.event_type().starts_with(SYSTEM_PREFIX),
        };
        is_type
            && self.sources.as_ref().is_none_or(|sources| sources.contains(head.source()))
            && head.subject().starts_with(&self.subject_prefix)
    }

    fn matches_attributes(&self, event: &StoredEvent) -> bool {
        if self.attributes.is_empty() {
            return true;
        }
        let decoded = envelope::event(&event.body).decode_event();
        decoded.is_ok_and(|event| self.attributes.iter().all(|(name, value)| event.attributes.get(name) == Some(value)))
    }
}

/// The same filter in the one way that equal filters are written: sorted, without repetitions.
#[must_use]
pub fn normalised(filter: &v1::Filter) -> v1::Filter {
    let mut filter = filter.clone();
    for list in [&mut filter.types, &mut filter.sources] {
        list.sort_unstable();
        list.dedup();
    }
    filter
}

fn names(field: &str, entries: &[String], violations: &mut Vec<Violation>) -> Option<TypeSet> {
    let mut set = TypeSet::default();
    for (index, entry) in entries.iter().enumerate() {
        if let Err(problem) = name(entry, &mut set) {
            violations.push(Violation::new(format!("{field}[{index}]"), problem));
        }
    }
    (!entries.is_empty()).then_some(set)
}

fn name(entry: &str, set: &mut TypeSet) -> Result<(), String> {
    if entry.is_empty() || entry.len() > limits::MAX_NAME_BYTES {
        return Err(format!("has {} bytes, 1 to {} are allowed", entry.len(), limits::MAX_NAME_BYTES));
    }
    let (list, name) = match entry.strip_suffix(".*") {
        Some(_) => (&mut set.prefixes, &entry[..entry.len() - 1]),
        None => (&mut set.names, entry),
    };
    if name.contains('*') || name == "." {
        return Err(format!("{entry:?} has a * elsewhere than in a final \".*\"; leave the list empty to match everything"));
    }
    list.push(Arc::from(name));
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::wire;

    use super::*;
    use crate::{
        entropy::Entropy,
        envelope::{Identity, seal},
    };

    fn stored(event: wire::Event) -> StoredEvent {
        let event = wire::Event { source: "agents/a".into(), ..event };
        let sealed =
            seal(event, b"", Identity { fingerprint: None, window: 0 }, 1, &Entropy::seeded(1), &mut bytes::BytesMut::new()).unwrap();
        StoredEvent { offset: 1, accepted_at: 1, head: sealed.head, body: sealed.body }
    }

    fn of_type(event_type: &str) -> StoredEvent {
        stored(wire::Event { r#type: event_type.into(), subject: "ship/1".into(), ..wire::Event::default() })
    }

    fn types(types: &[&str]) -> v1::Filter {
        v1::Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..v1::Filter::default() }
    }

    #[test]
    fn an_empty_filter_wants_everything_but_the_brokers_own() {
        let filter = Filter::compile(&v1::Filter::default()).unwrap();
        assert!(filter.matches(&of_type("a.b")));
        assert!(!filter.matches(&of_type("waypost.storage.low")));
        assert!(Filter::compile(&types(&["waypost.*"])).unwrap().matches(&of_type("waypost.storage.low")));
    }

    #[test]
    fn a_prefix_ends_at_a_dot() {
        let filter = Filter::compile(&types(&["logistics.v1.*", "exact"])).unwrap();
        assert!(filter.matches(&of_type("logistics.v1.Late")));
        assert!(filter.matches(&of_type("exact")));
        assert!(!filter.matches(&of_type("logistics.v11.Late")));
        assert!(!filter.matches(&of_type("exactly")));
    }

    #[test]
    fn all_that_is_set_must_hold() {
        let event = stored(wire::Event {
            r#type: "t".into(),
            subject: "ship/1".into(),
            attributes: [("a".to_owned(), "1".to_owned())].into(),
            ..wire::Event::default()
        });
        let full = v1::Filter {
            types: vec!["t".into()],
            sources: vec!["agents/a".into()],
            subject_prefix: "ship/".into(),
            attributes: [("a".to_owned(), "1".to_owned())].into(),
        };
        assert!(Filter::compile(&full).unwrap().matches(&event));
        for other in [
            v1::Filter { types: vec!["u".into()], ..full.clone() },
            v1::Filter { sources: vec!["agents/b".into()], ..full.clone() },
            v1::Filter { subject_prefix: "boat/".into(), ..full.clone() },
            v1::Filter { attributes: [("a".to_owned(), "2".to_owned())].into(), ..full },
        ] {
            assert!(!Filter::compile(&other).unwrap().matches(&event), "{other:?}");
        }
    }

    #[test]
    fn a_star_elsewhere_is_refused_by_its_place() {
        for wrong in ["*", "a*", "*.b", "a.*.b", ".*", ""] {
            let violations = Filter::compile(&types(&["ok", wrong])).unwrap_err();
            assert_eq!(violations[0].field, "types[1]", "{wrong:?}");
        }
    }
}
