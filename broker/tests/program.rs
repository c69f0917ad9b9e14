//! The program `waypost` as an operator meets it: what it prints, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use clap::CommandFactory;
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
    fs::write(dir.path().join("carrier.secret"), "correct horse\n").unwrap();
    (dir, path)
}

const ANY_PORTS: &str =
    "edge.listen = '127.0.0.1:0'\nagents.listen = '127.0.0.1:0'\nadmin.listen = '127.0.0.1:0'\nstore.data_dir = 'data'\n";

/// A broker that is ready, its output so far, and its folder.
fn serve(text: &str) -> (Serving, String, TempDir) {
    let (dir, _) = file(&format!("{ANY_PORTS}{text}"));
    let (process, printed) = serve_in(&dir);
    (process, printed, dir)
}

/// A broker on what is in the folder.
fn serve_in(dir: &TempDir) -> (Serving, String) {
    let path = dir.path().join("waypost.toml");
    let mut process = Serving(waypost(&["serve", "--config", path.to_str().unwrap()]).spawn().unwrap());
    let mut output = BufReader::new(process.0.stdout.take().unwrap());
    let mut printed = String::new();
    while !printed.contains("\n  store") {
        assert_ne!(output.read_line(&mut printed).unwrap(), 0, "it ended: {printed}");
    }
    (process, printed)
}

/// What `waypost send carrier` prints.
fn send(printed: &str, dir: &TempDir, args: &[&str]) -> String {
    let edge = printed.split("http://").nth(1).and_then(|rest| rest.split_whitespace().next()).unwrap();
    let config = dir.path().join("waypost.toml");
    text(&waypost(&["send", "--config", config.to_str().unwrap(), "--edge", edge, "carrier"]).args(args).output().unwrap())
}

/// Ends with the test, however that ends.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn signal(Serving(process): &Serving, name: &str) {
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
        assert_eq!(process.0.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_client_without_a_broker_is_told_what_to_do() {
    let output = waypost(&["tail", "--agents", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    assert!(text(&output).contains("start one with `waypost serve`"), "{}", text(&output));
}

/// The words of every command, groups included.
fn commands() -> Vec<Vec<String>> {
    fn walk(command: &clap::Command, before: &[String], found: &mut Vec<Vec<String>>) {
        for inner in command.get_subcommands() {
            let words = [before, &[inner.get_name().to_owned()]].concat();
            walk(inner, &words, found);
            found.push(words);
        }
    }
    let mut found = Vec::new();
    walk(&waypost_broker::cli::args::Args::command(), &[], &mut found);
    found
}

#[test]
fn every_command_shows_an_example_that_begins_with_itself() {
    let commands = commands();
    assert!(commands.len() > 30 && commands.contains(&vec!["dead-letters".to_owned(), "redrive".to_owned()]), "{commands:?}");
    for words in commands {
        let args: Vec<&str> = words.iter().map(String::as_str).chain(["--help"]).collect();
        let output = waypost(&args).output().unwrap();
        let (help, called) = (text(&output), format!("waypost {}", words.join(" ")));
        assert!(output.status.success(), "{called}: {help}");
        let examples = help.split("\nExample").nth(1).unwrap_or_else(|| panic!("{called} --help shows none:\n{help}"));
        assert!(examples.contains(&called), "the examples of {called} are of another:\n{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 160), "{called}: a line is too long:\n{help}");
    }
}

#[test]
fn shells_can_complete_every_group() {
    for shell in ["bash", "zsh", "fish"] {
        let output = waypost(&["completions", shell]).output().unwrap();
        assert!(output.status.success() && text(&output).contains("dead-letters"), "{shell}");
    }
}

#[test]
fn the_log_can_be_json() {
    let (mut process, _, _dir) = serve("store.engine = 'memory'\nlog.format = 'json'");
    signal(&process, "TERM");
    let mut log = String::new();
    process.0.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    assert!(process.0.wait().unwrap().success());
    for line in log.lines() {
        assert!(serde_json::from_str::<serde_json::Value>(line).unwrap().get("level").is_some(), "{line}");
    }
    assert!(!log.is_empty());
}

const CARRIER: &str = "store.engine = 'memory'\n[sources.carrier]\nscheme = 'hmac'\nsecrets = ['file:carrier.secret']\n";

#[test]
fn a_sample_is_signed_as_the_source_expects() {
    let (process, printed, dir) = serve(&format!("{CARRIER}[sources.open]\nverify = 'none'\n"));
    assert!(printed.contains("in memory"), "{printed}");
    let twice = send(&printed, &dir, &["--duplicate", "--json"]);
    assert!(twice.starts_with('{'), "{twice}");
    let statuses: Vec<_> =
        twice.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["answer"]["status"].clone()).collect();
    assert_eq!(statuses, ["accepted", "duplicate"], "{twice}");
    let tampered = send(&printed, &dir, &["--tamper"]);
    assert!(tampered.starts_with("401 "), "{tampered}");
    let config = dir.path().join("waypost.toml");
    let unknown = waypost(&["send", "--config", config.to_str().unwrap(), "carier"]).output().unwrap();
    assert!(text(&unknown).contains("configured: carrier, open"), "{}", text(&unknown));
    drop(process);
}

const MAPPED: &str = "[sources.carrier]
scheme = 'hmac'
secrets = ['file:carrier.secret']
event_type = ['{/kind}']
identity = { template = '{/id}' }
subject = 'shipments/{/report/shipment_id}'
[sources.carrier.types.delay]
message = 'logistics.v1.ShippingDelayed'
at = '/report'
fields = { carrier = '/sender/name', new_eta = { format = 'unix' }, reason = { at = '/code', values = { S = 'strike' } } }
constants = { proactive_action_needed = true }
[sources.github]
scheme = 'github'
secrets = ['file:carrier.secret']
";

#[test]
fn a_payload_is_shown_as_the_event_that_it_would_become_field_by_field() {
    let (dir, config) = file(MAPPED);
    let payload = dir.path().join("payload.json");
    let test = |source: &str, body: &str, more: &[&str]| {
        fs::write(&payload, body).unwrap();
        let args = ["map", "test", source, payload.to_str().unwrap(), "--config", config.to_str().unwrap()];
        waypost(&[&args[..], more].concat()).output().unwrap()
    };
    let shown = |output: &Output| text(output).split_whitespace().collect::<Vec<_>>().join(" ");

    let good = r#"{"kind":"delay","id":7,"sender":{"name":"Acme"},"code":"S","report":{"shipment_id":"S-1","new_eta":1775385000,"affected_products":["A"]}}"#;
    let output = test("carrier", good, &[]);
    let said = shown(&output);
    assert!(output.status.success(), "{said}");
    for line in [
        "event type logistics.v1.ShippingDelayed",
        "id 7",
        "subject shipments/S-1",
        "providertype delay",
        "/report/shipment_id shipment_id = \"S-1\"",
        "/report/new_eta new_eta = \"2026-04-05T10:30:00Z\"",
        "/sender/name carrier = \"Acme\"",
        "/code reason = \"strike\"",
        "/report/affected_products affected_products = [\"A\"]",
        "constant proactive_action_needed = true",
    ] {
        assert!(said.contains(line), "{line} is not in {said}");
    }

    for (body, problem) in [
        (good.replace("\"S\"", "\"X\""), "at /code problem is none of S, and the mapping has no default"),
        (good.replace("1775385000", "\"soon\""), "at /report/new_eta problem expected seconds since 1970"),
        (good.replace("shipment_id", "shipment"), "required_field_missing event type logistics.v1.ShippingDelayed at /report/shipment_id"),
        (good.replace("\"id\"", "\"no\""), "does not fit no_identity"),
    ] {
        let output = test("carrier", &body, &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(shown(&output).contains(problem), "{problem} is not in {}", text(&output));
    }

    let push = r#"{"pusher":{"name":"dana"},"repository":{"full_name":"acme/router","id":9007199254740993}}"#;
    let output = test("github", push, &["--event-type", "push", "--json", "--header", "X-GitHub-Delivery: d-7"]);
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output)));
    assert_eq!((&event["type"], &event["id"], &event["subject"]), (&"github.v1.Push".into(), &"d-7".into(), &"acme/router".into()));
    let id = serde_json::json!({ "from": "/repository/id", "field": "repository.id", "value": 9_007_199_254_740_993_u64 });
    assert!(event["fields"].as_array().unwrap().contains(&id), "{event}");
    let output = test("github", "{}", &["--event-type", "star"]);
    assert!(
        shown(&output).contains("event type github.star") && shown(&output).contains("the payload as it was sent: 2 bytes"),
        "{}",
        text(&output)
    );
    assert_eq!(test("github", push, &[]).status.code(), Some(2), "the header that names the event is missing");
}

#[test]
fn a_source_without_its_secret_does_not_start_and_one_that_is_open_is_flagged() {
    let (_dir, path) =
        file("[sources.carrier]\nscheme = 'hmac'\nsecrets = ['env:WAYPOST_TEST_NOT_SET']\n[sources.other]\nscheme = 'hmac'\n");
    let output = waypost(&["serve", "--config", path.to_str().unwrap()]).output().unwrap();
    let told = text(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(told.contains("waypost.toml:3: sources.carrier.secrets: ") && told.contains("WAYPOST_TEST_NOT_SET"), "{told}");
    assert!(told.contains("waypost.toml:4: sources.other.secrets: is missing"), "{told}");

    let (_dir, path) = file("[sources.open]\nverify = 'none'\n");
    let output = waypost(&["check", "--config", path.to_str().unwrap()]).output().unwrap();
    assert!(output.status.success() && text(&output).contains("open (UNVERIFIED)"), "{}", text(&output));
}

#[test]
fn p1_what_was_answered_202_is_there_after_a_kill() {
    let (process, printed, dir) = serve("[sources.carrier]\nscheme = 'hmac'\nsecrets = ['file:carrier.secret']\n");
    assert!(printed.contains("no events yet"), "{printed}");
    let answer = send(&printed, &dir, &[]);
    assert!(answer.starts_with("202 "), "{answer}");
    signal(&process, "KILL");
    drop(process);

    let (_process, printed) = serve_in(&dir);
    assert!(printed.contains("offsets 1 to 1"), "{printed}");
}

#[test]
fn a_second_broker_on_the_same_data_is_told_so() {
    let (_process, _, dir) = serve("");
    let output = waypost(&["serve", "--config", dir.path().join("waypost.toml").to_str().unwrap()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("is in use by another process"), "{}", text(&output));
}

const FAILED: &str = r#"{"taskId":"T-1","agentId":"a","reason":"no driver"}"#;

#[test]
fn what_is_published_is_typed_checked_and_shown() {
    let (_process, printed, _dir) = serve("store.engine = 'memory'");
    let url = |listener: &str| {
        let line = printed.lines().find(|line| line.trim_start().starts_with(listener)).unwrap();
        line.split_whitespace().nth(1).unwrap().to_owned()
    };
    let (agents, admin) = (url("agents"), url("admin"));
    let run = |args: &[&str]| waypost(args).args(["--agents", &agents, "--admin", &admin]).output().unwrap();

    let typed = run(&["publish", "tasks.v1.TaskFailed", FAILED, "--id", "one", "--json"]);
    assert!(typed.status.success(), "{}", text(&typed));
    let again = run(&["publish", "tasks.v1.TaskFailed", FAILED, "--id", "one", "--json"]);
    assert!(text(&again).contains(r#""duplicate":true"#), "{}", text(&again));
    let plain = run(&["publish", "com.example.counted", r#"{"n":12345678901234567890}"#]);
    assert!(plain.status.success(), "{}", text(&plain));
    let incomplete = run(&["publish", "tasks.v1.TaskFailed", "{}"]);
    assert!(incomplete.status.code() == Some(1) && text(&incomplete).contains("task_id"), "{}", text(&incomplete));

    let shown = run(&["tail", "--from", "earliest", "--once", "--json", "--type", "tasks.v1.*"]);
    let lines: Vec<serde_json::Value> = text(&shown).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 1, "{}", text(&shown));
    assert_eq!((&lines[0]["id"], &lines[0]["data"]["taskId"]), (&"one".into(), &"T-1".into()));
    let all = text(&run(&["tail", "--from", "earliest", "--once"]));
    assert!(all.contains("com.example.counted") && all.contains("12345678901234567890"), "{all}");
}
