//! Open, find, create, change, delete.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::{Mutex, MutexGuard};
use waypost_delivery::{SessionId, Subscription};
use waypost_proto::v1::{self, ErrorReason, start_position::Position};
use waypost_store::{AppendError, Commit, CommitError, Offset, ReadError, Table};

use super::{
    handle::{Core, Handle},
    row::{Info, RowError},
};
use crate::{
    dispatcher::{Change, Command, Shared},
    entropy::Entropy,
    error::Fault,
    grpc::convert::micros,
    limits,
    spec::Spec,
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

    /// The subscription for a Subscribe call; created if there is none and it may be. Answers whether it was.
    ///
    /// # Errors
    /// When it must exist and does not, exists with other rules, or cannot be created.
    pub async fn open_or_create(&self, name: &str, asked: &v1::SubscriptionSpec, must_exist: bool) -> Result<(Arc<Handle>, bool), Fault> {
        if let Some(handle) = self.matching(name, asked).await? {
            return Ok((handle, false));
        }
        if must_exist {
            return Err(Fault::no_subscription(name));
        }
        let _changing = self.changing.lock().await;
        match self.matching(name, asked).await? {
            Some(handle) => Ok((handle, false)),
            None => Ok((self.create_now("subscription", name, asked).await?, true)),
        }
    }

    /// The named subscription, when it is certain whether there is one: what became of its creation may not be known yet.
    async fn find(&self, name: &str) -> Result<Option<Arc<Handle>>, Fault> {
        let Some(handle) = self.get(name) else { return Ok(None) };
        if !handle.was_loaded()
            && let Err(fault) = handle.inspect(&self.shared).await
            && !handle.was_loaded()
        {
            return Err(fault);
        }
        Ok(self.get(name))
    }

    async fn matching(&self, name: &str, asked: &v1::SubscriptionSpec) -> Result<Option<Arc<Handle>>, Fault> {
        let Some(handle) = self.find(name).await? else { return Ok(None) };
        handle.check_spec(asked)?;
        Ok(Some(handle))
    }

    /// Creates a named subscription.
    ///
    /// # Errors
    /// When there is one, the name or rules are not valid, there are too many, or the store refuses.
    pub async fn create(&self, name: &str, asked: &v1::SubscriptionSpec) -> Result<Arc<Handle>, Fault> {
        self.check_absent(name).await?;
        let _changing = self.changing.lock().await;
        self.check_absent(name).await?;
        self.create_now("name", name, asked).await
    }

    async fn check_absent(&self, name: &str) -> Result<(), Fault> {
        match self.find(name).await? {
            Some(_) => Err(Fault::new(ErrorReason::SubscriptionExists, format!("subscription {name:?} exists"))),
            None => Ok(()),
        }
    }

    /// `field` is what its name is called where it was asked for.
    async fn create_now(&self, field: &str, name: &str, asked: &v1::SubscriptionSpec) -> Result<Arc<Handle>, Fault> {
        check_name(field, name)?;
        let spec = spec(asked)?;
        let most = self.limits().max_subscriptions;
        if self.by_name.len() >= most as usize {
            let text = format!("there are {most} subscriptions, which is the most (limits.max_subscriptions)");
            return Err(Fault::new(ErrorReason::LimitReached, text));
        }
        let store = &self.shared.store;
        let start = self.position(asked.start_position.as_ref(), "spec.start_position").await?;
        let claim = store.claim(name).await?.claim;
        let now = self.shared.clock.now();
        let incarnation = self.new_incarnation();
        let config = spec.config(&self.shared.settings, false, incarnation);
        let (machine, record) = Subscription::create(claim.epoch, incarnation, start, config, spec.filter_bytes());
        let info = Info { spec: Arc::new(spec), created_at: now, last_session_at: None, paused: false, pause_reason: String::new() };
        let commit = Commit {
            claim: Some(claim.clone()),
            records: vec![record.encode().into()],
            supersede: true,
            events: Vec::new(),
            rows: vec![info.put(name, incarnation)],
        };
        let committed = store.commit(now, commit).await;
        // It may be there all the same. Then it needs its events: whoever asks for it, retention as well, finds out.
        let is_unknown = matches!(committed, Err(CommitError::Append(AppendError::Unknown(_))));
        let core = committed.is_ok().then(|| Box::new(Core { machine, claim: Some(claim) }));
        let handle = Handle::new(name.into(), incarnation, info, core);
        if committed.is_ok() || is_unknown {
            self.insert(&handle);
        }
        committed?;
        tracing::info!(subscription = name, incarnation, start, "subscription created");
        Ok(handle)
    }

    /// Creates a subscription without a name: nothing of it is kept. If another call of the session has just made one, it is that.
    ///
    /// # Errors
    /// When the rules are not valid.
    pub async fn create_ephemeral(&self, session: SessionId, asked: &v1::SubscriptionSpec) -> Result<Arc<Handle>, Fault> {
        for (field, is_set) in [("spec.backlog", asked.backlog.is_some()), ("spec.expire_after", asked.expire_after.is_some())] {
            if is_set {
                return Err(Fault::invalid(field, "is for named subscriptions only; leave it out, or give the subscription a name"));
            }
        }
        let spec = spec(asked)?;
        let start = self.position(asked.start_position.as_ref(), "spec.start_position").await?;
        let incarnation = self.new_incarnation();
        let config = spec.config(&self.shared.settings, true, incarnation);
        let (machine, _) = Subscription::create(1, incarnation, start, config, spec.filter_bytes());
        let created_at = self.shared.clock.now();
        let info = Info { spec: Arc::new(spec), created_at, last_session_at: None, paused: false, pause_reason: String::new() };
        self.by_incarnation.retain(|_, handle| !handle.is_ephemeral() || !handle.is_deleted());
        self.by_session.retain(|_, handle| !handle.is_deleted());
        let made = || Handle::new("".into(), incarnation, info, Some(Box::new(Core { machine, claim: None })));
        let handle = Arc::clone(&self.by_session.entry(session).or_insert_with(made));
        self.insert(&handle);
        Ok(handle)
    }

    fn new_incarnation(&self) -> u64 {
        loop {
            let incarnation = self.entropy.number();
            if !self.by_incarnation.contains_key(&incarnation) {
                return incarnation;
            }
        }
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
        let pause_reason = if paused { crate::grpc::convert::cut(reason, limits::MAX_REASON_BYTES) } else { String::new() };
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

    /// While this is held nobody begins to need what nobody needed: no subscription is created or sought.
    pub(crate) async fn hold_still(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
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
        let rows = vec![super::row::delete(&handle.name)];
        let commit = Commit { claim: Some(claim), supersede: true, rows, ..Commit::default() };
        self.shared.store.commit(self.shared.clock.now(), commit).await?;
        handle.set_deleted();
        Ok(())
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

fn spec(asked: &v1::SubscriptionSpec) -> Result<Spec, Fault> {
    Spec::new(asked).map_err(|wrong| {
        let wrong = wrong.into_iter().map(|violation| violation.within("spec")).collect();
        Fault::fields(ErrorReason::InvalidField, wrong)
    })
}

fn check_name(field: &str, name: &str) -> Result<(), Fault> {
    let fits = (1..=limits::MAX_SUBSCRIPTION_NAME_BYTES).contains(&name.len());
    let is_plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if !fits || !is_plain || name.starts_with("waypost.") {
        let text = format!("{name:?} is not 1 to 128 of a-z, A-Z, 0-9, '.', '_' and '-', not starting with \"waypost.\"");
        return Err(Fault::invalid(field, text));
    }
    Ok(())
}
