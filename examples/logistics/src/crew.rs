//! The agents' processes: starting them, killing one, and ending all of them in order.
//!
//! Constraints: a process that ends by itself is an error; none outlives the run, unless the run itself is killed.

use std::error::Error;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::{Child, Command};

use crate::broker::terminate;
use crate::flow::{AGENTS, Agent, FULFILMENT, NOTIFICATION, ROUTING};
use crate::scenario::FATAL;

/// All the agents.
#[derive(Debug)]
pub(crate) struct Crew {
    /// Where the broker listens for agents.
    broker: String,
    /// Where ledgers and logs are.
    folder: PathBuf,
    languages: Languages,
    members: Vec<Member>,
}

/// Which agents are not in Rust. Fixed ones, so that a story passes through all the languages.
#[derive(Debug, Default)]
pub(crate) struct Languages {
    /// Runs the notification agent, if it is to be in Python.
    python: Option<PathBuf>,
    /// The compiled programs, if the fulfilment agent is to be in TypeScript.
    typescript: Option<PathBuf>,
}

#[derive(Debug)]
struct Member {
    agent: Agent,
    process: Child,
}

impl Languages {
    /// Prepares what the agents in other languages need, in `.cache/`; this may take a while.
    pub(crate) async fn prepare(with_python: bool, with_typescript: bool) -> Result<Self, Box<dyn Error>> {
        let python = if with_python { Some(prepare("python").await?) } else { None };
        let typescript = if with_typescript { Some(prepare("typescript").await?) } else { None };
        Ok(Self { python, typescript })
    }

    fn command(&self, agent: Agent) -> Result<Command, Box<dyn Error>> {
        match (agent, &self.python, &self.typescript) {
            (NOTIFICATION, Some(python), _) => {
                let mut command = Command::new(python);
                command.arg(example("logistics/python/notification.py"));
                Ok(command)
            }
            (FULFILMENT, _, Some(compiled)) => {
                let mut command = Command::new("node");
                command.arg(compiled.join("examples/logistics/typescript/fulfilment.js"));
                Ok(command)
            }
            _ => {
                let mut command = Command::new(std::env::current_exe()?);
                command.args(["agent", agent]);
                Ok(command)
            }
        }
    }
}

impl Crew {
    /// Starts every agent once, and routing twice: one of them will be killed.
    pub(crate) fn start(broker: &str, folder: &Path, languages: Languages) -> Result<Self, Box<dyn Error>> {
        let mut crew = Self { broker: broker.to_owned(), folder: folder.to_owned(), languages, members: Vec::new() };
        for agent in AGENTS.into_iter().chain([ROUTING]) {
            crew.add(agent)?;
        }
        Ok(crew)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Who is there, for people.
    pub(crate) fn describe(&self) -> String {
        let language = |agent: &Agent| match (*agent, &self.languages) {
            (NOTIFICATION, Languages { python: Some(_), .. }) => " (Python)",
            (FULFILMENT, Languages { typescript: Some(_), .. }) => " (TypeScript)",
            (ROUTING, _) => " (two of them)",
            _ => "",
        };
        AGENTS.map(|agent| format!("{agent}{}", language(&agent))).join(", ")
    }

    fn add(&mut self, agent: Agent) -> Result<(), Box<dyn Error>> {
        let mut command = self.languages.command(agent)?;
        command.env("WAYPOST_AGENTS", format!("http://{}", self.broker)).env("LOGISTICS_LEDGERS", &self.folder);
        if agent == ROUTING {
            command.env("LOGISTICS_HANG_AT", FATAL);
        }
        let log = || File::options().create(true).append(true).open(self.log(agent));
        // A Ctrl-C in the terminal is for us, who end it in order.
        command.stdin(Stdio::null()).stdout(log()?).stderr(log()?).process_group(0).kill_on_drop(true);
        let process = command.spawn().map_err(|error| format!("{agent} cannot be started ({command:?}): {error}"))?;
        self.members.push(Member { agent, process });
        Ok(())
    }

    fn log(&self, agent: Agent) -> PathBuf {
        self.folder.join(format!("{agent}.log"))
    }

    /// SIGKILL for this process, and another one in its place, as a supervisor would start it. Whether there was such a process.
    pub(crate) async fn kill_and_replace(&mut self, id: u32) -> Result<bool, Box<dyn Error>> {
        let Some(at) = self.members.iter().position(|member| member.process.id() == Some(id)) else { return Ok(false) };
        let mut killed = self.members.remove(at);
        killed.process.kill().await?;
        self.add(killed.agent)?;
        Ok(true)
    }

    /// An error if an agent has ended by itself.
    pub(crate) fn check(&mut self) -> Result<(), Box<dyn Error>> {
        for member in &mut self.members {
            if let Some(status) = member.process.try_wait()? {
                let agent = member.agent;
                let log = fs::read_to_string(self.log(agent)).unwrap_or_default();
                return Err(format!("{agent} ended by itself ({status}): {log}").into());
            }
        }
        Ok(())
    }

    /// Asks all to finish what they have begun, and waits for their end.
    pub(crate) async fn stop(&mut self) -> Result<(), Box<dyn Error>> {
        for member in &self.members {
            terminate(&member.process).map_err(|error| format!("{}: {error}", member.agent))?;
        }
        for mut member in self.members.drain(..) {
            let status = member.process.wait().await?;
            if !status.success() {
                return Err(format!("{} did not stop in order: {status}", member.agent).into());
            }
        }
        Ok(())
    }
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name(path)
}

/// Runs `examples/LANGUAGE/prepare`, which prints where what it prepared is.
async fn prepare(language: &str) -> Result<PathBuf, Box<dyn Error>> {
    let script = example(language).join("prepare");
    let done = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output().await;
    let done = done.map_err(|error| format!("{}: {error}", script.display()))?;
    if !done.status.success() {
        return Err(format!("agents in {language} could not be prepared ({}); see above", done.status).into());
    }
    Ok(String::from_utf8(done.stdout)?.trim().into())
}
