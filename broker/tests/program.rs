//! The program `waypost` as an operator meets it: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

fn waypost(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_waypost"));
    command.args(args).env_remove("WAYPOST_LOG").stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn file(text: &str) -> (TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("waypost.toml");
    fs::write(&path, text).unwrap();
    (dir, path)
}

const ANY_PORTS: &str =
    "edge.listen = '127.0.0.1:0'\nagents.listen = '127.0.0.1:0'\nadmin.listen = '127.0.0.1:0'\nstore.data_dir = 'data'\n";

/// A broker that is ready, its output so far, and its folder.
fn serve(text: &str) -> (Child, String, TempDir) {
    let (dir, path) = file(&format!("{ANY_PORTS}{text}"));
    let mut process = waypost(&["serve", "--config", path.to_str().unwrap()]).spawn().unwrap();
    let mut output = BufReader::new(process.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("\n  store") {
        assert_ne!(output.read_line(&mut printed).unwrap(), 0, "it ended: {printed}");
    }
    (process, printed, dir)
}

fn signal(process: &Child, name: &str) {
    assert!(Command::new("kill").args([&format!("-{name}"), &process.id().to_string()]).status().unwrap().success());
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

#[test]
fn a_typo_is_told_with_its_line_by_check_and_by_serve() {
    let (_dir, path) = file("[edge]\nlisten = '127.0.0.1:0'\nmax_bdy = '1MiB'\n[agents]\ndrain_grace = 5\n");
    for command in ["check", "serve"] {
        let output = waypost(&[command, "--config", path.to_str().unwrap()]).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let text = text(&output);
        assert!(text.contains("waypost.toml:3: edge.max_bdy: ") && text.contains("did you mean \"max_body\"?"), "{text}");
        assert!(text.contains("waypost.toml:5: agents.drain_grace: "), "{text}");
    }
}

#[test]
fn what_is_printed_as_the_defaults_is_a_sound_configuration() {
    let printed = waypost(&["defaults"]).output().unwrap();
    let (_dir, path) = file(&String::from_utf8(printed.stdout).unwrap());
    let output = waypost(&["check", "--config", path.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_port_in_use_is_named_with_its_key() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let (_dir, path) = file(&format!("agents.listen = '127.0.0.1:0'\nadmin.listen = '127.0.0.1:0'\nedge.listen = '{address}'"));
    let output = waypost(&["serve", "--config", path.to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains(&format!("edge.listen = \"{address}\": another process listens there")), "{}", text(&output));
}

#[test]
fn the_first_signal_drains_and_ends_in_order() {
    for name in ["TERM", "INT"] {
        let (mut process, printed, _dir) = serve("store.engine = 'memory'");
        assert!(printed.contains("is ready") && printed.contains("in memory"), "{printed}");
        signal(&process, name);
        assert_eq!(process.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_client_without_a_broker_is_told_what_to_do() {
    let output = waypost(&["tail", "--agents", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("start one with `waypost serve`"), "{}", text(&output));
}

#[test]
fn every_command_shows_examples() {
    for command in ["serve", "check", "defaults", "tail", "publish"] {
        let output = waypost(&[command, "--help"]).output().unwrap();
        assert!(text(&output).contains("Example"), "{command} --help shows none");
    }
}

#[test]
fn the_log_can_be_json() {
    let (mut process, _, _dir) = serve("store.engine = 'memory'\nlog.format = 'json'");
    signal(&process, "TERM");
    let mut log = String::new();
    process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(process.wait().unwrap().success());
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().get("level").is_some(), "{line}");
    }
    assert!(!log.is_empty());
}
