//! A sorted set for what comes and goes mostly in order.
//!
//! Constraint: adding at the end and taking from the front cost nothing that grows with the set. Elsewhere, what lies between moves by
//! one place, as one copy: for the ten thousand small entries that a subscription may have, that is less than a tree costs.

use std::collections::VecDeque;

/// Distinct values in ascending order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sorted<T>(VecDeque<T>);

impl<T> Default for Sorted<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Ord> Sorted<T> {
    /// Adds a value unless it is there.
    pub(crate) fn insert(&mut self, value: T) {
        if self.0.back().is_none_or(|last| *last < value) {
            self.0.push_back(value);
        } else if let Err(place) = self.0.binary_search(&value) {
            self.0.insert(place, value);
        }
    }

    /// Takes a value out if it is there.
    pub(crate) fn remove(&mut self, value: &T) {
        if self.0.front() == Some(value) {
            self.0.pop_front();
        } else if let Ok(place) = self.0.binary_search(value) {
            self.0.remove(place);
        }
    }

    pub(crate) fn first(&self) -> Option<&T> {
        self.0.front()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_holds_what_a_tree_would_hold(steps in proptest::collection::vec((0_u8..40, any::<bool>()), 0..200)) {
            let (mut sorted, mut tree) = (Sorted::default(), BTreeSet::new());
            for (value, add) in steps {
                if add {
                    sorted.insert(value);
                    tree.insert(value);
                } else {
                    sorted.remove(&value);
                    tree.remove(&value);
                }
                prop_assert!(sorted.iter().eq(&tree));
                prop_assert_eq!((sorted.first(), sorted.len(), sorted.is_empty()), (tree.first(), tree.len(), tree.is_empty()));
            }
        }
    }
}
