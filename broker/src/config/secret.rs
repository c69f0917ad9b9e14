//! Secrets: where they are to be found, and what is done with what was found.
//!
//! Constraints: the configuration holds references, never secrets; what is behind one never appears in `Debug`, in an error or in a log, and
//! its memory is wiped when it goes.

use std::{env, fmt, fs, io, path::Path, path::PathBuf, str::FromStr};

use serde::{Deserialize, Deserializer};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::command::{CommandError, SecretCommand};
use crate::ingress::{Word, word_or_table};

/// Where a secret is to be found. Never the secret itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SecretRef {
    /// `env:NAME`: in an environment variable of the broker.
    Env(String),
    /// `file:PATH`: in a file, relative to the configuration file. White space at its end does not count.
    File(PathBuf),
    /// What a program prints. White space at its end does not count.
    Command(SecretCommand),
}

/// A secret. Neither `Debug` nor `Display` shows it, and its memory is wiped when it goes.
#[derive(Clone)]
pub struct Secret(Zeroizing<Vec<u8>>);

/// Why a secret could not be read. Holds the reference, never the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// There is no such variable, or it is not Unicode.
    #[error("the environment variable {0} is not set; set it in the environment of the broker")]
    NoVariable(String),
    /// The file cannot be read.
    #[error("the file {path} cannot be read: {source}")]
    NoFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program did not print one.
    #[error(transparent)]
    Command(#[from] CommandError),
    /// There is nothing in it.
    #[error("{0} is empty; an empty secret verifies nothing")]
    Empty(SecretRef),
}

impl SecretRef {
    /// Reads the secret; a relative path starts at `base`, the folder of the configuration file. Blocks, on a program for as long as it may
    /// take.
    ///
    /// # Errors
    /// When it is not there or empty.
    pub fn resolve(&self, base: &Path) -> Result<Secret, SecretError> {
        let mut bytes = match self {
            Self::Env(name) => Zeroizing::new(env::var(name).map_err(|_| SecretError::NoVariable(name.clone()))?.into_bytes()),
            Self::File(path) => {
                let path = base.join(path);
                Zeroizing::new(fs::read(&path).map_err(|source| SecretError::NoFile { path, source })?)
            }
            Self::Command(command) => command.run(base)?,
        };
        let end = bytes.trim_ascii_end().len();
        bytes.truncate(end);
        if bytes.is_empty() { Err(SecretError::Empty(self.clone())) } else { Ok(Secret(bytes)) }
    }
}

impl FromStr for SecretRef {
    type Err = &'static str;

    // The text does not appear in the error: it may well be a secret that somebody wrote into the file.
    fn from_str(text: &str) -> Result<Self, &'static str> {
        match text.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Ok(Self::Env(name.to_owned())),
            Some(("file", path)) if !path.is_empty() => Ok(Self::File(path.into())),
            _ => Err("a secret is not written into the file; refer to it as \"env:NAME\", \"file:PATH\" or { command = [\"PROGRAM\", …] }"),
        }
    }
}

impl Word for SecretRef {
    const EXPECTED: &'static str = "\"env:NAME\", \"file:PATH\" or a table with command";

    fn word(text: &str) -> Result<Self, String> {
        text.parse().map_err(str::to_owned)
    }
}

impl From<SecretCommand> for SecretRef {
    fn from(command: SecretCommand) -> Self {
        Self::Command(command)
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        word_or_table::<Self, SecretCommand, D>(deserializer)
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(command) => command.fmt(f),
        }
    }
}

impl Secret {
    /// From bytes that were read elsewhere.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(Zeroizing::new(bytes.into()))
    }

    /// The secret. Not for logs or errors.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// In a time that does not depend on where two secrets differ, so that nobody can write a comparison that does.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let error = "hunter2".parse::<SecretRef>().unwrap_err();
        assert!(!error.contains("hunter2"));

        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), "hunter2\n").unwrap();
        let secret = "file:secret".parse::<SecretRef>().unwrap().resolve(dir.path()).unwrap();
        assert_eq!(secret.expose(), b"hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
    }

    #[test]
    fn a_secret_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("empty"), "\n").unwrap();
        for (reference, named) in
            [("env:WAYPOST_TEST_NOT_SET", "WAYPOST_TEST_NOT_SET"), ("file:missing", "missing"), ("file:empty", "is empty")]
        {
            let error = reference.parse::<SecretRef>().unwrap().resolve(dir.path()).unwrap_err();
            assert!(error.to_string().contains(named), "{error}");
        }
    }
}
