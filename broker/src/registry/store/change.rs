//! Subscriptions that are changed, and end.
//!
//! Constraint: one change at a time, and each begins with what the one before has made.

use std::sync::Arc;

use waypost_proto::v1::{self, ErrorReason};
use waypost_store::{Commit, Offset};

use super::Registry;
use crate::{
    dispatcher::Change,
    error::Fault,
    grpc::convert,
    limits,
    registry::{
        handle::Handle,
        row::{self, Info},
    },
};

impl Registry {
    /// Gives a subscription other rules. Answers the first offset that they decide about.
    ///
    /// # Errors
    /// When they are not valid, or the store refuses.
    pub async fn update(&self, handle: &Arc<Handle>, set: &v1::SubscriptionSpec, reset: &[String]) -> Result<Offset, Fault> {
        let _changing = self.changing.lock().await;
        let info = self.in_force(handle).await?;
        let spec = info.spec.updated(set, reset).map_err(|wrong| Fault::fields(ErrorReason::InvalidField, wrong))?;
        let config = spec.config(&self.shared.settings, false, handle.incarnation);
        let from = *self.shared.store.tail().borrow();
        let change = Change::Update { from, config, info: Info { spec: Arc::new(spec), ..info } };
        // The machine may have to begin later: after what it examined, and after another filter that is to come.
        Ok(handle.change(&self.shared, change).await?.first().copied().unwrap_or(from))
    }

    /// Stops a subscription, or lets it go on.
    ///
    /// # Errors
    /// When the store refuses.
    pub async fn pause(&self, handle: &Arc<Handle>, paused: bool, reason: String) -> Result<(), Fault> {
        let pause_reason = if paused { convert::cut(reason, limits::MAX_REASON_BYTES) } else { String::new() };
        let _changing = self.changing.lock().await;
        let info = Info { paused, pause_reason, ..self.in_force(handle).await? };
        handle.change(&self.shared, Change::Pause { paused, info }).await?;
        Ok(())
    }

    /// What is known about a subscription, to be changed. If the outcome of an earlier change is not known yet, it waits until it is, or is
    /// refused when that takes longer than [`limits::ANSWER_WITHIN`].
    async fn in_force(&self, handle: &Arc<Handle>) -> Result<Info, Fault> {
        handle.inspect(&self.shared).await?;
        Ok(handle.info())
    }

    /// Begins a subscription again at another position.
    ///
    /// # Errors
    /// When the position is beyond the end, or the store refuses.
    pub async fn seek(&self, handle: &Arc<Handle>, target: Option<&v1::StartPosition>) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        let to = self.position(target, "target").await?;
        handle.change(&self.shared, Change::Seek(to)).await?;
        Ok(())
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// When it does not answer, or the store refuses.
    pub async fn delete(&self, handle: &Arc<Handle>) -> Result<(), Fault> {
        let _changing = self.changing.lock().await;
        if handle.failure().is_some() {
            self.delete_failed(handle).await?;
        } else {
            handle.change(&self.shared, Change::Delete).await?;
        }
        self.remove(handle);
        tracing::info!(subscription = &*handle.name, incarnation = handle.incarnation, "subscription deleted");
        Ok(())
    }

    /// One whose records cannot be read has no machine to ask.
    async fn delete_failed(&self, handle: &Handle) -> Result<(), Fault> {
        let claim = self.shared.store.claim(&handle.name).await?.claim;
        let rows = vec![row::delete(&handle.name)];
        let commit = Commit { claim: Some(claim), supersede: true, rows, ..Commit::default() };
        self.shared.store.commit(self.shared.clock.now(), commit).await?;
        handle.set_deleted();
        Ok(())
    }
}
