//! Secrets that change while the broker runs.

use std::{fs, path::Path};

use crate::stand::{SECRET, Stand, delay, soon};

/// Puts a file as a whole.
fn put(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join("next"), text).unwrap();
    fs::rename(folder.join("next"), folder.join(name)).unwrap();
}

/// Waits until a secret is accepted, or is not any more. Each attempt is another webhook.
async fn until(stand: &Stand, secret: &str, status: u16) {
    let waiting = async {
        let mut number = 1_000;
        while stand.posted(secret, number).await != status {
            number += 1;
        }
    };
    soon("the change of the secret", waiting).await;
}

/// A carrier with two secrets in files, as one rotates them.
fn stand() -> Stand {
    let stand = Stand::prepared("", |folder| put(folder, "previous", SECRET));
    let configuration = stand.configuration.replace("['file:secret']", "['file:secret', 'file:previous']");
    Stand { configuration, ..stand }
}

#[tokio::test]
async fn a_secret_is_rotated_without_a_restart_or_a_signal_both_are_accepted_meanwhile_and_then_the_old_one_is_refused() {
    let stand = stand();
    stand.reread("", "was read again").await;
    let folder = stand.folder.path();
    assert_eq!((stand.posted(SECRET, 1).await, stand.posted("the next one", 2).await), (202, 401));
    put(folder, "secret", "the next one");
    until(&stand, "the next one", 202).await;
    assert_eq!(stand.posted(SECRET, 3).await, 202, "the provider may still sign with the old one");
    put(folder, "previous", "the next one\n");
    until(&stand, SECRET, 401).await;
    assert_eq!(stand.posted("the next one", 4).await, 202);
    let log = stand.log();
    assert!(log.contains("sources: the secrets of carrier have changed, and are in force"), "{log}");
    assert!(!log.contains(SECRET) && !log.contains("the next one"), "{log}");
    let accepted = crate::metrics::Scrape::of(&stand).await.get(r#"waypost_webhooks_total{source="carrier",outcome="accepted",reason=""}"#);
    assert!(accepted >= 4.0, "it goes on counting: {accepted}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_leaves_the_last_good_one_and_is_told_once() {
    let stand = stand();
    stand.reread("", "was read again").await;
    let folder = stand.folder.path();
    fs::remove_file(folder.join("secret")).unwrap();
    put(folder, "previous", "\n");
    let told = || stand.log().matches("what was in force before stays in force").count();
    soon("the report", async {
        while told() == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let log = stand.log();
    assert!(log.contains("secret cannot be read") && log.contains("file:previous is empty"), "{log}");
    assert_eq!(stand.posted(SECRET, 1).await, 202);
    // The next look finds the same, and a look after that what is good again.
    put(folder, "secret", "the next one");
    until(&stand, "the next one", 202).await;
    assert!(told() <= 2, "{}", stand.log());
    assert_eq!(stand.posted(SECRET, 2).await, 202, "what cannot be read still is what it was");
}

#[tokio::test]
async fn a_program_is_asked_again_and_what_it_said_last_holds_while_it_fails() {
    let stand = Stand::new();
    put(stand.folder.path(), "vault", SECRET);
    let configuration = stand.configuration.replace("['file:secret']", "[{ command = ['cat', 'vault'], every = '1s' }]");
    let stand = Stand { configuration, ..stand };
    stand.reread("", "was read again").await;
    let folder = stand.folder.path();
    assert_eq!(stand.posted(SECRET, 1).await, 202);
    put(folder, "vault", "the next one");
    until(&stand, "the next one", 202).await;
    assert_eq!(stand.posted(SECRET, 2).await, 401);
    fs::remove_file(folder.join("vault")).unwrap();
    soon("the report", async {
        while !stand.log().contains("the program \"cat\" ended with 1") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(stand.carrier("the next one").post(delay(3)).await.unwrap().code, 202);
}
