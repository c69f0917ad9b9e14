//! SIGHUP: what changes at once, what waits for a restart, and what a mistake changes: nothing.

use std::{fs, process::Command};

use crate::stand::{SECRET, Stand, delay, soon};
use waypost_tests::process::program;

impl Stand {
    /// Writes the configuration anew, with these sections behind it, and tells the broker. Waits until its log says what became of it.
    pub(crate) async fn reread(&self, lines: &str, told: &str) -> String {
        let path = self.folder.path().join("waypost.toml");
        let listen = fs::read_to_string(&path).unwrap().lines().filter(|line| line.contains(".listen = ")).collect::<Vec<_>>().join("\n");
        fs::write(&path, format!("{listen}\n{}\n{lines}", self.configuration)).unwrap();
        let log = || fs::read_to_string(self.folder.path().join("waypost.log")).unwrap();
        let before = log().len();
        self.broker.hang_up();
        let answered = async {
            loop {
                let news = log()[before..].to_owned();
                if news.contains("SIGHUP") && news.contains(told) && news.ends_with('\n') {
                    return news;
                }
                tokio::task::yield_now().await;
            }
        };
        soon(told, answered).await
    }

    pub(crate) async fn posted(&self, secret: &str, number: u32) -> u16 {
        self.carrier(secret).post(delay(number)).await.unwrap().code
    }
}

#[tokio::test]
async fn a_secret_is_rotated_and_sources_come_and_go_without_a_restart() {
    let stand = Stand::new();
    assert_eq!(stand.posted(SECRET, 1).await, 202);
    fs::write(stand.folder.path().join("secret"), "another one\n").unwrap();
    stand.reread("", "was read again").await;
    assert_eq!((stand.posted("another one", 3).await, stand.posted(SECRET, 4).await), (202, 401), "at once");

    let open = "[sources.open]\nverify = 'none'\n[retention]\nsettled = '3d'\n";
    let told = stand.reread(&format!("[limits]\nmax_subscriptions = 1\n{open}"), "retention.settled").await;
    assert!(told.contains("sources.open.verify") && told.contains("limits.max_subscriptions"), "{told}");
    assert!(told.contains("take effect with the next start"), "{told}");
    let list = || {
        let output = Command::new(program()).args(["sources", "list", "--json", "--admin", &stand.broker.admin]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let listed = list();
    assert!(listed.contains("\"open\""), "{listed}");
    let carrier: serde_json::Value = serde_json::from_str(listed.lines().next().unwrap()).unwrap();
    assert_eq!(carrier["stats"]["accepted"], "2", "it goes on counting: {carrier}");
    let publish = |source: &str| {
        let args = ["publish", "com.example.x", "{}", "--source", source, "--agents", &stand.broker.agents];
        Command::new(program()).args(args).output().unwrap().status.code()
    };
    assert_eq!(publish("open"), Some(5), "nobody else speaks for a source");

    stand.reread("", "was read again").await;
    assert!(!list().contains("\"open\""));
    assert_eq!(publish("open"), Some(0), "it is nobody's name any more");
}

#[tokio::test]
async fn a_file_with_a_mistake_changes_nothing_and_says_why() {
    let stand = Stand::new();
    let told = stand.reread("[sources.other]\nscheme = 'hmac'\nsecrets = ['env:WAYPOST_TEST_NOT_SET']\n", "nothing was changed").await;
    assert!(told.contains("WAYPOST_TEST_NOT_SET") && told.contains("sources.other.secrets"), "{told}");
    fs::remove_file(stand.folder.path().join("secret")).unwrap();
    let told = stand.reread("", "nothing was changed").await;
    assert!(told.contains("secret"), "{told}");
    assert_eq!(stand.posted(SECRET, 1).await, 202, "the secret that it has goes on");
}
