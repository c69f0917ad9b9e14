//! The agent of `examples/python` or `examples/typescript` as a process, with the handler of `handler.py` or `handler.ts`.
//!
//! Constraint: the packages are those pinned in `examples`, prepared by `examples/LANGUAGE/prepare`.

use std::path::{Path, PathBuf};
use std::process::{Command as Blocking, Stdio};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What the agent says, one a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// Its stream is open, and this many leases that it held go on.
    Opened(usize),
    /// It has begun to handle an event.
    Began { id: String },
    /// The broker has answered a settlement.
    Settled { id: String, attempt: u32, action: String, status: String },
    /// A lease was lost.
    Revoked,
}

impl Said {
    fn parse(line: &str) -> Self {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["opened", adopted] => Self::Opened(adopted.parse().unwrap()),
            ["began", id, _] => Self::Began { id: id.to_owned() },
            ["settled", id, attempt, action, status] => {
                let attempt = attempt.parse().unwrap();
                Self::Settled { id: id.to_owned(), attempt, action: action.to_owned(), status: status.to_owned() }
            }
            ["revoked"] => Self::Revoked,
            _ => panic!("the agent says {line:?}"),
        }
    }

    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Began { id } | Self::Settled { id, .. } => id,
            Self::Opened(_) | Self::Revoked => "",
        }
    }

    /// A settlement after which the event does not come again.
    fn is_final(&self) -> bool {
        matches!(self, Self::Settled { action, .. } if action != "nack")
    }
}

/// What the agent is written in.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Language {
    Python,
    TypeScript,
}

pub(crate) struct Agent {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    said: Vec<Said>,
}

impl Agent {
    pub(crate) async fn start(language: Language, broker: &str) -> Self {
        let mut command = tokio::task::spawn_blocking(move || language.command()).await.unwrap();
        command.env("WAYPOST_AGENTS", broker).stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().unwrap();
        let (input, output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Self { process, input, output: BufReader::new(output).lines(), said: Vec::new() }
    }

    /// The next that it says; `None` when it has ended.
    async fn next(&mut self) -> Option<Said> {
        let line = timeout(Duration::from_secs(120), self.output.next_line()).await;
        let line = line.unwrap_or_else(|_| panic!("the agent says nothing more; the last was {:?}", self.said.last())).unwrap()?;
        let said = Said::parse(&line);
        self.said.push(said.clone());
        Some(said)
    }

    /// Waits until its stream is open, and gives how many leases were adopted.
    pub(crate) async fn until_opened(&mut self) -> usize {
        loop {
            if let Said::Opened(adopted) = self.next().await.expect("the agent ended") {
                return adopted;
            }
        }
    }

    /// Waits until this many events in all are settled for good.
    pub(crate) async fn until_settled(&mut self, count: usize) {
        while self.said.iter().filter(|said| said.is_final()).count() < count {
            self.next().await.expect("the agent ended");
        }
    }

    /// Lets the handler of this event go on.
    pub(crate) async fn go(&mut self, id: &str) {
        self.input.write_all(format!("{id}\n").as_bytes()).await.unwrap();
    }

    /// SIGTERM.
    pub(crate) fn terminate(&self) {
        let id = self.process.id().expect("it runs").to_string();
        assert!(Blocking::new("kill").args(["-TERM", &id]).status().unwrap().success());
    }

    /// Waits for its end, and gives all that it said.
    pub(crate) async fn until_ended(mut self) -> Vec<Said> {
        while self.next().await.is_some() {}
        let status = self.process.wait().await.unwrap();
        assert!(status.success(), "the agent ended with {status}; see its messages above");
        self.said
    }
}

impl Language {
    fn command(self) -> Command {
        match self {
            Self::Python => {
                let mut command = Command::new(prepare("python"));
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/handler.py"));
                command
            }
            Self::TypeScript => {
                let mut command = Command::new("node");
                command.arg(prepare("typescript").join("tests/interop/handler.js"));
                command
            }
        }
    }
}

/// What `examples/LANGUAGE/prepare` prints: where what it prepared is.
fn prepare(language: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("examples").join(language).join("prepare");
    let done = Blocking::new(&script).stderr(Stdio::inherit()).output().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    assert!(done.status.success(), "{} ended with {}; see its messages above", script.display(), done.status);
    String::from_utf8(done.stdout).unwrap().trim().into()
}
