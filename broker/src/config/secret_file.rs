//! A file that a secret is yet to be written to.
//!
//! Constraints: written once, and whatever it holds already is never overwritten; nobody but the user of the broker can read it; durable when
//! it is told to be there.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};

use super::{Secret, SecretRef};

/// For the user of the broker alone.
const MODE: u32 = 0o600;

/// A file that is not there yet, or holds nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretFile(PathBuf);

/// Why a secret could not be kept. Holds the path, never the secret.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// There is something in it by now.
    #[error("{0} holds something by now, and is not overwritten")]
    Taken(PathBuf),
    /// It cannot be written.
    #[error("{path} cannot be written: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl SecretFile {
    /// The file behind a reference, if it is one that is not there yet, or holds nothing. `None` for whatever else can be read, or is wrong
    /// in another way. A relative path starts at `base`.
    ///
    /// # Errors
    /// Why it could not be made later on.
    pub(crate) fn awaited(reference: &SecretRef, base: &Path) -> Result<Option<Self>, String> {
        let SecretRef::File(path) = reference else { return Ok(None) };
        let path = base.join(path);
        match fs::metadata(&path) {
            Ok(held) => return Ok((held.is_file() && held.len() == 0).then_some(Self(path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(_) => return Ok(None),
        }
        let folder = folder_of(&path);
        if !folder.is_dir() {
            return Err(format!("{} cannot be made: there is no folder {}", path.display(), folder.display()));
        }
        if let Err(error) = access(folder, Access::WRITE_OK | Access::EXEC_OK) {
            return Err(format!("{} cannot be made: the broker may not write into {}: {error}", path.display(), folder.display()));
        }
        Ok(Some(Self(path)))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes the secret, which is durable when this returns. Blocks.
    ///
    /// # Errors
    /// [`KeepError`]. Then the file is as it was.
    pub fn keep(&self, secret: &Secret) -> Result<(), KeepError> {
        let failed = |source| KeepError::Write { path: self.0.clone(), source };
        let (mut file, is_new) = match OpenOptions::new().write(true).create_new(true).mode(MODE).open(&self.0) {
            Ok(file) => (file, true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                (OpenOptions::new().append(true).open(&self.0).map_err(failed)?, false)
            }
            Err(error) => return Err(failed(error)),
        };
        let held = file.metadata().map_err(failed)?;
        if !held.is_file() || held.len() > 0 {
            return Err(KeepError::Taken(self.0.clone()));
        }
        let written = fill(&mut file, secret).and_then(|()| File::open(folder_of(&self.0))?.sync_all());
        if written.is_err() {
            // A part of a secret would be taken for one. Nothing more can be done about it.
            let _ = if is_new { fs::remove_file(&self.0) } else { file.set_len(0) };
        }
        written.map_err(failed)
    }
}

fn fill(file: &mut File, secret: &Secret) -> io::Result<()> {
    // One that was there was made with whatever mode.
    file.set_permissions(fs::Permissions::from_mode(MODE))?;
    file.write_all(secret.expose())?;
    file.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn awaited(folder: &Path, name: &str) -> Result<Option<SecretFile>, String> {
        SecretFile::awaited(&SecretRef::File(name.into()), folder)
    }

    #[test]
    fn a_secret_is_written_once_for_the_broker_alone_and_overwrites_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        for name in ["new", "empty"] {
            let file = awaited(folder.path(), name).unwrap().unwrap();
            file.keep(&Secret::new("hunter2")).unwrap();
            let path = folder.path().join(name);
            assert_eq!(
                (fs::read_to_string(&path).unwrap(), fs::metadata(&path).unwrap().permissions().mode() & 0o777),
                ("hunter2".to_owned(), 0o600)
            );
            let again = file.keep(&Secret::new("hunter3")).unwrap_err();
            assert!(matches!(again, KeepError::Taken(_)) && !again.to_string().contains("hunter"), "{again}");
            assert_eq!(fs::read_to_string(&path).unwrap(), "hunter2");
            assert_eq!(awaited(folder.path(), name), Ok(None), "it is there");
        }
    }

    #[test]
    fn what_cannot_be_made_is_told_with_what_is_in_its_way() {
        let folder = tempfile::tempdir().unwrap();
        let told = awaited(folder.path(), "secrets/asana").unwrap_err();
        assert!(told.contains("secrets/asana cannot be made: there is no folder"), "{told}");
        assert_eq!(SecretFile::awaited(&SecretRef::Env("HOME".to_owned()), folder.path()), Ok(None));
        let file = awaited(folder.path(), "gone").unwrap().unwrap();
        fs::remove_dir_all(folder.path()).unwrap();
        assert!(file.keep(&Secret::new("hunter2")).unwrap_err().to_string().contains("gone cannot be written"));
    }
}
