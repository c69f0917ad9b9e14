//! Secrets: they are in no output, however much is told and whatever goes wrong.

use std::{fs, process::Command};

use tonic::Status;
use waypost_proto::v1::{PublishRequest, ReadEventsRequest};
use waypost_tests::{authority::Authority, process::program};

use crate::{
    access::{PAGES, Shown, ask},
    bad_requests::exchange,
    bearer::{Agent, TOKENS, agent, create, item, to},
    stand::{SECRET, Stand, delay, soon},
};

#[tokio::test]
async fn no_secret_is_in_any_output() {
    let authority = Authority::new();
    let pair = authority.sign(&["127.0.0.1"]);
    let mut secrets = vec![SECRET.to_owned(), "waypost_not-a-token-of-this-broker".to_owned()];
    secrets.extend(pair.key.lines().filter(|line| !line.starts_with('-')).map(str::to_owned));
    // A secret that is sent as it is, by a program; and the one that it becomes.
    secrets.extend(["vault-7c1f9a", "vault-next-22be"].map(str::to_owned));
    // Secrets that providers give while pairing is open, and such that are not taken.
    secrets.extend(OFFERS.into_iter().flat_map(|(_, first, second)| [first, second]).map(str::to_owned));
    let lines = format!(
        "{TOKENS}\n{PAIRING}\nsources.shop = {{ scheme = 'cloudevents', secrets = [{{ command = ['cat', 'vault'], every = '1s' }}] }}\nlog.level = 'trace'\nadmin.tls = {{ certificate = 'here.pem', key = 'here.key' }}"
    );
    let stand = Stand::prepared(&lines, |folder| {
        pair.write(folder, "here");
        fs::write(folder.join("vault"), "vault-7c1f9a").unwrap();
        secrets.push(create(folder, "all", &["publish", "subscribe", "read", "admin"]));
    });
    let (wrong, right) = (secrets[1].clone(), secrets.last().unwrap().clone());
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    stand.carrier("another secret").post(delay(2)).await.unwrap();
    stand.carrier(SECRET).post(b"{}".to_vec()).await.unwrap();
    for (secret, status) in [("vault-7c1f9a", 202), ("vault-7c1f9a ", 202), ("vault-next-22be", 401)] {
        assert_eq!(cloud_event(&stand, secret, "{}").await, status);
        assert_eq!(cloud_event(&stand, secret, "\"").await, status, "in quarantine, if it is verified");
    }
    fs::write(stand.folder.path().join("vault"), "vault-next-22be").unwrap();
    let accepted = async { while Box::pin(cloud_event(&stand, "vault-next-22be", "{}")).await != 202 {} };
    soon("the next secret", accepted).await;
    fs::remove_file(stand.folder.path().join("vault")).unwrap();
    soon("the report of the program", async {
        while !stand.log().contains("the program") {
            tokio::task::yield_now().await;
        }
    })
    .await;
    for (source, first, second) in OFFERS {
        assert_eq!((offer(&stand, source, first).await, offer(&stand, source, second).await), (200, 401), "{source}");
        assert_eq!(fs::read_to_string(stand.folder.path().join(format!("{source}.given"))).unwrap(), first);
    }
    assert!(stand.log().contains("the first secret that was offered is kept") && stand.log().contains("and the source has one"));
    for token in [&right, &wrong] {
        let mut agent = agent(&stand, token);
        let _ = agent.publish(PublishRequest { items: vec![item("agents/a", "a.b")] }).await;
        let _ = agent.read_events(ReadEventsRequest::default()).await;
        let _ = subscribe_once(&mut agent).await;
        let ca = stand.folder.path().join("ca.pem");
        fs::write(&ca, authority.pem()).unwrap();
        fs::write(stand.folder.path().join("cli.token"), token).unwrap();
        let printed = Command::new(program())
            .args(["publish", "a.b", "{}", "--agents", &stand.broker.agents, "--admin", &stand.broker.admin, "--token", "file:cli.token"])
            .arg("--ca")
            .arg(&ca)
            .env("WAYPOST_LOG", "trace")
            .current_dir(stand.folder.path())
            .output()
            .unwrap();
        assert_eq!(printed.status.success(), *token == right, "{printed:?}");
        fs::write(stand.folder.path().join("cli.output"), [printed.stdout, printed.stderr].concat()).unwrap();
        fs::remove_file(stand.folder.path().join("cli.token")).unwrap();
    }
    // A file of tokens that holds what it should not.
    let tokens_file = stand.folder.path().join("tokens.toml");
    let sound = fs::read_to_string(&tokens_file).unwrap();
    fs::write(&tokens_file, format!("{sound}\n[[tokens]]\nname = 'b'\nhash = '{right}'\nscopes = []\n")).unwrap();
    let told = async {
        while !stand.log().contains("auth.tokens_file: ") {
            tokio::task::yield_now().await;
        }
    };
    soon("the report of the bad file", told).await;
    fs::write(&tokens_file, sound).unwrap();

    fs::write(stand.folder.path().join("printed"), &stand.broker.printed).unwrap();
    let mut files = 0;
    let mut folders = vec![stand.folder.path().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.file_name().unwrap().to_str().unwrap() {
                _ if path.is_dir() => folders.push(path),
                "secret" | "here.key" | "asana.given" | "notion.given" | "own.given" => {}
                name => {
                    files += 1;
                    let content = fs::read(&path).unwrap();
                    for secret in &secrets {
                        let is_there = content.windows(secret.len()).any(|part| part == secret.as_bytes());
                        assert!(!is_there, "{name} holds the secret {secret:?}");
                    }
                }
            }
        }
    }
    assert!(files > 6, "the log, the audit log, what was printed, and the store were looked at: {files}");
    assert!(stand.log().contains("TRACE"), "everything that can be logged was");
}

/// Each with a source that learns it, and one that comes too late.
const OFFERS: [(&str, &str, &str); 3] = [
    ("asana", "asana-gave-5f0c7e1d22", "asana-late-8a61d0b3c4"),
    ("notion", "notion-gave-91b7aa04ce", "notion-late-3be0d7f815"),
    ("own", "own-gave-c2d4e6f8a013", "own-late-77aa55cc33ee"),
];

/// What learns them: two providers, and a scheme that has its secret where nothing says that it is one.
const PAIRING: &str = "
sources.asana = { scheme = 'asana', pairing = true, secrets = ['file:asana.given'] }
sources.notion = { scheme = 'notion', pairing = true, secrets = ['file:notion.given'] }
sources.own = { scheme = { signature = { header = 'X-Sig' }, handshakes = [{ learns = '{/word}' }] }, pairing = true, secrets = ['file:own.given'] }";

/// The status that offering a secret to a source is answered with.
async fn offer(stand: &Stand, source: &str, secret: &str) -> u16 {
    let (header, body) = match source {
        "asana" => (format!("x-hook-secret: {secret}\r\n"), String::new()),
        "notion" => (String::new(), format!("{{\"verification_token\":\"{secret}\"}}")),
        _ => (String::new(), format!("{{\"word\":\"{secret}\"}}")),
    };
    let head = format!(
        "POST /hooks/{source} HTTP/1.1\r\nhost: w\r\nconnection: close\r\n{header}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    exchange(stand, head.as_bytes()).await.0
}

/// The status of an event of the shop with this data.
async fn cloud_event(stand: &Stand, secret: &str, data: &str) -> u16 {
    let head = format!(
        "POST /hooks/shop HTTP/1.1\r\nhost: w\r\nconnection: close\r\nauthorization: Bearer {secret}\r\ncontent-type: application/json\r\n\
         ce-specversion: 1.0\r\nce-id: 1\r\nce-source: /shop\r\nce-type: a.b\r\ncontent-length: {}\r\n\r\n{data}",
        data.len()
    );
    let (status, text) = exchange(stand, head.as_bytes()).await;
    assert!(!text.contains(secret.trim()), "{text}");
    status
}

async fn subscribe_once(agent: &mut Agent) -> Result<(), Status> {
    let mut stream = agent.subscribe(to("routing", &[])).await?.into_inner();
    soon("the first message", stream.message()).await.map(drop)
}

#[tokio::test]
async fn no_secret_is_on_a_page_in_a_figure_or_in_what_a_command_shows() {
    let mut token = String::new();
    let stand = Stand::prepared(TOKENS, |folder| token = create(folder, "all", &["publish", "subscribe", "admin"]));
    stand.carrier(SECRET).post(delay(1)).await.unwrap();
    stand.carrier("another secret").post(delay(2)).await.unwrap();
    let quarantined = stand.carrier(SECRET).post(b"{}".to_vec()).await.unwrap();
    let mut agent = agent(&stand, &token);
    subscribe_once(&mut agent).await.unwrap();

    let mut shown: Vec<(String, String)> = Vec::new();
    for (method, path, _) in PAGES {
        let path = path.replace("{name}", "routing").replace("/quarantine/{id}", &format!("/quarantine/{}", quarantined.json["event_id"]));
        let path = path.replace('"', "");
        for (with, token) in [("token", token.as_str()), ("wrong token", "waypost_not-a-token-of-this-broker")] {
            for carried in [Shown::InHeader, Shown::InCookie] {
                let (_, text) = ask(&stand, method, &path, Some(token), carried, "0").await;
                shown.push((format!("{method} {path} with a {with}"), text));
            }
        }
    }
    fs::write(stand.folder.path().join("cli.token"), &token).unwrap();
    for args in [
        &["config", "show", "--config", "waypost.toml"][..],
        &["config", "show", "--config", "waypost.toml", "--json"],
        &["check", "--config", "waypost.toml"],
        &["token", "list", "--json"],
        &["sources", "list", "--json"],
        &["sources", "show", "carrier"],
        &["sessions", "list", "--json"],
        &["quarantine", "list", "--json"],
        &["send", "carrier", "--config", "waypost.toml", "--json"],
    ] {
        let mut command = Command::new(program());
        command.args(args).current_dir(stand.folder.path());
        match args[0] {
            "sources" | "sessions" | "quarantine" => drop(command.args(["--admin", &stand.broker.admin, "--token", "file:cli.token"])),
            "send" => drop(command.args(["--edge", &stand.edge()])),
            _ => {}
        }
        let printed = command.output().unwrap();
        assert!(printed.status.success(), "{args:?}: {printed:?}");
        shown.push((args.join(" "), String::from_utf8([printed.stdout, printed.stderr].concat()).unwrap()));
    }
    assert!(shown.iter().filter(|(_, text)| text.len() > 100).count() > 60, "pages and commands show something");
    for (what, text) in &shown {
        for secret in [SECRET, &token, "waypost_not-a-token-of-this-broker"] {
            assert!(!text.contains(secret), "{what} shows the secret {secret:?}:\n{text}");
        }
    }
}
