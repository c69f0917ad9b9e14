//! Subscriptions that begin.
//!
//! Constraint: whether there is one of the name is certain before another is made, and nobody makes one meanwhile.

use std::sync::Arc;

use waypost_delivery::{SessionId, Subscription};
use waypost_proto::v1::{self, ErrorReason};
use waypost_store::{AppendError, Commit, CommitError};

use super::Registry;
use crate::{
    error::Fault,
    limits,
    registry::{
        handle::{Core, Handle},
        row::Info,
    },
    spec::Spec,
};

impl Registry {
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
