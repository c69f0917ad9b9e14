//! The journal: what is kept, what is not, and what its troubles do to others: nothing.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may panic")]

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use waypost_proto::v1::{JournaledWebhook, WebhookOutcome, WebhookStep};

use super::*;
use crate::{
    clock::Clock,
    config::parse,
    ingress::{LiveSources, Outcome, Sources},
};

const AT: u64 = 1_775_385_000_000_000;

struct Stand {
    journal: Journal,
    stop: CancellationToken,
    writing: tokio::task::JoinHandle<()>,
    folder: TempDir,
}

impl Stand {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut JournalRules)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::in_folder(folder, change)
    }

    fn in_folder(folder: TempDir, change: impl FnOnce(&mut JournalRules)) -> Self {
        let mut rules = JournalRules {
            file: Some(folder.path().join("webhooks.journal")),
            max_age: Duration::from_secs(100 * 366 * 86_400),
            max_size: 64 << 20,
            max_body: 1 << 20,
            mask_headers: Vec::new(),
            mask_paths: Vec::new(),
        };
        change(&mut rules);
        std::fs::write(folder.path().join("secret"), "It's a Secret to Everybody").unwrap();
        let config = "[sources.github]\nscheme = 'github'\nsecrets = ['file:secret']\n[sources.stripe]\nscheme = 'stripe'\nsecrets = ['file:secret']\n";
        let setup = parse(config, &folder.path().join("waypost.toml")).unwrap();
        let (journal, writer) = Journal::new(rules, LiveSources::new(setup.sources), Clock::starting_at(AT));
        let stop = CancellationToken::new();
        let writing = tokio::spawn(writer.run(stop.clone()));
        Self { journal, stop, writing, folder }
    }

    fn file(&self) -> std::path::PathBuf {
        self.folder.path().join("webhooks.journal")
    }

    async fn list(&self, search: Search) -> Vec<JournaledWebhook> {
        self.journal.list(search, None, 10_000).await.unwrap()
    }

    fn hand_in(&self, note: Note) {
        self.journal.note(note.decided, || note);
    }

    async fn end(self) -> TempDir {
        self.stop.cancel();
        self.writing.await.unwrap();
        self.folder
    }
}

fn sources(folder: &Path) -> Sources {
    let config =
        "[sources.github]\nscheme = 'github'\nsecrets = ['file:secret']\n[sources.stripe]\nscheme = 'stripe'\nsecrets = ['file:secret']\n";
    parse(config, &folder.join("waypost.toml")).unwrap().sources
}

fn note(stand: &Stand, source: &str, number: u64, outcome: Outcome, headers: &[(&str, &str)], body: &str) -> Note {
    let source = sources(stand.folder.path()).get(source).map(Arc::clone);
    let mut request = Request::post("/hooks/x?n=1");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let (head, ()) = request.body(()).unwrap().into_parts();
    let decided = source.as_ref().map_or(Decided::UNKNOWN_PATH, |_| outcome.into());
    let (body, id) = (Bytes::copy_from_slice(body.as_bytes()), format!("event-{number}"));
    Note { at: AT + number, latency: 1_234, source, peer: None, head, body, decided, id, detail: String::new() }
}

#[tokio::test]
async fn every_request_is_found_by_what_is_known_of_it() {
    let stand = Stand::new();
    for number in 0..10 {
        let outcome = if number % 2 == 0 { Outcome::Accepted } else { Outcome::UnverifiedSignatureWrong };
        let delivery = format!("d-{number}");
        stand.hand_in(note(&stand, "github", number * 1_000_000, outcome, &[("x-github-delivery", &delivery)], "{}"));
    }
    stand.hand_in(note(&stand, "nowhere", 20_000_000, Outcome::Accepted, &[], ""));
    let all = stand.list(Search::default()).await;
    assert_eq!(all.len(), 11);
    assert!(all.windows(2).all(|pair| pair[0].id.parse::<u64>().unwrap() > pair[1].id.parse::<u64>().unwrap()), "newest first");
    let newest = &all[0];
    assert_eq!(
        (newest.outcome(), &*newest.reason, newest.step(), newest.status, &*newest.source),
        (WebhookOutcome::Refused, "unknown_path", WebhookStep::Path, 404, "")
    );

    let of = |search: Search| stand.list(search);
    let refused = of(Search { outcome: WebhookOutcome::Refused, source: "github".into(), ..Search::default() }).await;
    assert_eq!(
        (refused.len(), &*refused[0].reason, refused[0].step(), refused[0].status),
        (5, "signature_wrong", WebhookStep::Signature, 401)
    );
    let one = of(Search { delivery_id: "d-3".into(), ..Search::default() }).await;
    assert_eq!((one.len(), &*one[0].delivery_id, &*one[0].target), (1, "d-3", "/hooks/x?n=1"));
    assert_eq!(of(Search { event_id: "event-4000000".into(), ..Search::default() }).await.len(), 1);
    assert_eq!(of(Search { reason: "unknown_path".into(), ..Search::default() }).await.len(), 1);
    assert_eq!(of(Search { since: Some(AT + 2_000_000), until: Some(AT + 5_000_000), ..Search::default() }).await.len(), 3);
    let page = stand.journal.list(Search::default(), Some(all[3].id.parse().unwrap()), 2).await.unwrap();
    assert_eq!(page, all[4..6]);

    let found = stand.journal.get(all[1].id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!((found.webhook.as_ref(), &*found.body, found.body_masked, found.body_cut), (Some(&all[1]), &b"{}"[..], false, false));
    assert_eq!(stand.journal.get(1).await, Ok(None));
    assert_eq!(stand.journal.counts().unwrap().written, 11);
    stand.end().await;
}

#[tokio::test]
async fn no_secret_of_a_source_and_no_signature_is_written_whatever_it_is_in() {
    let stand = Stand::new();
    let secret = "It's a Secret to Everybody";
    let body = format!("{{\"text\":\"{secret}\",\"hex\":\"{}\",\"card\":\"4111111111111111\"}}", hex::encode(secret));
    let signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
    let headers = [("x-hub-signature-256", signature), ("x-note", secret), ("x-github-event", "push"), ("authorization", "Bearer abc")];
    stand.hand_in(note(&stand, "github", 0, Outcome::Accepted, &headers, &body));
    // A path that nobody has: the secret is somebody's all the same.
    let mut lost = note(&stand, "nowhere", 1, Outcome::Accepted, &headers, "");
    lost.head.uri = "/hooks/It's%20a%20Secret%20to%20Everybody?token=x".parse().unwrap();
    stand.hand_in(lost);
    let stripe = [("stripe-signature", "t=1492774577,v1=5257a869e7ecebeda32affa62cdca3fa51cad7e77a0e56ff536d0ce8e108d8bd,v0=6ffb")];
    stand.hand_in(note(&stand, "stripe", 2, Outcome::UnverifiedTimestampOld, &stripe, &base64(secret)));

    let all = stand.list(Search::default()).await;
    let shown = stand.journal.get(all[2].id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(&*shown.body, &br#"{"text":"(masked)","hex":"(masked)","card":"(masked)"}"#[..]);
    let header =
        |name: &str| shown.headers.iter().find(|header| header.name == name).map(|header| (&*header.value, header.masked)).unwrap();
    assert_eq!(header("x-hub-signature-256"), ("sha256=(masked)", true), "how it is written is no secret");
    assert_eq!((header("x-note"), header("x-github-event")), (("(masked)", true), ("push", false)));
    assert_eq!(all[1].target, "/hooks/(masked)?token=(masked)");
    let stripe = stand.journal.get(all[0].id.parse().unwrap()).await.unwrap().unwrap();
    assert_eq!(stripe.headers[0].value, "t=1492774577,v1=(masked),v0=(masked)", "the time is what is asked for first");

    let file = stand.file();
    let folder = stand.end().await;
    let mut bytes = std::fs::read(&file).unwrap();
    bytes.extend(std::fs::read(file.with_extension("journal-wal")).unwrap_or_default());
    let holds = |needle: &str| bytes.windows(needle.len()).any(|window| window == needle.as_bytes());
    for needle in [
        secret,
        "757107ea0eb2509f",
        "5257a869e7ecebeda",
        "4111111111111111",
        &hex::encode(secret)[..20],
        &base64(secret)[..20],
        "Bearer abc",
    ] {
        assert!(!holds(needle), "{needle}");
    }
    assert!(holds("x-github-event"), "the file is the one that was written");
    drop(folder);
}

fn base64(text: &str) -> String {
    use ::base64::{Engine as _, engine::general_purpose::STANDARD};
    STANDARD.encode(text)
}

#[tokio::test]
async fn a_body_is_cut_after_it_was_sanitised() {
    let stand = Stand::with(|rules| rules.max_body = 30);
    let body = format!("{{\"a\":\"{}\",\"password\":\"hunter2\"}}", "x".repeat(10));
    stand.hand_in(note(&stand, "github", 0, Outcome::Accepted, &[], &body));
    let id = stand.list(Search::default()).await[0].id.parse().unwrap();
    let found = stand.journal.get(id).await.unwrap().unwrap();
    assert_eq!((found.body.len(), found.body_cut, found.body_masked), (30, true, true));
    assert_eq!(found.webhook.unwrap().body_size, body.len() as u64);
    stand.end().await;
}

#[tokio::test]
async fn what_was_written_is_there_after_a_restart_and_ids_go_on() {
    let stand = Stand::new();
    stand.hand_in(note(&stand, "github", 5, Outcome::Accepted, &[], "{}"));
    let folder = stand.end().await;
    let stand = Stand::in_folder(folder, |_| {});
    // The clock went back.
    stand.hand_in(note(&stand, "github", 0, Outcome::Accepted, &[], "{}"));
    let all = stand.list(Search::default()).await;
    let ids: Vec<u64> = all.iter().map(|webhook| webhook.id.parse().unwrap()).collect();
    assert_eq!(ids, [AT + 6, AT + 5]);
    stand.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_comes_faster_than_it_is_worth_to_write_is_counted_until_the_next_second() {
    let stand = Stand::new();
    let hand_in = |number, outcome| stand.hand_in(note(&stand, "github", number, outcome, &[], ""));
    let dropped = || stand.journal.counts().unwrap().dropped;
    (0..700).for_each(|number| hand_in(number, Outcome::UnverifiedSignatureWrong));
    assert_eq!(dropped(), 200);
    (700..1_400).for_each(|number| hand_in(number, Outcome::Accepted));
    assert_eq!(dropped(), 400, "a flood of what is refused takes no place of what is accepted");
    tokio::time::advance(Duration::from_secs(1)).await;
    hand_in(1_400, Outcome::UnverifiedSignatureWrong);
    hand_in(1_401, Outcome::Duplicate);
    assert_eq!(dropped(), 400);
}

#[tokio::test]
async fn what_is_too_old_or_too_much_goes_and_nonsense_goes_first() {
    let stand = Stand::with(|rules| rules.max_size = 1 << 20);
    let body = "x".repeat(4_000);
    let wait = async |written| {
        while stand.journal.counts().unwrap().written < written {
            stand.list(Search { event_id: "none".into(), ..Search::default() }).await;
        }
    };
    for number in 0..60 {
        stand.hand_in(note(&stand, "github", number, Outcome::Accepted, &[], &body));
    }
    wait(60).await;
    for number in 60..460 {
        stand.hand_in(note(&stand, "github", number, Outcome::UnverifiedSignatureWrong, &[], &body));
    }
    wait(460).await;
    let counts = stand.journal.counts().unwrap();
    assert!(counts.bytes <= 1 << 20 && counts.dropped == 0, "{counts:?}");
    let accepted = stand.list(Search { outcome: WebhookOutcome::Accepted, ..Search::default() }).await.len();
    assert_eq!(accepted, 60, "a flood of nonsense does not push out what was accepted");
    let newest = &stand.list(Search::default()).await[0];
    assert_eq!(newest.event_id, "event-459");
    let folder = stand.end().await;

    // Years later.
    let stand = Stand::in_folder(folder, |rules| rules.max_age = Duration::from_secs(60));
    let later = 365 * 86_400 * 1_000_000;
    for round in 0..8 {
        stand.hand_in(note(&stand, "github", later + round, Outcome::Accepted, &[], "{}"));
        stand.list(Search::default()).await;
    }
    let left = stand.list(Search::default()).await;
    assert!(left.iter().all(|webhook| webhook.event_id.len() > "event-459".len()), "{left:?}");
    stand.end().await;
}

#[tokio::test]
async fn a_damaged_journal_is_set_aside_and_begun_anew() {
    let stand = Stand::new();
    for number in 0..50 {
        stand.hand_in(note(&stand, "github", number, Outcome::Accepted, &[], &"x".repeat(2_000)));
    }
    assert_eq!(stand.list(Search::default()).await.len(), 50);
    let file = stand.file();
    let folder = stand.end().await;
    std::fs::write(&file, vec![0x5a; 100_000]).unwrap();
    let stand = Stand::in_folder(folder, |_| {});
    stand.hand_in(note(&stand, "github", 0, Outcome::Accepted, &[], "{}"));
    assert_eq!(stand.list(Search::default()).await.len(), 1, "what came is kept");
    let counts = stand.journal.counts().unwrap();
    assert_eq!((counts.damage, counts.written, counts.failed), (1, 1, 0));
    assert!(stand.folder.path().join("webhooks.journal.damaged").exists());
    stand.end().await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_written_is_counted_and_hurts_nobody() {
    let stand = Stand::with(|rules| rules.file = Some("/nowhere/at/all/webhooks.journal".into()));
    stand.hand_in(note(&stand, "github", 0, Outcome::Accepted, &[], "{}"));
    let error = stand.journal.list(Search::default(), None, 10).await.unwrap_err();
    assert!(matches!(error, JournalError::Unreadable(_)), "{error}");
    let counts = stand.journal.counts().unwrap();
    assert_eq!((counts.failed, counts.written, counts.dropped), (1, 0, 0));
    stand.end().await;
}

/// Nobody writes: handing in goes on without waiting, what there is no room for is counted, and memory is bounded.
#[tokio::test]
async fn a_queue_that_is_full_drops_and_counts() {
    let stand = Stand::new();
    // The writer's task has not run yet: this one does not yield.
    let large = "x".repeat(1 << 20);
    for number in 0..40 {
        stand.hand_in(note(&stand, "github", number, Outcome::Accepted, &[], &large));
    }
    let dropped = stand.journal.counts().unwrap().dropped;
    assert!((20..40).contains(&dropped), "{dropped} of 40 MiB do not fit into what may wait");
    let all = stand.list(Search::default()).await;
    assert_eq!(all.len() as u64, 40 - dropped);
    stand.hand_in(note(&stand, "github", 100, Outcome::Accepted, &[], &large));
    assert_eq!(stand.list(Search::default()).await.len(), all.len() + 1, "there is room again");
    stand.end().await;
}

#[tokio::test]
async fn without_a_journal_there_is_nothing_to_ask() {
    let off = Journal::off();
    assert!(!off.is_on() && off.counts().is_none());
    assert_eq!(off.list(Search::default(), None, 1).await, Err(JournalError::Off));
}
