//! `waypost store backup`.
//!
//! Constraints: names come from the broker and are believed only as names; bytes are on the disk, and verified, before the directory
//! gets its name.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use waypost_proto::v1::{
    BackupFile, BackupStoreRequest, StoreBackedUp, backup_store_response::Response, store_admin_service_client::StoreAdminServiceClient,
};

use super::{stat::size, verify};
use crate::{
    cli::{
        admin::call::{AdminArgs, Call},
        connection::refused,
        failure::Failure,
        table::clean,
    },
    limits,
};

/// Copies the store into a new directory.
///
/// # Errors
/// What the broker or the disk refuses; when the directory is there already; and [`Failure::Damage`] when the copy is damaged, because
/// the store is: it is kept then.
pub async fn run(args: &AdminArgs, dir: &Path) -> Result<(), Failure> {
    if dir.exists() {
        return Err(Failure::Usage(format!("{} is there already; a backup goes into a directory of its own", dir.display())));
    }
    let mut partial = dir.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let call = Call::open(args).await?;
    fs::create_dir(&partial).map_err(|error| {
        let hint =
            if error.kind() == io::ErrorKind::AlreadyExists { "; it is left of a backup that was broken off: remove it" } else { "" };
        Failure::Failed(format!("{} cannot be made: {error}{hint}", partial.display()))
    })?;
    let written = receive(&call, &partial).await;
    if written.is_err() {
        // Half a backup is none; if it cannot be removed, the next one says so.
        let _ = fs::remove_dir_all(&partial);
    }
    let summary = written?;
    let damage = verify_copy(&partial)?;
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let named = fs::rename(&partial, dir).and_then(|()| File::open(parent)?.sync_all());
    named.map_err(|error| Failure::Failed(format!("{} cannot get its name: {error}", dir.display())))?;
    call.show(&summary, |summary| people(dir, summary))?;
    if damage.is_empty() {
        return Ok(());
    }
    damage.iter().for_each(|line| eprintln!("DAMAGE  {}", clean(line)));
    Err(Failure::Damage(format!("the copy is whole and damaged in {} places, as the store is: `waypost store verify`", damage.len())))
}

async fn receive(call: &Call, dir: &Path) -> Result<StoreBackedUp, Failure> {
    let mut client = StoreAdminServiceClient::new(call.channel.clone()).max_decoding_message_size(limits::MAX_REQUEST_BYTES);
    let mut stream = client.backup_store(BackupStoreRequest {}).await.map_err(refused)?.into_inner();
    let mut writing: Option<Writing> = None;
    let failed = |error: io::Error| Failure::Failed(format!("the backup cannot be written: {error}"));
    while let Some(message) = stream.message().await.map_err(refused)? {
        match message.response {
            Some(Response::File(file)) => {
                if let Some(done) = writing.take() {
                    done.finish()?;
                }
                writing = Some(Writing::begin(dir, &file)?);
            }
            Some(Response::Content(content)) => {
                let file = writing.as_mut().ok_or_else(|| Failure::Failed("the broker sent bytes of no file".to_owned()))?;
                file.file.write_all(&content).map_err(failed)?;
                file.left = file.left.saturating_sub(content.len() as u64);
            }
            Some(Response::BackedUp(summary)) => {
                if let Some(done) = writing.take() {
                    done.finish()?;
                }
                File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)?;
                return Ok(summary);
            }
            None => {}
        }
    }
    Err(Failure::Unavailable("the broker ended before the backup was whole; nothing of it is kept".to_owned()))
}

/// The file that is being received.
struct Writing {
    name: String,
    file: File,
    left: u64,
}

impl Writing {
    fn begin(dir: &Path, file: &BackupFile) -> Result<Self, Failure> {
        let name = &file.name;
        let is_name =
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !is_name {
            return Err(Failure::Failed(format!("the broker sent a file named {name:?}, which is none of a store")));
        }
        let made = File::create_new(dir.join(name)).map_err(|error| Failure::Failed(format!("{name} cannot be made: {error}")))?;
        Ok(Self { name: name.clone(), file: made, left: file.size })
    }

    fn finish(self) -> Result<(), Failure> {
        if self.left > 0 {
            return Err(Failure::Failed(format!("{} is {} bytes short", self.name, self.left)));
        }
        self.file.sync_all().map_err(|error| Failure::Failed(format!("{} cannot be synced: {error}", self.name)))
    }
}

fn verify_copy(dir: &Path) -> Result<Vec<String>, Failure> {
    let mut damage = Vec::new();
    let tell = &mut |finding: waypost_store::Finding| {
        if finding.is_damage {
            damage.push(finding.to_string());
        }
    };
    waypost_store::verify(dir, tell).map_err(|error| verify::failed(dir, "verify", &error))?;
    Ok(damage)
}

fn people(dir: &Path, summary: &StoreBackedUp) -> String {
    let offsets = match summary.next_offset.checked_sub(1) {
        Some(last) if last >= summary.first_offset => format!("offsets {} to {last}", summary.first_offset),
        _ => "no events".to_owned(),
    };
    format!("{}: {offsets}, {} files, {}, verified", dir.display(), summary.files, size(summary.bytes))
}
