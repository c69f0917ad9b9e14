//! TLS: whom to trust, and how to show oneself.
//!
//! Constraints: a broker is believed only with a certificate that a named authority signed for the name that was dialed; there is no switch to
//! do without. Files are read when the client is made.

use std::fmt;
use std::fs;
use std::path::PathBuf;

use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

/// Whom to trust on `https://` addresses, and how to show oneself. Without an authority of its own, it trusts those that the crate's
/// features bring: `native-roots` (the operating system's) or `webpki-roots` (those of browsers, built in).
#[derive(Clone, Default)]
#[must_use = "it is for ClientBuilder::tls"]
pub struct Tls {
    authorities: Vec<Pem>,
    server_name: Option<String>,
    identity: Option<(Pem, Pem)>,
}

#[derive(Clone)]
enum Pem {
    Text(Vec<u8>),
    File(PathBuf),
}

/// What TLS needs is not there, or of no use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {problem}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// No authority is named, and the crate was built without any.
    #[error("https:// needs an authority to trust: Tls::ca_file or Tls::ca_pem, or agent-client's feature native-roots or webpki-roots")]
    NoAuthority,
    /// What should be the certificate of an authority is none.
    #[error("{0} holds no certificate in PEM")]
    NoCertificate(String),
    /// A certificate, a key or a name is of no use.
    #[error("TLS cannot be set up: {0}")]
    Unusable(String),
}

impl Tls {
    /// Trusts the authorities of the crate's features.
    pub fn new() -> Self {
        Self::default()
    }

    /// Trusts an authority (or the certificate itself, if it is self-signed), given in PEM. May be said several times.
    pub fn ca_pem(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.authorities.push(Pem::Text(pem.into()));
        self
    }

    /// The same from a file, which is read when the client is made.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.authorities.push(Pem::File(path.into()));
        self
    }

    /// The name that the broker's certificate must be for, when it is not the host of the address.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.server_name = Some(name.into());
        self
    }

    /// Shows this certificate to a broker that asks for one; both in PEM.
    pub fn identity_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Self {
        self.identity = Some((Pem::Text(certificate.into()), Pem::Text(key.into())));
        self
    }

    /// The same from files, which are read when the client is made.
    pub fn identity_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.identity = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// An endpoint that uses it.
    pub(crate) fn secure(&self, endpoint: Endpoint) -> Result<Endpoint, TlsError> {
        let mut config = ClientTlsConfig::new();
        if self.authorities.is_empty() {
            if !cfg!(any(feature = "native-roots", feature = "webpki-roots")) {
                return Err(TlsError::NoAuthority);
            }
            config = config.with_enabled_roots();
        }
        for authority in &self.authorities {
            let pem = authority.read()?;
            if !pem.windows(CERTIFICATE.len()).any(|part| part == CERTIFICATE) {
                return Err(TlsError::NoCertificate(authority.to_string()));
            }
            config = config.ca_certificate(Certificate::from_pem(pem));
        }
        if let Some(name) = &self.server_name {
            config = config.domain_name(name);
        }
        if let Some((certificate, key)) = &self.identity {
            config = config.identity(Identity::from_pem(certificate.read()?, key.read()?));
        }
        endpoint.tls_config(config).map_err(|error| {
            let cause = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            TlsError::Unusable(cause)
        })
    }
}

const CERTIFICATE: &[u8] = b"-----BEGIN CERTIFICATE-----";

impl Pem {
    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::Text(pem) => Ok(pem.clone()),
            Self::File(path) => fs::read(path).map_err(|error| TlsError::Read { path: path.clone(), problem: error.to_string() }),
        }
    }
}

impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("the authority"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Keys are not shown.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let authorities: Vec<_> = self.authorities.iter().map(ToString::to_string).collect();
        f.debug_struct("Tls").field("authorities", &authorities).field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn refused(tls: &Tls) -> TlsError {
        tls.secure(Endpoint::from_static("https://127.0.0.1:1")).unwrap_err()
    }

    #[test]
    fn what_cannot_be_used_is_told_when_the_client_is_made() {
        let missing = refused(&Tls::new().ca_file("no-such-file.pem"));
        assert!(matches!(&missing, TlsError::Read { path, .. } if path.ends_with("no-such-file.pem")), "{missing}");
        let text = refused(&Tls::new().ca_pem("-----BEGIN PRIVATE KEY-----"));
        assert!(matches!(text, TlsError::NoCertificate(_)), "{text}");
        let key = "-----BEGIN PRIVATE KEY-----\nsecret";
        let tls = Tls::new().identity_pem("nothing", key);
        assert!(!format!("{tls:?}").contains("secret"));
    }

    #[cfg(not(any(feature = "native-roots", feature = "webpki-roots")))]
    #[test]
    fn somebody_must_be_trusted() {
        assert_eq!(refused(&Tls::new()), TlsError::NoAuthority);
    }
}
