//! Salts of segments, the seed of hashes, and numbers of names that nobody has yet.
//!
//! Constraint: nothing that a caller can see depends on them, so that a history replays with the same answers.

/// A number that nobody can guess and that differs with every call, from the keys that std seeds from the operating system.
pub(super) fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}
