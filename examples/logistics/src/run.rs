//! A run of the example, from the first process to the summary.
//!
//! Constraints: what happens is learned from the ledgers alone, whatever language an agent is in; a run ends when all that was
//! begun is done, or when nothing has moved for a long time.

use std::collections::VecDeque;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_client::proto::v1::OutcomeState;
use agent_client::{Client, LineageError, Story};
use tempfile::TempDir;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::account::Account;
use crate::broker::Broker;
use crate::cli::RunOptions;
use crate::crew::{Crew, Languages};
use crate::flow::ROUTING;
use crate::ledger::{Entry, Fact, Ledger, Ledgers, Status};
use crate::scenario::{FATAL, Webhook, day};
use crate::simulator::Simulator;
use crate::story;
use crate::verdict::Progress;
use crate::view::View;

/// A webhook is posted and the ledgers are looked at this often: slowly enough to watch.
const PACE: Duration = Duration::from_millis(75);
/// When nothing has moved for so long, something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the example. Whether everything was as it must be.
pub(crate) async fn run(options: &RunOptions) -> Result<bool, Box<dyn Error>> {
    let languages = Languages::prepare(options.with_python, options.with_typescript).await?;
    let folder = Folder::new(options.keep.as_deref())?;
    let done = match Run::start(options, folder.path(), languages).await {
        Ok(run) => run.conduct().await,
        Err(error) => Err(error),
    };
    if !matches!(done, Ok(true)) {
        eprintln!("the ledgers and the logs are in {}", folder.keep().display());
    }
    done
}

struct Run<'a> {
    options: &'a RunOptions,
    folder: PathBuf,
    broker: Broker,
    crew: Crew,
    client: Client,
    simulator: Simulator,
    ledgers: Ledgers,
    account: Account,
    view: View,
    day: u32,
    /// What is still to be posted today.
    plan: VecDeque<Webhook>,
    posted: Progress,
    /// When a ledger last grew.
    moved: Instant,
    /// The webhook whose story is told.
    hero: Option<String>,
    interrupts: Interrupts,
}

impl<'a> Run<'a> {
    /// Starts all processes, and returns when each agent is there.
    async fn start(options: &'a RunOptions, folder: &Path, languages: Languages) -> Result<Self, Box<dyn Error>> {
        let program = match &options.broker {
            Some(program) => program.clone(),
            // cargo puts all programs of a profile side by side.
            None => std::env::current_exe()?.with_file_name("waypost"),
        };
        if !program.exists() {
            return Err(format!("{} is missing; run ./demo, which builds it", program.display()).into());
        }
        let broker = Broker::start(&program, folder).await?;
        let crew = Crew::start(&broker.agents, folder, languages)?;
        let simulator = Simulator { edge: broker.edge.clone(), ledger: Ledger::open(folder, "simulator")? };
        let mut run = Self {
            options,
            folder: folder.to_owned(),
            client: Client::connect(format!("http://{}", broker.agents))?,
            broker,
            crew,
            simulator,
            ledgers: Ledgers::of(folder),
            account: Account::default(),
            view: View::new(),
            day: 0,
            plan: VecDeque::new(),
            posted: Progress::default(),
            moved: Instant::now(),
            hero: None,
            interrupts: Interrupts::listen()?,
        };
        run.greet().await?;
        Ok(run)
    }

    async fn greet(&mut self) -> Result<(), Box<dyn Error>> {
        let Broker { edge, agents, .. } = &self.broker;
        self.view.say("broker", &format!("is up: webhooks on {edge}, agents on {agents}; what it answers is on disk"));
        let mut look = interval(PACE);
        let mut started = 0;
        while started < self.crew.len() {
            look.tick().await;
            self.crew.check()?;
            let there = self.ledgers.read()?;
            started += there.iter().filter(|entry| entry.fact == Fact::Started).count();
            if self.moved.elapsed() > PATIENCE {
                return Err(format!("only {started} of {} agents have started", self.crew.len()).into());
            }
        }
        self.view.say("agents", &format!("are up: {started} processes, {}", self.crew.describe()));
        self.moved = Instant::now();
        Ok(())
    }

    /// One webhook and one look at a time.
    async fn conduct(mut self) -> Result<bool, Box<dyn Error>> {
        let mut pace = interval(PACE);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ending = false;
        loop {
            tokio::select! {
                _ = pace.tick() => {}
                () = self.interrupts.next() => {
                    if ending {
                        break;
                    }
                    ending = true;
                    self.posted.due -= self.plan.len();
                    self.plan.clear();
                    self.view.say("you", "asked to stop: waiting for what was begun; again to stop at once");
                }
            }
            self.post_next().await?;
            self.look().await?;
            let verdict = self.account.judge();
            self.view.show(self.day, self.posted, &verdict);
            if self.moved.elapsed() > PATIENCE {
                break;
            }
            if self.plan.is_empty() && verdict.is_settled() {
                if ending || (self.options.once && self.day > 0) {
                    break;
                }
                self.begin_day();
            }
        }
        self.end().await
    }

    /// The day before is settled.
    fn begin_day(&mut self) {
        self.account.close();
        self.day += 1;
        self.plan = day(self.day).into();
        self.posted.due += self.plan.len();
    }

    async fn post_next(&mut self) -> Result<(), Box<dyn Error>> {
        let Some(webhook) = self.plan.pop_front() else { return Ok(()) };
        self.posted.done += 1;
        if self.options.kill_broker && self.posted.due - self.posted.done == day(self.day).len() / 2 {
            // The sender gets no answer, and tries until there is one.

            tokio::try_join!(self.broker.kill_and_restart(), self.simulator.post(&webhook))?;
            self.view.say("broker", "was killed with SIGKILL, and is up again on the same data");
        } else {
            self.simulator.post(&webhook).await?;
        }
        self.view.did("simulator", format!("{} from {}", webhook.subject, webhook.source));
        Ok(())
    }

    /// Reads what is new in the ledgers, and acts on it.
    async fn look(&mut self) -> Result<(), Box<dyn Error>> {
        self.crew.check()?;
        for entry in self.ledgers.read()? {
            self.moved = Instant::now();
            self.account.note(&entry);
            self.tell(&entry);
            self.kill_if_fatal(&entry).await?;
        }
        let at_large: Vec<_> = self.account.poison_at_large().map(|(id, agent)| (id.to_owned(), agent.to_owned())).collect();
        for (id, agent) in at_large {
            self.set_aside(id, agent).await?;
        }
        Ok(())
    }

    /// What is worth a line.
    fn tell(&mut self, entry: &Entry) {
        let Entry { who, process, fact, .. } = entry;
        let view = &mut self.view;
        match fact {
            Fact::Posted { status, event, .. } => {
                let what = match status {
                    Status::Accepted => return,
                    Status::Duplicate => "came twice: recognised, and no second event",
                    Status::Refused => "was signed by somebody else: refused",
                    Status::Quarantined => "lacks what its type requires: in quarantine",
                };
                view.say("simulator", &format!("{} {what}", event.subject));
            }
            Fact::Effect { did, .. } => view.did(who, did.clone()),
            Fact::Received { event, attempt } if *attempt > 1 => {
                view.say(who, &format!("process {process} gets {} again, as attempt {attempt}", event.subject));
            }
            Fact::Received { .. } | Fact::Started => {}
            Fact::Killed { agent, victim, .. } => {
                view.say(agent, &format!("process {victim} was killed with SIGKILL: it had rerouted a shipment and not acked it"));
            }
            Fact::SetAside { agent, event, attempts } => {
                view.say(agent, &format!("has failed {attempts} times with {event}: a dead letter, kept with its history"));
            }
        }
    }

    /// Kills the process that has done the fatal event and will never ack it.
    async fn kill_if_fatal(&mut self, entry: &Entry) -> Result<(), Box<dyn Error>> {
        let Fact::Effect { event, .. } = &entry.fact else { return Ok(()) };
        if entry.who == ROUTING && event.subject.ends_with(FATAL) && self.crew.kill_and_replace(entry.process).await? {
            self.hero.get_or_insert(event.id.clone());
            let killed = Fact::Killed { agent: entry.who.clone(), victim: entry.process, event: event.id.clone() };
            self.simulator.ledger.note(killed).await?;
        }
        Ok(())
    }

    /// Notes that an event is a dead letter, once it is.
    async fn set_aside(&self, event: String, agent: String) -> Result<(), Box<dyn Error>> {
        let story = match self.client.lineage(Story::Correlation(event.clone())).await {
            Ok(story) => story,
            Err(LineageError::NotFound(_)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let outcomes = story.events.into_iter().flat_map(|event| event.outcomes);
        for outcome in outcomes.filter(|outcome| outcome.subscription == agent && outcome.state() == OutcomeState::DeadLettered) {
            let set_aside = Fact::SetAside { agent: agent.clone(), event: event.clone(), attempts: outcome.attempts };
            self.simulator.ledger.note(set_aside).await?;
        }
        Ok(())
    }

    /// Ends everything in order, and says what it came to.
    async fn end(mut self) -> Result<bool, Box<dyn Error>> {
        self.crew.stop().await?;
        for entry in self.ledgers.read()? {
            self.account.note(&entry);
        }
        let story = match self.hero.take() {
            Some(hero) => Some(self.client.lineage(Story::Correlation(hero)).await?),
            None => None,
        };
        self.broker.stop().await?;
        self.view.end();
        if let Some(story) = story {
            println!("\n{}", story::draw(&story, Ledgers::of(&self.folder).read()?));
        }
        let verdict = self.account.conclude();
        println!("{verdict}");
        let complaints = verdict.complaints(self.options.once);
        for complaint in complaints.iter().take(20) {
            println!("WRONG: {complaint}");
        }
        if complaints.len() > 20 {
            println!("WRONG: and {} more", complaints.len() - 20);
        }
        Ok(complaints.is_empty())
    }
}

/// Where the data, the ledgers and the logs of a run are.
enum Folder {
    Temporary(TempDir),
    Kept(PathBuf),
}

impl Folder {
    fn new(kept: Option<&Path>) -> Result<Self, Box<dyn Error>> {
        let Some(folder) = kept else { return Ok(Self::Temporary(tempfile::Builder::new().prefix("logistics-").tempdir()?)) };
        std::fs::create_dir_all(folder)?;
        if std::fs::read_dir(folder)?.next().is_some() {
            return Err(format!("{} is not empty; each run needs a folder of its own", folder.display()).into());
        }
        Ok(Self::Kept(folder.canonicalize()?))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(folder) => folder.path(),
            Self::Kept(folder) => folder,
        }
    }

    fn keep(self) -> PathBuf {
        match self {
            Self::Temporary(folder) => folder.keep(),
            Self::Kept(folder) => folder,
        }
    }
}

/// Whatever asks this process to end.
struct Interrupts {
    signals: [Signal; 3],
}

impl Interrupts {
    fn listen() -> io::Result<Self> {
        Ok(Self { signals: [signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?] })
    }

    async fn next(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}
