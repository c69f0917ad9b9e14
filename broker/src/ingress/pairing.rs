//! Learning the secret that a provider gives in a webhook: once, into a file, within ten minutes.
//!
//! Constraints:
//! - The first secret that can be one is taken, and no other after it. Until then the source verifies nothing, and accepts nothing.
//! - Durable, and in force, before it is answered. It is in no log, error or `Debug`.
//! - The time runs from when the source got its pairing; a source that is built again goes on with the one that it has.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use super::Source;
use crate::{
    clock::Clock,
    config::{KeepError, Secret, SecretFile},
    limits::{PAIRED_SECRET_BYTES, PAIRING_OPEN},
    renewal::Renewals,
};

/// The pairing of a source that says `pairing = true`.
#[derive(Debug)]
pub(crate) struct Pairing {
    /// Where its secret will be. `None`: its secrets are all there.
    file: Option<SecretFile>,
    clock: Clock,
    began: u64,
    learned: Mutex<Option<Secret>>,
}

/// Why a secret that somebody offered was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotLearned {
    #[error(
        "somebody offers a secret, and the source does not learn any; if it is the provider, name a file that is not there yet under \
         secrets, say pairing = true, reload, and make the webhook anew"
    )]
    Off,
    #[error(
        "somebody offers a secret, and pairing is over, {} after it began; to open it again, restart the broker, or take pairing away, \
         reload, say it again, and reload",
        PAIRING_OPEN
    )]
    Over,
    #[error("somebody offers a secret, and the source has one; to learn another one, remove {} and reload", .0.display())]
    Learned(PathBuf),
    #[error("somebody offers a secret, and the source has all of its secrets; to learn another one, remove the file of one and reload")]
    Complete,
    #[error("somebody offers what is no secret: {0}; it is not taken, and pairing stays open")]
    Unfit(String),
    #[error("a secret that was offered could not be kept, and pairing stays open: {0}")]
    NotKept(#[from] KeepError),
    #[error("a secret that was offered may not have been kept: the broker is stopping")]
    Stopping,
}

impl NotLearned {
    /// Whether it is our trouble, so that the sender may come again.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self, Self::NotKept(KeepError::Write { .. }) | Self::Stopping)
    }
}

impl Pairing {
    /// Begins now. `file` is where the secret will be, if it is not there.
    pub(crate) fn new(file: Option<SecretFile>) -> Self {
        let clock = Clock::from_wall();
        Self { file, clock, began: clock.now(), learned: Mutex::default() }
    }

    /// The one that a source goes on with which had another one before: its time does not begin again, unless its file has changed, or is
    /// gone after it was written.
    pub(super) fn after(self: Arc<Self>, before: &Arc<Self>) -> Arc<Self> {
        let is_same = self.file == before.file && before.learned().is_none();
        if self.file.is_none() || is_same { Arc::clone(before) } else { self }
    }

    /// Where the secret will be, while it may be given.
    pub(super) fn open(&self) -> Option<&SecretFile> {
        self.file.as_ref().filter(|_| self.is_in_time() && self.learned().is_none())
    }

    fn is_in_time(&self) -> bool {
        self.clock.now().saturating_sub(self.began) < PAIRING_OPEN.micros()
    }

    fn learned(&self) -> Option<Secret> {
        self.learned.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Takes a secret, if it is the first, and answers where it is. That it is given again, since the answer was lost, is no other one. Blocks.
    fn take(&self, secret: Secret, fits: impl Fn(&Secret) -> Result<(), String>) -> Result<Option<&Path>, NotLearned> {
        let Some(file) = &self.file else { return Err(NotLearned::Complete) };
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        match &*learned {
            _ if !self.is_in_time() => Err(if learned.is_some() { NotLearned::Learned(file.path().to_owned()) } else { NotLearned::Over }),
            Some(known) if *known == secret => Ok(None),
            Some(_) => Err(NotLearned::Learned(file.path().to_owned())),
            None => {
                check(&secret).and_then(|()| fits(&secret)).map_err(NotLearned::Unfit)?;
                file.keep(&secret)?;
                *learned = Some(secret);
                Ok(Some(file.path()))
            }
        }
    }
}

/// Whether it is long enough to be one, and can be kept as it is.
fn check(secret: &Secret) -> Result<(), String> {
    let (length, least, most) = (secret.expose().len(), PAIRED_SECRET_BYTES.start(), PAIRED_SECRET_BYTES.end());
    if !PAIRED_SECRET_BYTES.contains(&length) {
        return Err(format!("it has {length} bytes, not {least} to {most}"));
    }
    let is_plain = secret.expose().iter().all(u8::is_ascii_graphic);
    is_plain.then_some(()).ok_or_else(|| "it is not written in printable ASCII".to_owned())
}

impl Source {
    /// Learns a secret that somebody offers, if pairing is open. It is in force when this returns.
    ///
    /// # Errors
    /// Why it was not taken. Then nothing has changed.
    ///
    /// Cancel safety: a secret that is being written is written to its end.
    pub(super) async fn learn(self: &Arc<Self>, secret: Secret, renewals: &Renewals) -> Result<(), NotLearned> {
        let Some(pairing) = &self.pairing else { return Err(NotLearned::Off) };
        // Nobody waits for a disk, or for a program that prints another secret, only to be refused.
        if !pairing.is_in_time() {
            return pairing.take(secret, |_| Ok(())).map(drop);
        }
        let (source, pairing, renewals) = (Arc::clone(self), Arc::clone(pairing), renewals.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let name = &*source.name;
            let fits = |secret: &Secret| source.verifier.as_ref().map_or(Ok(()), |verifier| verifier.takes(secret));
            if let Some(file) = pairing.take(secret, fits)? {
                let file = file.display();
                tracing::warn!(source = name, %file, "the first secret that was offered is kept; if it was not the provider's, remove the file and reload");
                renewals.renew();
            }
            Ok(())
        });
        taken.await.unwrap_or(Err(NotLearned::Stopping))
    }
}
