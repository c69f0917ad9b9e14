//! A listener's certificate, as its files say.
//!
//! Constraints: building it needs nothing but gcc, so cryptography is ring's; new handshakes use what is in force, and connections go on
//! with what they began with; files that do not go together change nothing.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use sha2::{Digest, Sha256};
use tokio_rustls::{
    TlsAcceptor, TlsConnector,
    rustls::{
        self, ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{
            CertificateDer, PrivateKeyDer,
            pem::{self, PemObject},
        },
        server::{VerifierBuilderError, WebPkiClientVerifier},
    },
};
use zeroize::Zeroizing;

use super::expiry::Expiry;
use crate::{clock::Clock, config::TlsConfig, renewal::Renew};

/// HTTP/2, by its name in a handshake.
pub const HTTP_2: &[u8] = b"h2";
/// HTTP/1.1, by its name in a handshake.
pub const HTTP_1_1: &[u8] = b"http/1.1";

/// Why there is no TLS with these files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// It is not PEM, or does not hold what it should.
    #[error("{path} holds no {what} in PEM: {source}")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
        /// What is wrong.
        source: pem::Error,
    },
    /// The key is not the certificate's, or one of them is of no use.
    #[error("{certificate} and {key} cannot be used together: {source}")]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// A certificate of an authority is of no use.
    #[error("{path} holds an authority that cannot be used: {source}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
    },
    /// The authorities are of no use.
    #[error("{path} cannot be used to check clients: {source}")]
    Clients {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: VerifierBuilderError,
    },
}

/// The certificate of a listener.
pub struct Tls {
    /// The key of the configuration.
    name: &'static str,
    files: TlsConfig,
    protocols: &'static [&'static [u8]],
    current: RwLock<Arc<ServerConfig>>,
    expiry: Expiry,
    clock: Clock,
    /// A digest of the files that are in force.
    seen: Mutex<[u8; 32]>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// Reads the files. `name` is the key of the configuration; `protocols` are offered in this order.
    ///
    /// # Errors
    /// [`TlsError`].
    pub fn load(name: &'static str, files: TlsConfig, protocols: &'static [&'static [u8]]) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let current = RwLock::new(Arc::new(contents.server_config(&files, protocols)?));
        let expiry = Expiry::of(&certificates(&files.certificate, &contents.certificate)?);
        Ok(Self { name, files, protocols, current, expiry, clock: Clock::from_wall(), seen: Mutex::new(contents.digest()) })
    }

    /// Takes handshakes with what is in force now.
    #[must_use]
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The file of the certificate.
    #[must_use]
    pub fn certificate(&self) -> &Path {
        &self.files.certificate
    }

    /// When it expires, in seconds since the epoch, if that is known: the first of the file.
    #[must_use]
    pub fn expires(&self) -> Option<u64> {
        self.expiry.at()
    }

    fn take_over(&self) -> Result<bool, TlsError> {
        let contents = Contents::read(&self.files)?;
        let digest = contents.digest();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == digest {
            return Ok(false);
        }
        let renewed = Arc::new(contents.server_config(&self.files, self.protocols)?);
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = renewed;
        self.expiry.renew(&certificates(&self.files.certificate, &contents.certificate)?);
        *seen = digest;
        Ok(true)
    }
}

impl Renew for Tls {
    fn name(&self) -> &str {
        self.name
    }

    fn renew(&self) -> Result<Option<String>, String> {
        let news = || format!("new handshakes use {} as it is now; open connections go on", self.files.certificate.display());
        let renewed = self.take_over().map(|is_new| is_new.then(news)).map_err(|error| error.to_string());
        // Also of one whose successor cannot be used.
        self.expiry.warn(self.name, &self.files.certificate, self.clock.wall() / 1_000_000);
        renewed
    }
}

/// What is in the files.
struct Contents {
    certificate: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn read(files: &TlsConfig) -> Result<Self, TlsError> {
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: Zeroizing::new(read(&files.key)?),
            client_ca: files.client_ca.as_deref().map(read).transpose()?,
        })
    }

    fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.certificate[..], &self.key[..], self.client_ca.as_deref().unwrap_or_default()] {
            hash.update(part.len().to_le_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn server_config(&self, files: &TlsConfig, protocols: &[&[u8]]) -> Result<ServerConfig, TlsError> {
        let pair = |source| TlsError::Pair { certificate: files.certificate.clone(), key: files.key.clone(), source };
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key);
        let key = key.map_err(|source| TlsError::Pem { path: files.key.clone(), what: "private key", source })?;
        let provider = Arc::new(ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(pair)?;
        let builder = match files.client_ca.as_deref().zip(self.client_ca.as_deref()) {
            None => builder.with_no_client_auth(),
            Some((path, pem)) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(authorities(path, pem)?), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|source| TlsError::Clients { path: path.to_owned(), source })?)
            }
        };
        let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(config)
    }
}

/// Begins handshakes with whoever shows a certificate of the authorities in a file.
///
/// # Errors
/// [`TlsError`].
pub fn connector(authority: &Path) -> Result<TlsConnector, TlsError> {
    let roots = authorities(authority, &read(authority)?)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|source| TlsError::Authority { path: authority.to_owned(), source })?;
    Ok(TlsConnector::from(Arc::new(builder.with_root_certificates(roots).with_no_client_auth())))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Pem { path: path.to_owned(), what: "certificate", source };
    let found: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(wrong)?;
    if found.is_empty() { Err(wrong(pem::Error::NoItemsFound)) } else { Ok(found) }
}

fn authorities(path: &Path, pem: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path, pem)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}
