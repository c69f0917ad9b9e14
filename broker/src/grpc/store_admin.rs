//! Looking after the store: how it is, whether it is sound, and a copy of it.
//!
//! Constraint: verifying and copying read all of the disk, on a thread where that is allowed; a copy no faster than its client takes it, and
//! no longer than that listens or the broker serves.

use std::{future::Future, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use waypost_proto::v1::{
    self, backup_store_response::Response as BackupResponse, store_admin_service_server::StoreAdminService,
    verify_store_response::Response as VerifyResponse,
};
use waypost_store::{Backup, EventStore, Upkeep, UpkeepError};

use super::convert::{found, timestamp, verified};
use crate::{access::By, broker::not_to_be_copied, error::Fault, limits};

/// Serves the administration of a store.
pub struct StoreAdmin {
    store: Arc<dyn EventStore>,
    stop: CancellationToken,
}

/// What a stream of messages is sent through.
type Sender<T> = mpsc::Sender<Result<T, Status>>;

impl StoreAdmin {
    /// Of this store, until the broker stops.
    #[must_use]
    pub fn new(store: Arc<dyn EventStore>, stop: CancellationToken) -> Self {
        Self { store, stop }
    }

    fn upkeep(&self) -> Result<Arc<dyn Upkeep>, Fault> {
        let why = "the store of this broker keeps nothing on disk (store.engine), so that there is nothing to verify or to copy";
        self.store.upkeep().ok_or_else(|| Fault::new(v1::ErrorReason::Unsupported, why))
    }

    /// Runs something that sends, until it is done, nobody listens any more, or the broker stops.
    fn streaming<T: Send + 'static>(&self, run: impl FnOnce(&Sender<T>) -> Result<(), UpkeepError> + Send + 'static) -> Stream<T> {
        let (sender, receiver) = mpsc::channel(limits::UPKEEP_QUEUE);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = run(&sender) {
                tracing::warn!(%error, "the store could not be verified or copied");
                // Who does not listen any more does not miss it.
                let _ = sender.blocking_send(Err(Fault::from(error).into()));
            }
        });
        let stop = self.stop.clone();
        let ended = async move { stop.cancelled().await };
        Box::pin(until(ReceiverStream::new(receiver), ended))
    }
}

type Stream<T> = std::pin::Pin<Box<dyn tokio_stream::Stream<Item = Result<T, Status>> + Send>>;

/// A stream that ends in an error once `ended` is over: its client must not take it for whole.
fn until<T: Send + 'static>(
    stream: ReceiverStream<Result<T, Status>>,
    ended: impl Future<Output = ()> + Send + 'static,
) -> impl tokio_stream::Stream<Item = Result<T, Status>> + Send {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut messages = stream.into_inner();
        tokio::pin!(ended);
        loop {
            let message = tokio::select! {
                () = &mut ended => Some(Err(Status::unavailable("the broker stops; try again"))),
                message = messages.recv() => message,
            };
            let Some(message) = message else { break };
            let is_last = message.is_err();
            if sender.send(message).await.is_err() || is_last {
                break;
            }
        }
    });
    ReceiverStream::new(receiver)
}

impl From<UpkeepError> for Fault {
    fn from(error: UpkeepError) -> Self {
        let reason = match error {
            UpkeepError::Tables { .. } | UpkeepError::Busy | UpkeepError::InUse(_) => v1::ErrorReason::OutcomeUnknown,
            UpkeepError::NoStore(_) | UpkeepError::Version { .. } | UpkeepError::Disk { .. } => v1::ErrorReason::DataCorrupted,
        };
        Self::new(reason, error.to_string())
    }
}

/// Sends a backup file by file. Ends early when nobody listens any more.
fn send(backup: &Backup, sender: &Sender<v1::BackupStoreResponse>) -> Result<(), UpkeepError> {
    let say = |response| sender.blocking_send(Ok(v1::BackupStoreResponse { response: Some(response) })).is_ok();
    for file in &backup.files {
        if !say(BackupResponse::File(v1::BackupFile { name: file.name.clone(), size: file.bytes })) {
            return Ok(());
        }
        let mut at = 0;
        while at < file.bytes {
            let content: Bytes = file.read(at, limits::BACKUP_PIECE_BYTES)?;
            at += content.len() as u64;
            if !say(BackupResponse::Content(content)) {
                return Ok(());
            }
        }
    }
    say(BackupResponse::BackedUp(v1::StoreBackedUp {
        files: u32::try_from(backup.files.len()).unwrap_or(u32::MAX),
        bytes: backup.files.iter().map(|file| file.bytes).sum(),
        first_offset: backup.first,
        next_offset: backup.next,
    }));
    Ok(())
}

#[tonic::async_trait]
impl StoreAdminService for StoreAdmin {
    async fn get_store(&self, _: Request<v1::GetStoreRequest>) -> Result<Response<v1::GetStoreResponse>, Status> {
        let disk = self.store.disk();
        let newest = disk.segments.iter().map(|segment| segment.newest).max().filter(|newest| *newest > 0);
        let store = v1::Store {
            used_bytes: disk.used,
            cap_bytes: disk.cap,
            reserve_bytes: disk.reserve,
            full: disk.full,
            first_offset: disk.first,
            next_offset: disk.next,
            segments: u32::try_from(disk.segments.len()).unwrap_or(u32::MAX),
            newest_at: newest.map(timestamp),
            dedup_since: Some(disk.dedup_since).filter(|since| *since > 0).map(timestamp),
            damage: disk.damage,
            on_disk: self.store.upkeep().is_some(),
        };
        Ok(Response::new(v1::GetStoreResponse { store: Some(store) }))
    }

    type VerifyStoreStream = Stream<v1::VerifyStoreResponse>;

    async fn verify_store(&self, _: Request<v1::VerifyStoreRequest>) -> Result<Response<Self::VerifyStoreStream>, Status> {
        let upkeep = self.upkeep()?;
        Ok(Response::new(self.streaming(move |sender: &Sender<v1::VerifyStoreResponse>| {
            let say = |response| drop(sender.blocking_send(Ok(v1::VerifyStoreResponse { response: Some(response) })));
            let summary = upkeep.verify(&mut |finding| {
                if finding.is_damage {
                    tracing::error!(%finding, "a verification found damage");
                }
                say(VerifyResponse::Finding(found(finding)));
            })?;
            say(VerifyResponse::Verified(verified(summary)));
            Ok(())
        })))
    }

    type BackupStoreStream = Stream<v1::BackupStoreResponse>;

    async fn backup_store(&self, request: Request<v1::BackupStoreRequest>) -> Result<Response<Self::BackupStoreStream>, Status> {
        let upkeep = By::of(&request).does("backup_store", "store", async { self.upkeep() }).await?;
        Ok(Response::new(self.streaming(move |sender| {
            let backup = upkeep.backup(vec![not_to_be_copied()])?;
            tracing::info!(next = backup.next, files = backup.files.len(), "a backup is being taken");
            send(&backup, sender)
        })))
    }
}
