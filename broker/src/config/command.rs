//! Secrets that a program prints, such as the client of a vault.
//!
//! Constraints:
//! - There is no shell: the program gets its arguments as they are written.
//! - It sees little of the broker: nothing on its input, and of the environment what it needs to run and what is named.
//! - It cannot hold the broker up, nor fill its memory: beyond its time, or its length, it and what it started are ended.
//! - What it prints is the secret: not a byte of it, nor of what it says besides, goes into an error.

use std::{
    fmt,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::Span;
use crate::limits::{KEPT_ENVIRONMENT, MAX_SECRET_BYTES};

/// A program that prints a secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SecretCommand {
    /// The program and its arguments. A relative path of the program starts at the folder of the configuration file; a bare name is looked
    /// for in `PATH`.
    pub command: Vec<String>,
    /// How often it is run again. Default: 5 minutes.
    #[serde(default = "five_minutes")]
    pub every: Span,
    /// How long it may take. Default: 10 seconds.
    #[serde(default = "ten_seconds")]
    pub timeout: Span,
    /// Variables of the broker's environment that it sees beside `PATH`, `HOME`, `LANG` and `TMPDIR`.
    #[serde(default)]
    pub environment: Vec<String>,
}

fn five_minutes() -> Span {
    Span::from_millis(300_000)
}

fn ten_seconds() -> Span {
    Span::from_millis(10_000)
}

/// Why a program printed no secret.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// There is none.
    #[error(
        "command is empty; name the program and its arguments, such as [\"vault\", \"kv\", \"get\", \"-field=secret\", \"webhooks/github\"]"
    )]
    Nothing,
    /// A time that it cannot be given.
    #[error("{0} is {1}; it must be between {2} and {3}")]
    OutOfRange(&'static str, Span, Span, Span),
    /// It cannot be started.
    #[error("the program {program:?} cannot be started: {source}")]
    NotStarted {
        /// The program.
        program: String,
        /// Why not.
        source: io::Error,
    },
    /// It says that it failed.
    #[error("the program {program:?} {ended}; run it by hand, as the user and with the environment of the broker, to see what it says")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        ended: Ended,
    },
}

/// How a program ended that printed no secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With an exit code.
    With(i32),
    /// By a signal.
    By(i32),
    /// It took too long.
    Late(Span),
    /// It printed too much.
    TooLong,
    /// It could not be read from.
    Unread,
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::With(code) => write!(f, "ended with {code}"),
            Self::By(signal) => write!(f, "was ended by signal {signal}"),
            Self::Late(timeout) => write!(f, "did not end within {timeout}"),
            Self::TooLong => write!(f, "printed more than {MAX_SECRET_BYTES} bytes, which is no secret"),
            Self::Unread => write!(f, "could not be read from"),
        }
    }
}

impl From<ExitStatus> for Ended {
    fn from(status: ExitStatus) -> Self {
        status.code().map_or_else(|| Self::By(status.signal().unwrap_or_default()), Self::With)
    }
}

impl SecretCommand {
    /// Runs it, in the folder of the configuration file. Blocks until it ends, or is ended.
    ///
    /// # Errors
    /// When it does not print anything that could be a secret.
    pub(super) fn run(&self, base: &Path) -> Result<Zeroizing<Vec<u8>>, CommandError> {
        self.check()?;
        let [program, arguments @ ..] = &*self.command else { return Err(CommandError::Nothing) };
        let failed = |ended| CommandError::Failed { program: program.clone(), ended };
        let kept = KEPT_ENVIRONMENT.iter().copied().chain(self.environment.iter().map(String::as_str));
        let mut command = Command::new(if program.contains('/') { base.join(program) } else { program.into() });
        command.args(arguments).env_clear().envs(kept.filter_map(|name| Some((name, std::env::var_os(name)?))));
        // A group of its own: what it starts ends with it.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).process_group(0);
        if !base.as_os_str().is_empty() {
            command.current_dir(base);
        }
        let child = command.spawn().map_err(|source| CommandError::NotStarted { program: program.clone(), source })?;
        let group = Pid::from_child(&child);
        let (sender, printed) = mpsc::sync_channel(1);
        let reading = thread::spawn(move || sender.send(read(child)));
        let outcome = printed.recv_timeout(self.timeout.get());
        if !matches!(outcome, Ok(Ok(_))) {
            // It may be gone already. What it started holds its output, and would hold the thread.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = reading.join();
        match outcome {
            Ok(outcome) => outcome.map_err(failed),
            Err(RecvTimeoutError::Timeout) => Err(failed(Ended::Late(self.timeout))),
            Err(RecvTimeoutError::Disconnected) => Err(failed(Ended::Unread)),
        }
    }

    fn check(&self) -> Result<(), CommandError> {
        let second = Span::from_millis(1_000);
        let ranges = [("every", self.every, Span::from_millis(86_400_000)), ("timeout", self.timeout, Span::from_millis(60_000))];
        match ranges.into_iter().find(|(_, span, most)| *span < second || span > most) {
            Some((key, span, most)) => Err(CommandError::OutOfRange(key, span, second, most)),
            None => Ok(()),
        }
    }
}

/// Everything that it prints until it ends.
fn read(mut child: Child) -> Result<Zeroizing<Vec<u8>>, Ended> {
    // With all of its room from the start it is not moved, which would leave a copy behind.
    let mut printed = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    let limit = u64::try_from(MAX_SECRET_BYTES + 1).unwrap_or(u64::MAX);
    let whole = child.stdout.take().map(|output| output.take(limit).read_to_end(&mut printed));
    if printed.len() > MAX_SECRET_BYTES {
        let _ = child.kill();
        let _ = child.wait();
        return Err(Ended::TooLong);
    }
    let status = child.wait().map_err(|_| Ended::Unread)?;
    match whole {
        Some(Ok(_)) if status.success() => Ok(printed),
        Some(Ok(_)) => Err(status.into()),
        _ => Err(Ended::Unread),
    }
}

impl fmt::Display for SecretCommand {
    /// The program alone: arguments may be nobody's business.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command:{}", self.command.first().map_or("", String::as_str))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;
    use crate::config::{Secret, SecretRef};

    fn command(words: &[&str]) -> SecretCommand {
        SecretCommand {
            command: words.iter().map(|word| (*word).to_owned()).collect(),
            every: five_minutes(),
            timeout: ten_seconds(),
            environment: Vec::new(),
        }
    }

    fn failure(command: SecretCommand) -> String {
        SecretRef::Command(command).resolve(Path::new("")).unwrap_err().to_string()
    }

    #[test]
    fn what_a_program_prints_is_the_secret_and_no_shell_looks_at_its_arguments() {
        let secret = |words: &[&str]| SecretRef::Command(command(words)).resolve(Path::new("/")).unwrap();
        assert_eq!(secret(&["printf", "%s\n", "hunter2"]), Secret::new(*b"hunter2"));
        assert_eq!(secret(&["printf", "%s", "$HOME;`id`"]), Secret::new(*b"$HOME;`id`"));
        assert_eq!(secret(&["pwd"]), Secret::new(*b"/"), "it runs in the folder of the configuration");
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("vault");
        fs::write(&program, "#!/bin/sh\nprintf 'from a script'\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
        let relative = SecretRef::Command(command(&["./vault"])).resolve(folder.path()).unwrap();
        assert_eq!(relative, Secret::new(*b"from a script"));
    }

    #[test]
    fn it_sees_no_more_of_the_environment_than_it_needs() {
        let seen = |environment: &[&str]| {
            let environment = environment.iter().map(|name| (*name).to_owned()).collect();
            let seen = SecretCommand { environment, ..command(&["env"]) }.run(Path::new("")).unwrap();
            String::from_utf8(seen.to_vec()).unwrap()
        };
        let names = |text: &str| text.lines().map(|line| line.split('=').next().unwrap().to_owned()).collect::<Vec<_>>();
        // cargo sets this for tests.
        assert!(names(&seen(&[])).iter().all(|name| KEPT_ENVIRONMENT.contains(&&**name)), "{}", seen(&[]));
        assert!(names(&seen(&["CARGO_MANIFEST_DIR"])).contains(&"CARGO_MANIFEST_DIR".to_owned()));
    }

    #[test]
    fn a_program_that_fails_hangs_or_floods_is_told_and_nothing_that_it_said() {
        for (words, told) in [
            (&["sh", "-c", "echo hunter2; echo hunter2 >&2; exit 3"][..], "ended with 3"),
            (&["sh", "-c", "echo hunter2; kill -9 $$"], "was ended by signal 9"),
            (&["yes", "hunter2"], "printed more than 65536 bytes"),
            (&["true"], "is empty"),
            (&["waypost-no-such-program"], "cannot be started"),
            (&[], "command is empty"),
        ] {
            let error = failure(command(words));
            assert!(error.contains(told) && !error.contains("hunter2"), "{words:?}: {error}");
        }
        let soon = Span::from_millis(1_000);
        // What it started has its output, and outlives it.
        for words in [&["sleep", "600"][..], &["sh", "-c", "sleep 600 & sleep 600"], &["sh", "-c", "exec >&-; sleep 600"]] {
            let error = failure(SecretCommand { timeout: soon, ..command(words) });
            assert!(error.contains("did not end within 1s"), "{words:?}: {error}");
        }
        assert!(
            failure(SecretCommand { every: Span::from_millis(1), ..command(&["true"]) })
                .contains("every is 1ms; it must be between 1s and 1d")
        );
    }

    #[test]
    fn it_is_written_as_a_table_and_shown_without_its_arguments() {
        #[derive(Deserialize)]
        struct Written {
            secret: SecretRef,
        }
        let written: Written = toml::from_str("secret = { command = ['vault', 'get', 'x'], every = '1m' }").unwrap();
        assert_eq!(
            written.secret,
            SecretRef::Command(SecretCommand { every: Span::from_millis(60_000), ..command(&["vault", "get", "x"]) })
        );
        assert_eq!(written.secret.to_string(), "command:vault");
        let error = toml::from_str::<Written>("secret = 'hunter2'").err().unwrap().message().to_owned();
        assert!(error.contains("{ command =") && !error.contains("hunter2"), "{error}");
    }
}
