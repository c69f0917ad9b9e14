//! One subscription, running or not.
//!
//! Constraints:
//! - A subscription that nobody uses has no task: its machine is parked here, or not even loaded. The first question starts it.
//! - No question is lost when a dispatcher ends: its channel is closed first, and what was in it is answered by the next one.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use waypost_delivery::{SessionId, Subscription};
use waypost_proto::v1::{self, ErrorReason};
use waypost_store::{Claim, Micros, Offset};

use super::row::Info;
use crate::{
    dispatcher::{self, Change, Command, Shared, Signals},
    error::Fault,
    limits,
    metrics::SubscriptionMetrics,
};

/// A subscription by name, or an ephemeral one.
#[derive(Debug)]
pub struct Handle {
    /// Its name; empty for an ephemeral one.
    pub name: Arc<str>,
    /// This creation of it.
    pub incarnation: u64,
    /// What its streams tell.
    pub signals: Arc<Signals>,
    /// Where it stands, as far as is known: 0 until it was loaded.
    pub frontier: Arc<AtomicU64>,
    /// What is counted of it.
    pub metrics: SubscriptionMetrics,
    info: Mutex<Info>,
    life: Mutex<Life>,
}

/// A machine and the right to commit for it; `None` for an ephemeral one.
#[derive(Debug)]
pub struct Core {
    /// The machine.
    pub machine: Subscription,
    /// The claim under which it commits.
    pub claim: Option<Claim>,
}

#[derive(Debug)]
enum Life {
    /// Not loaded.
    Cold,
    /// Loaded, without a task.
    Parked(Box<Core>),
    /// With a task.
    Running(mpsc::Sender<Command>),
    /// Gone.
    Deleted,
    /// Its records could not be read.
    Failed(String),
}

impl Handle {
    /// A subscription whose machine is at hand, or is to be loaded when it is needed.
    #[must_use]
    pub fn new(name: Arc<str>, incarnation: u64, info: Info, core: Option<Box<Core>>) -> Arc<Self> {
        let life = core.map_or(Life::Cold, Life::Parked);
        Arc::new(Self {
            name,
            incarnation,
            signals: Arc::default(),
            frontier: Arc::default(),
            metrics: SubscriptionMetrics::default(),
            info: Mutex::new(info),
            life: Mutex::new(life),
        })
    }

    /// Whether it has no name.
    #[must_use]
    pub fn is_ephemeral(&self) -> bool {
        self.name.is_empty()
    }

    /// What is known about it.
    #[must_use]
    pub fn info(&self) -> Info {
        self.info.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether its rules are those that somebody asks for, as far as they do.
    ///
    /// # Errors
    /// `SPEC_MISMATCH`, with every field that differs.
    pub fn check_spec(&self, asked: &v1::SubscriptionSpec) -> Result<(), Fault> {
        let differences = self.info().spec.mismatches(asked);
        if differences.is_empty() {
            return Ok(());
        }
        Err(Fault::fields(ErrorReason::SpecMismatch, differences.into_iter().map(|violation| violation.within("spec")).collect()))
    }

    /// Changes what is known about it; not when it last had a session, which may have become later meanwhile.
    pub fn set_info(&self, info: Info) {
        let mut known = self.info.lock().unwrap_or_else(PoisonError::into_inner);
        let last_session_at = known.last_session_at.max(info.last_session_at);
        *known = Info { last_session_at, ..info };
    }

    /// Notes that it has a session now, or had one just now.
    pub fn seen(&self, now: Micros) {
        let mut known = self.info.lock().unwrap_or_else(PoisonError::into_inner);
        known.last_session_at = known.last_session_at.max(Some(now));
    }

    /// Notes where it stands.
    pub fn note(&self, machine: &Subscription) {
        let status = machine.status();
        self.frontier.store(status.frontier, Ordering::Relaxed);
        self.metrics.note(&status);
    }

    /// Whether its machine was at hand once, or there is none to wait for.
    #[must_use]
    pub fn was_loaded(&self) -> bool {
        match *self.life() {
            Life::Cold => false,
            // It may still be waiting for what the store has of it.
            Life::Running(_) => self.metrics.level().is_some(),
            Life::Parked(_) | Life::Failed(_) | Life::Deleted => true,
        }
    }

    /// Whether it has a task.
    #[must_use]
    pub fn is_running(&self) -> bool {
        matches!(*self.life(), Life::Running(_))
    }

    /// Whether it is gone.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        matches!(*self.life(), Life::Deleted)
    }

    /// Why its records could not be read, if they could not.
    #[must_use]
    pub fn failure(&self) -> Option<String> {
        match &*self.life() {
            Life::Failed(reason) => Some(reason.clone()),
            _ => None,
        }
    }

    /// Asks its dispatcher, which is started if there is none.
    ///
    /// # Errors
    /// When the subscription is gone or has failed.
    pub async fn send(self: &Arc<Self>, shared: &Arc<Shared>, mut command: Command) -> Result<(), Fault> {
        loop {
            let sender = self.sender(shared)?;
            match sender.send(command).await {
                Ok(()) => return Ok(()),
                // It was just ending: a moment later it is parked, and can be started again.
                Err(mpsc::error::SendError(back)) => {
                    command = back;
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Makes an administrative change and waits until it is durable.
    ///
    /// # Errors
    /// Why nothing changed, or that it is not known whether it did. One that does not answer is not asked: nothing changed.
    pub async fn change(self: &Arc<Self>, shared: &Arc<Shared>, change: Change) -> Result<Vec<Offset>, Fault> {
        self.inspect(shared).await?;
        let (reply, answer) = oneshot::channel();
        self.send(shared, Command::Admin { change, reply }).await?;
        answer.await.unwrap_or_else(|_| Err(Fault::outcome_unknown()))
    }

    /// How it is doing.
    ///
    /// # Errors
    /// When it is gone, has failed, or does not answer within [`limits::ANSWER_WITHIN`].
    pub async fn inspect(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<dispatcher::Inspection, Fault> {
        self.inspect_events(shared, &[]).await
    }

    /// The same, and how far it is with some events.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect).
    pub async fn inspect_events(self: &Arc<Self>, shared: &Arc<Shared>, events: &[Offset]) -> Result<dispatcher::Inspection, Fault> {
        if let Life::Parked(core) = &*self.life() {
            return Ok(dispatcher::Inspection::of(&self.name, &core.machine, Vec::new(), events));
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Inspect { events: events.to_vec(), reply };
        let asked = async {
            self.send(shared, command).await?;
            answer.await.unwrap_or_else(|_| Err(Fault::outcome_unknown()))
        };
        timeout(limits::ANSWER_WITHIN, asked).await.unwrap_or_else(|_| Err(Fault::no_answer(&self.name)))
    }

    /// Ends a session. `None` if it has no stream here.
    ///
    /// # Errors
    /// As [`inspect`](Self::inspect).
    pub async fn end_session(self: &Arc<Self>, shared: &Arc<Shared>, session: SessionId) -> Result<Option<dispatcher::SessionInfo>, Fault> {
        let (reply, answer) = oneshot::channel();
        self.send(shared, Command::End { session, reply }).await?;
        answer.await.map_err(|_| Fault::outcome_unknown())
    }

    /// Tells its dispatcher, if there is one.
    pub async fn tell(&self, command: Command) {
        let sender = match &*self.life() {
            Life::Running(sender) => sender.clone(),
            _ => return,
        };
        // One that is ending has nothing to be told.
        let _ = sender.send(command).await;
    }

    fn sender(self: &Arc<Self>, shared: &Arc<Shared>) -> Result<mpsc::Sender<Command>, Fault> {
        let mut life = self.life();
        let core = match std::mem::replace(&mut *life, Life::Deleted) {
            Life::Running(sender) => {
                *life = Life::Running(sender.clone());
                return Ok(sender);
            }
            Life::Deleted => return Err(Fault::no_subscription(&self.name)),
            Life::Failed(reason) => {
                *life = Life::Failed(reason.clone());
                return Err(Fault::new(ErrorReason::SubscriptionFailed, reason));
            }
            Life::Cold => None,
            Life::Parked(core) => Some(core),
        };
        let (sender, receiver) = mpsc::channel(limits::DISPATCHER_QUEUE);
        *life = Life::Running(sender.clone());
        drop(life);
        dispatcher::start(Arc::clone(shared), Arc::clone(self), core, receiver);
        Ok(sender)
    }

    /// A dispatcher ends: its machine is parked. `Err` gives both back: there are questions left, and a new channel for more.
    pub(crate) fn park(&self, core: Option<Box<Core>>, left: bool) -> Result<(), (Option<Box<Core>>, mpsc::Receiver<Command>)> {
        let mut life = self.life();
        if left {
            let (sender, receiver) = mpsc::channel(limits::DISPATCHER_QUEUE);
            *life = Life::Running(sender);
            return Err((core, receiver));
        }
        *life = core.map_or(Life::Cold, Life::Parked);
        Ok(())
    }

    /// It is gone.
    pub(crate) fn set_deleted(&self) {
        *self.life() = Life::Deleted;
    }

    /// Its records cannot be read.
    pub(crate) fn set_failed(&self, reason: String) {
        *self.life() = Life::Failed(reason);
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
