//! `tls = { certificate = "FILE", key = "FILE" }` of a listener.
//!
//! Constraint: files only, which are read again when they change: a certificate is renewed without a restart.

use std::path::{Path, PathBuf};

use serde::Deserialize;

/// What a listener shows who connects, and maybe whom it asks for the same.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate in PEM, and after it those that lead to its authority.
    pub certificate: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
    /// The authorities, in PEM, one of which must have signed the certificate of whoever connects. Without it nobody is asked for one.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl TlsConfig {
    /// The same with relative paths starting at `base`.
    #[must_use]
    pub(super) fn within(&self, base: &Path) -> Self {
        Self {
            certificate: base.join(&self.certificate),
            key: base.join(&self.key),
            client_ca: self.client_ca.as_ref().map(|ca| base.join(ca)),
        }
    }
}
