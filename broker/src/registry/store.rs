//! The subscriptions that there are: open and find.
//!
//! Constraint: one that is gone is found by nobody, also when nobody heard what became of its deletion.
//!
//! | file | what it holds |
//! |---|---|
//! | `create` | subscriptions that begin |
//! | `change` | subscriptions that are changed, and end |

mod change;
mod create;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::{Mutex, MutexGuard};
use waypost_delivery::SessionId;
use waypost_proto::v1::{self, start_position::Position};
use waypost_store::{Offset, ReadError, Table};

use super::{
    handle::Handle,
    row::{Info, RowError},
};
use crate::{
    dispatcher::{Command, Shared},
    entropy::Entropy,
    error::Fault,
    grpc::convert::micros,
    limits,
};

/// How many subscriptions and sessions there may be.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLimits {
    /// Named subscriptions.
    pub max_subscriptions: u32,
    /// Sessions of one subscription.
    pub max_sessions: u32,
}

/// Every subscription.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    entropy: Arc<Entropy>,
    limits: ArcSwap<RegistryLimits>,
    by_name: DashMap<Arc<str>, Arc<Handle>>,
    by_incarnation: DashMap<u64, Arc<Handle>>,
    /// Those without a name, by the session that made each.
    by_session: DashMap<SessionId, Arc<Handle>>,
    /// Administrative changes go one at a time, and none while retention looks who needs what. Whoever holds it waits for no subscription
    /// that does not answer: the others are not to wait for that one, too (P12).
    changing: Mutex<()>,
}

/// Why the subscriptions could not be read when the broker started.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The store did not answer.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// A row is not one.
    #[error("the row of subscription {name:?} cannot be read: {error}")]
    Row {
        /// Its key.
        name: String,
        /// What is wrong.
        error: RowError,
    },
}

/// How many rows are read at a time.
const SCAN: usize = 256;

impl Registry {
    /// Reads which subscriptions there are. None is started.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub async fn open(shared: Arc<Shared>, entropy: Arc<Entropy>, limits: RegistryLimits) -> Result<Self, OpenError> {
        let registry = Self {
            shared,
            entropy,
            limits: ArcSwap::from_pointee(limits),
            by_name: DashMap::new(),
            by_incarnation: DashMap::new(),
            by_session: DashMap::new(),
            changing: Mutex::new(()),
        };
        let mut from = Vec::new();
        loop {
            let rows = registry.shared.store.scan(Table::Subscriptions, &from, SCAN).await?;
            for row in &rows {
                let (name, incarnation, info) =
                    Info::read(row).map_err(|error| OpenError::Row { name: String::from_utf8_lossy(&row.key).into_owned(), error })?;
                registry.insert(&Handle::new(name, incarnation, info, None));
            }
            match rows.last() {
                Some(last) if rows.len() == SCAN => from = [&last.key[..], &[0]].concat(),
                _ => return Ok(registry),
            }
        }
    }

    fn insert(&self, handle: &Arc<Handle>) {
        if !handle.is_ephemeral() {
            self.by_name.insert(Arc::clone(&handle.name), Arc::clone(handle));
        }
        self.by_incarnation.insert(handle.incarnation, Arc::clone(handle));
    }

    /// Takes out one that is gone, also if nobody heard what became of its deletion.
    fn remove(&self, handle: &Handle) {
        self.by_name.remove_if(&handle.name, |_, other| other.incarnation == handle.incarnation);
        self.by_incarnation.remove(&handle.incarnation);
    }

    /// What the dispatchers share.
    #[must_use]
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How many there may be.
    #[must_use]
    pub fn limits(&self) -> RegistryLimits {
        **self.limits.load()
    }

    /// Lets there be so many from now on. What there is already stays.
    pub fn set_limits(&self, limits: RegistryLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// The named subscription, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<Handle>> {
        let handle = self.by_name.get(name).map(|handle| Arc::clone(&handle))?;
        if handle.is_deleted() {
            self.remove(&handle);
            return None;
        }
        Some(handle)
    }

    /// The subscription that a token names, if there still is one.
    #[must_use]
    pub fn by_incarnation(&self, incarnation: u64) -> Option<Arc<Handle>> {
        self.by_incarnation.get(&incarnation).map(|handle| Arc::clone(&handle)).filter(|handle| !handle.is_deleted())
    }

    /// The subscription without a name that a session has made, as long as the session lives.
    #[must_use]
    pub fn by_session(&self, session: SessionId) -> Option<Arc<Handle>> {
        self.by_session.get(&session).map(|handle| Arc::clone(&handle)).filter(|handle| !handle.is_deleted())
    }

    /// The named subscriptions, by name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Handle>> {
        let mut handles: Vec<_> = self.by_name.iter().filter(|handle| !handle.is_deleted()).map(|handle| Arc::clone(&handle)).collect();
        handles.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        handles
    }

    /// Those that have a task, ephemeral ones included, by incarnation.
    #[must_use]
    pub fn running(&self) -> Vec<Arc<Handle>> {
        let mut handles: Vec<_> =
            self.by_incarnation.iter().filter(|handle| handle.is_running()).map(|handle| Arc::clone(&handle)).collect();
        handles.sort_unstable_by_key(|handle| handle.incarnation);
        handles
    }

    /// Where a position is in the log.
    ///
    /// # Errors
    /// When it is beyond the end, or the store does not answer.
    pub async fn position(&self, position: Option<&v1::StartPosition>, field: &str) -> Result<Offset, Fault> {
        let store = &self.shared.store;
        let tail = *store.tail().borrow();
        match position.and_then(|position| position.position) {
            None => Ok(tail),
            Some(Position::Point(point)) => match v1::StartPoint::try_from(point) {
                Ok(v1::StartPoint::New) => Ok(tail),
                Ok(v1::StartPoint::Earliest) => Ok(store.disk().first),
                _ => Err(Fault::invalid(field, "the point must be START_POINT_NEW or START_POINT_EARLIEST")),
            },
            Some(Position::Offset(offset)) if offset > tail => {
                Err(Fault::out_of_range(field, format!("offset {offset} is beyond the end of the log, which is {tail}")))
            }
            Some(Position::Offset(offset)) => Ok(offset.max(1)),
            Some(Position::Time(time)) => match micros(time) {
                Some(time) if time > self.shared.clock.now() => Err(Fault::out_of_range(field, "the time is in the future".to_owned())),
                Some(time) => Ok(store.offset_at(time).await?),
                None => Err(Fault::invalid(field, "the time is before 1970 or malformed")),
            },
        }
    }

    /// While this is held nobody begins to need what nobody needed: no subscription is created or sought.
    pub(crate) async fn hold_still(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Tells every stream that the broker ends, lets agents settle what they hold for up to the grace, and ends the streams: each as soon as
    /// its subscription has nothing leased. Every dispatcher is done after it.
    pub async fn drain(&self, grace: Duration) {
        self.shared.drain();
        let handles = self.running();
        for handle in &handles {
            handle.tell(Command::Drain(grace)).await;
        }
        self.shared.tasks.close();
        if tokio::time::timeout(grace, self.shared.tasks.wait()).await.is_err() {
            for handle in &handles {
                handle.tell(Command::Close).await;
            }
            let _ = tokio::time::timeout(limits::CLOSE_GRACE, self.shared.tasks.wait()).await;
        }
    }
}
