//! The secrets that a configuration refers to, read.
//!
//! Constraint: each reference is read once for one reading of the configuration, however many sources have it: a program is not run twice,
//! and a file that changes meanwhile is the same for all.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use super::{Secret, SecretError, SecretRef};

/// Secrets by their references.
#[derive(Debug, Default)]
pub struct Secrets {
    base: PathBuf,
    known: Mutex<BTreeMap<SecretRef, Secret>>,
}

impl Clone for Secrets {
    fn clone(&self) -> Self {
        Self { base: self.base.clone(), known: Mutex::new(self.known()) }
    }
}

impl Secrets {
    /// None yet; relative paths start at `base`, the folder of the configuration file.
    #[must_use]
    pub fn within(base: &Path) -> Self {
        Self { base: base.to_owned(), known: Mutex::default() }
    }

    /// Where relative paths start.
    #[must_use]
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What is behind a reference: as it was read first.
    ///
    /// # Errors
    /// When it cannot be read, or is empty.
    pub fn get(&self, reference: &SecretRef) -> Result<Secret, SecretError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = known.get(reference) {
            return Ok(secret.clone());
        }
        let secret = reference.resolve(&self.base)?;
        known.insert(reference.clone(), secret.clone());
        Ok(secret)
    }

    /// Whether it was read already.
    #[must_use]
    pub fn holds(&self, reference: &SecretRef) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains_key(reference)
    }

    /// Everything that was read so far.
    #[must_use]
    pub fn known(&self) -> BTreeMap<SecretRef, Secret> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same with another secret behind one reference.
    #[must_use]
    pub fn with(&self, reference: &SecretRef, secret: Secret) -> Self {
        let mut known = self.known();
        known.insert(reference.clone(), secret);
        Self { base: self.base.clone(), known: Mutex::new(known) }
    }
}
