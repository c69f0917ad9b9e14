//! The loop of one dispatcher, from its start until it is parked.
//!
//! Constraints:
//! - On an outcome that is not known the machine is dropped and restored from what the store says; its streams end with UNAVAILABLE, and their
//!   clients come back with what they hold (P4, P6).
//! - It ends by itself when nobody needs it, and leaves nothing behind but its parked machine.

use std::sync::Arc;

use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};
use waypost_delivery::{Subscription, Time};
use waypost_store::{BoxFuture, ReadError, Table};

use super::{Command, Settled, Shared, inputs::draining, turn::Dispatcher, writer::Write};
use crate::{
    error::Fault,
    limits,
    registry::{Core, Handle, Info},
};

/// Starts the task of a subscription.
pub(crate) fn start(shared: Arc<Shared>, handle: Arc<Handle>, core: Option<Box<Core>>, commands: mpsc::Receiver<Command>) {
    let tasks = shared.tasks.clone();
    tasks.spawn(live(shared, handle, core, commands));
}

/// Why a dispatcher stopped.
enum Stopped {
    /// Nobody needs it.
    Idle,
    /// The subscription is gone.
    Deleted,
    /// What was written is not known.
    Lost,
}

async fn live(shared: Arc<Shared>, handle: Arc<Handle>, mut core: Option<Box<Core>>, mut commands: mpsc::Receiver<Command>) {
    let mut left = Vec::new();
    let mut is_lost = false;
    loop {
        let loaded = match core.take() {
            Some(core) => Ok(core),
            None => load(&shared, &handle, is_lost).await,
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(end) => return end_for_good(&handle, end, commands, left).await,
        };
        let Core { machine, claim } = *loaded;
        let mut dispatcher = Box::new(Dispatcher::new(Arc::clone(&shared), Arc::clone(&handle), machine, claim));
        left.drain(..).for_each(|command| dispatcher.command(command));
        match dispatcher.run(&mut commands).await {
            Stopped::Lost => {
                let why = dispatcher.lost.take().unwrap_or_default();
                tracing::warn!(subscription = &*handle.name, why, "the outcome of a commit is not known; restoring the subscription");
                if !dispatcher.sessions.is_empty() {
                    // They are here up to now, though nobody sees them leave.
                    handle.seen(shared.clock.now());
                }
                dispatcher.sessions.end_all(&Fault::outcome_unknown());
                drop(dispatcher);
                if handle.is_ephemeral() {
                    return end_for_good(&handle, End::Deleted, commands, left).await;
                }
                is_lost = true;
                sleep(limits::STORE_RETRY).await;
            }
            Stopped::Deleted => return end_for_good(&handle, End::Deleted, commands, left).await,
            Stopped::Idle => {
                // After the end of the broker they may go on.
                if !dispatcher.draining {
                    dispatcher.traced.all_given_back();
                }
                commands.close();
                while let Some(command) = commands.recv().await {
                    left.push(command);
                }
                if handle.is_ephemeral() && left.is_empty() {
                    return handle.set_deleted();
                }
                let Dispatcher { mut machine, claim, .. } = *dispatcher;
                machine.park();
                match handle.park(Some(Box::new(Core { machine, claim })), !left.is_empty()) {
                    Ok(()) => return,
                    Err((parked, receiver)) => (core, commands) = (parked, receiver),
                }
            }
        }
    }
}

/// Why there is nothing to run any more.
enum End {
    Deleted,
    Failed(String),
}

/// Claims a subscription and restores its machine, as often as it takes. `is_lost`: what became of a commit is not known.
async fn load(shared: &Shared, handle: &Handle, is_lost: bool) -> Result<Box<Core>, End> {
    loop {
        let claimed = match shared.store.claim(&handle.name).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(subscription = &*handle.name, %error, "a subscription could not be claimed; trying again");
                sleep(limits::STORE_RETRY).await;
                continue;
            }
        };
        // Under the claim, so that the commit can change nothing any more.
        if is_lost && let Err(error) = read_info(shared, handle).await {
            tracing::warn!(subscription = &*handle.name, %error, "the row of a subscription could not be read; trying again");
            sleep(limits::STORE_RETRY).await;
            continue;
        }
        let (now, tail) = (shared.clock.time(), *shared.store.tail().borrow());
        let records = claimed.records.iter().map(|record| &record[..]);
        return match Subscription::restore(now, claimed.claim.epoch, tail, records) {
            Ok(Some(machine)) if machine.incarnation() == handle.incarnation => Ok(Box::new(Core { machine, claim: Some(claimed.claim) })),
            Ok(_) => Err(End::Deleted),
            Err(error) => {
                tracing::error!(subscription = &*handle.name, %error, "the state of a subscription cannot be read; it needs an operator");
                Err(End::Failed(format!("the state of subscription {:?} cannot be read: {error}", handle.name)))
            }
        };
    }
}

/// What is kept about a subscription, as the store has it.
async fn read_info(shared: &Shared, handle: &Handle) -> Result<(), ReadError> {
    let rows = shared.store.scan(Table::Subscriptions, handle.name.as_bytes(), 1).await?;
    // None: it was deleted, as its records say. One that cannot be read was written by nobody of this version.
    let found = rows.first().filter(|row| row.key == handle.name.as_bytes()).and_then(|row| Info::read(row).ok());
    if let Some((_, _, info)) = found.filter(|&(_, incarnation, _)| incarnation == handle.incarnation) {
        handle.set_info(info);
    }
    Ok(())
}

/// Answers what is still asked.
async fn end_for_good(handle: &Handle, end: End, mut commands: mpsc::Receiver<Command>, left: Vec<Command>) {
    let fault = match end {
        End::Deleted => {
            handle.set_deleted();
            Fault::no_subscription(&handle.name)
        }
        End::Failed(reason) => {
            handle.set_failed(reason.clone());
            Fault::new(waypost_proto::v1::ErrorReason::SubscriptionFailed, reason)
        }
    };
    commands.close();
    left.into_iter().for_each(|command| refuse(command, &fault));
    while let Some(command) = commands.recv().await {
        refuse(command, &fault);
    }
}

fn refuse(command: Command, fault: &Fault) {
    match command {
        Command::Settle { settlements, reply } => {
            let _ = reply.send(settlements.iter().map(|_| Settled::Gone).collect());
        }
        Command::Connect(connect) => {
            let _ = connect.reply.send(Err(fault.clone()));
        }
        Command::Admin { reply, .. } => {
            let _ = reply.send(Err(fault.clone()));
        }
        Command::Inspect { reply, .. } => {
            let _ = reply.send(Err(fault.clone()));
        }
        Command::End { .. } | Command::Gap { .. } | Command::Seen | Command::Drain(_) | Command::Close => {}
    }
}

impl Dispatcher {
    async fn run(&mut self, commands: &mut mpsc::Receiver<Command>) -> Stopped {
        let mut had_sessions = false;
        loop {
            self.turn();
            if self.lost.is_some() {
                return Stopped::Lost;
            }
            if self.deleted && self.writing.is_none() && self.writes.is_empty() {
                self.sessions.end_all(&Fault::no_subscription(&self.handle.name));
                return Stopped::Deleted;
            }
            had_sessions |= !self.sessions.is_empty();
            // The grace is for what agents still hold. They hold nothing, and were told: the broker need not wait for them.
            if self.draining && !self.sessions.is_empty() && self.is_quiet() {
                self.close_all(&draining());
            }
            if had_sessions && self.sessions.is_empty() {
                had_sessions = false;
                self.note_last_session();
                continue;
            }
            let idle_until = self.idle_until();
            if idle_until.is_some_and(|at| at <= self.shared.clock.time()) {
                return Stopped::Idle;
            }
            self.next(commands, idle_until).await;
        }
    }

    /// Waits for the next thing, and takes in all that is ready with it.
    async fn next(&mut self, commands: &mut mpsc::Receiver<Command>, idle_until: Option<Time>) {
        let timeout = [self.timeout(), idle_until].into_iter().flatten().min().map(|at| self.shared.clock.instant(at));
        tokio::select! {
            biased;
            written = done(&mut self.writing) => self.written(written),
            found = done(&mut self.fetches.running) => self.fetched(found),
            () = self.handle.signals.ready() => {}
            command = commands.recv() => {
                // The channel is closed by this task alone.
                if let Some(command) = command {
                    self.command(command);
                }
            }
            batch = self.reader.ready() => {
                if let Some(input) = self.reader.take(&self.shared, batch) {
                    self.input(input);
                }
            }
            () = until(timeout) => {}
        }
        for signal in self.handle.signals.take() {
            self.signal(signal);
        }
        while let Ok(command) = commands.try_recv() {
            self.command(command);
        }
    }

    /// When it may end, if nobody needs it until then.
    fn idle_until(&mut self) -> Option<Time> {
        if !self.is_idle() {
            self.idle_since = None;
            return None;
        }
        let since = *self.idle_since.get_or_insert_with(|| self.shared.clock.time());
        let linger = if self.draining || self.handle.is_ephemeral() { std::time::Duration::ZERO } else { limits::DISPATCHER_LINGER };
        Some(since + linger)
    }

    /// Expiry counts from here.
    pub(super) fn note_last_session(&mut self) {
        self.handle.seen(self.shared.clock.now());
        if !self.handle.is_ephemeral() && !self.deleted {
            self.writes.push_back(Write::Info);
        }
    }
}

/// Waits for what is under way, if something is.
async fn done<T>(future: &mut Option<BoxFuture<'static, T>>) -> T {
    match future {
        Some(running) => {
            let done = running.await;
            *future = None;
            done
        }
        None => std::future::pending().await,
    }
}

async fn until(instant: Option<Instant>) {
    match instant {
        Some(instant) => sleep_until(instant).await,
        None => std::future::pending().await,
    }
}
