//! A set of offsets as spans: what lies together costs as much as one offset.

use std::collections::BTreeMap;

use crate::Offset;

/// Spans (first, first after) that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ranges(BTreeMap<Offset, Offset>);

impl Ranges {
    pub(crate) fn contains(&self, offset: Offset) -> bool {
        self.end_of(offset).is_some()
    }

    /// Where the span that holds `offset` ends.
    pub(crate) fn end_of(&self, offset: Offset) -> Option<Offset> {
        self.0.range(..=offset).next_back().map(|(_, &to)| to).filter(|&to| to > offset)
    }

    /// Whether every offset of the span is in the set.
    pub(crate) fn covers(&self, from: Offset, to: Offset) -> bool {
        from >= to || self.end_of(from).is_some_and(|end| end >= to)
    }

    pub(crate) fn insert(&mut self, from: Offset, to: Offset) {
        if from >= to {
            return;
        }
        let (mut first, mut last) = (from, to);
        while let Some((&start, &end)) = self.0.range(..=last).next_back().filter(|&(_, &end)| end >= first) {
            first = first.min(start);
            last = last.max(end);
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    /// Forgets everything before `offset`.
    pub(crate) fn remove_before(&mut self, offset: Offset) {
        while let Some(first) = self.0.first_entry().filter(|first| *first.key() < offset) {
            let end = first.remove();
            self.insert(offset, end);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) fn first(&self) -> Option<Offset> {
        self.0.keys().next().copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Offset, Offset)> {
        self.0.iter().map(|(&from, &to)| (from, to))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The same steps on a plain set of offsets.
        #[test]
        fn ranges_are_a_set(steps in prop::collection::vec((any::<bool>(), 0_u64..40, 0_u64..8), 0..30)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (insert, from, length) in steps {
                if insert {
                    ranges.insert(from, from + length);
                    set.extend(from..from + length);
                } else {
                    ranges.remove_before(from);
                    set.retain(|&offset| offset >= from);
                }
                prop_assert_eq!(ranges.iter().flat_map(|(from, to)| from..to).collect::<BTreeSet<_>>(), set.clone());
                prop_assert!(ranges.iter().zip(ranges.iter().skip(1)).all(|((_, end), (next, _))| end < next));
                for offset in 0..50 {
                    prop_assert_eq!(ranges.contains(offset), set.contains(&offset));
                    prop_assert_eq!(ranges.covers(from, offset), (from..offset).all(|each| set.contains(&each)));
                }
            }
        }
    }
}
