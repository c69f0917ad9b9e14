//! The logistics example, whole: the broker and every agent as processes of their own.
//!
//! Constraints: its verdict is trusted because its own tests fail it; here it must come out well, and say what it is to say.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

/// Runs it to its end and gives the summary. Not to be waited for by a clock: it gives up by itself when nothing moves.
async fn summary(options: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logistics-under-test"));
    command.arg("--once").args(options).args(["--broker", env!("CARGO_BIN_EXE_waypost-under-test")]);
    let done = command.stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true).output().await.unwrap();
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(done.status.success(), "{}:\n{said}", done.status);
    said
}

/// The number that stands behind this word.
fn count(summary: &str, word: &str) -> usize {
    let line = summary.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("no {word:?} in\n{summary}"));
    line.split_whitespace().next().unwrap().parse().unwrap()
}

fn is_as_it_must_be(summary: &str) {
    assert_eq!(count(summary, "received "), 42);
    assert_eq!((count(summary, "lost "), count(summary, "duplicated effects ")), (0, 0));
    assert_eq!(count(summary, "dead-lettered "), 1);
    assert!(count(summary, "redelivered ") >= 3, "poison twice, and the event of the killed agent:\n{summary}");
    assert!(count(summary, "delivered ") >= 190, "{summary}");
    // The story goes from its webhook to the customer, through the process that took over.
    for part in ["ShippingDelayed of shipments/SHIP-1-07, from carrier\n", "was killed before its ack", "got it again, as attempt 2"] {
        assert!(summary.contains(part), "no {part:?} in\n{summary}");
    }
    let told = "CustomerNotified of shipments/SHIP-1-07, from agents/notification, after";
    assert!(summary.contains(&format!("   └─ {told}")), "below the rerouting:\n{summary}");
}

#[tokio::test]
async fn logistics_loses_nothing_and_does_nothing_twice() {
    is_as_it_must_be(&summary(&[]).await);
}

#[tokio::test]
async fn logistics_bears_the_death_of_its_broker() {
    let summary = summary(&["--kill-broker"]).await;
    is_as_it_must_be(&summary);
    assert!(summary.contains("was killed with SIGKILL, and is up again on the same data"), "{summary}");
}

/// It prepares the Python packages and the npm packages by itself, and fails where it cannot.
#[tokio::test]
async fn logistics_has_agents_in_python_and_typescript() {
    let summary = summary(&["--with-python", "--with-typescript", "--kill-broker"]).await;
    is_as_it_must_be(&summary);
    assert!(summary.contains("fulfilment (TypeScript), notification (Python)"), "{summary}");
}

#[tokio::test]
async fn logistics_goes_on_until_it_is_told_to_stop_and_waits_for_what_was_begun() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logistics-under-test"));
    command.args(["--broker", env!("CARGO_BIN_EXE_waypost-under-test")]).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut process = command.spawn().unwrap();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = String::new();
    let id = Pid::from_raw(process.id().unwrap().try_into().unwrap()).unwrap();
    while let Some(line) = lines.next_line().await.unwrap() {
        // In the middle of the second day.
        if line.starts_with("simulator     orders/ORDER-2-08") {
            kill_process(id, Signal::INT).unwrap();
        }
        said.extend([&line, "\n"]);
    }
    let status = process.wait().await.unwrap();
    assert!(status.success(), "{status}:\n{said}");
    assert_eq!((count(&said, "lost "), count(&said, "duplicated effects ")), (0, 0), "{said}");
    assert_eq!((count(&said, "dead-lettered "), said.matches("was killed before its ack").count()), (2, 1), "{said}");
    assert!(!said.contains("ORDER-3-"), "{said}");
}
