//! Secrets that a provider gives in a webhook.

use std::{fs, os::unix::fs::PermissionsExt, time::Duration};

use tokio::{task::JoinSet, time::advance};

use super::*;
use crate::{ingress::Outcome, limits::PAIRING_OPEN, renewal::Renew, server::RenewedSecrets};

const OFFERED: &str = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81";
const OTHER: &str = "0f49ee0b9c1f72a6e5e0e6ac1fd1ad29b4d0e2a4a5c5ad9d90a0a6c7c0f0e111";

/// A source `s` that is being paired, with what keeps its secrets.
struct Paired {
    edge: Harness,
    secrets: Arc<RenewedSecrets>,
    scheme: &'static str,
}

impl Paired {
    fn new(scheme: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut setup = setup(&folder, scheme, true);
        let edge = Harness::new("");
        let live = LiveSources::new(std::mem::take(&mut setup.sources));
        let secrets = Arc::new(RenewedSecrets::new(&setup, Arc::new(setup.schemas.clone()), live.clone()));
        let router = router(Edge {
            store: Arc::clone(&edge.store),
            clock: edge.clock,
            entropy: Arc::new(Entropy::seeded(1)),
            sources: live.clone(),
            keys: KeyRing::default(),
            replays: Arc::clone(&edge.replays),
            tracer: Tracer::off(),
            journal: Journal::off(),
            renewals: Renewals::from_iter([Arc::clone(&secrets) as Arc<dyn Renew>]),
        });
        let edge = Harness { router, sources: (*live.current()).clone(), live, _secrets: folder, ..edge };
        Self { edge, secrets, scheme }
    }

    /// Reads the configuration again.
    fn reload(&self, pairing: bool) {
        let mut setup = setup(&self.edge._secrets, self.scheme, pairing);
        let sources = std::mem::take(&mut setup.sources);
        self.secrets.replace(&setup, sources);
    }

    fn file(&self) -> std::path::PathBuf {
        self.edge._secrets.path().join("given")
    }

    fn kept(&self) -> Option<String> {
        fs::read_to_string(self.file()).ok()
    }

    /// The status that offering a secret is answered with; the answer to Asana shows it once more.
    async fn offer(&self, secret: &str) -> u16 {
        let asked = match self.scheme {
            "asana" => {
                let mut asked = request("/hooks/s", HeaderMap::new(), "");
                asked.headers_mut().insert("x-hook-secret", secret.parse().unwrap());
                asked.headers_mut().insert("content-type", "application/json".parse().unwrap());
                asked
            }
            _ => request("/hooks/s", HeaderMap::new(), serde_json::json!({ "verification_token": secret }).to_string()),
        };
        let answer = self.edge.send(asked).await;
        let echo = answer.headers.get("x-hook-secret").map(|value| value.to_str().unwrap());
        assert_eq!(echo, (self.scheme == "asana" && answer.status == 200).then_some(secret));
        answer.status.as_u16()
    }

    /// The status of a webhook that is signed with a secret.
    async fn signed(&self, secret: &str) -> u16 {
        let scheme = format!("[s]\nscheme = \"{}\"\nsecrets = [\"file:given\"]", self.scheme);
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("given"), secret).unwrap();
        let text = scheme.replace("[s]", "[sources.s]");
        let setup = parse(&text, &folder.path().join("waypost.toml")).unwrap();
        let body = format!(r#"{{"id":"{secret}","type":"page.created","events":[{{"action":"added"}}]}}"#);
        let verifier = setup.sources.get("s").unwrap().verifier().unwrap();
        let headers = verifier.sign(HeaderMap::new(), &sample(body.as_bytes(), None)).unwrap();
        self.edge.send(request("/hooks/s", headers, body)).await.status.as_u16()
    }
}

fn setup(folder: &tempfile::TempDir, scheme: &str, pairing: bool) -> crate::config::Setup {
    // Without pairing, a secret must be there.
    let secret = if pairing { "given" } else { "other" };
    fs::write(folder.path().join("other"), "whatever else").unwrap();
    let text = format!("[sources.s]\nscheme = \"{scheme}\"\nsecrets = [\"file:{secret}\"]\npairing = {pairing}");
    parse(&text, &folder.path().join("waypost.toml")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn the_first_secret_that_is_offered_is_kept_and_verifies_from_then_on() {
    for scheme in ["asana", "notion"] {
        let paired = Paired::new(scheme);
        assert_eq!((paired.signed(OFFERED).await, paired.kept()), (401, None), "{scheme}: nothing is accepted before");
        assert_eq!(paired.edge.send(request("/hooks/s", HeaderMap::new(), "{}")).await.status, 401);
        assert_eq!((paired.offer(OFFERED).await, paired.kept()), (200, Some(OFFERED.to_owned())), "{scheme}");
        assert_eq!(fs::metadata(paired.file()).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(paired.signed(OFFERED).await, 202, "{scheme}: at once");
        assert_eq!(paired.offer(OFFERED).await, 200, "{scheme}: the answer may have been lost");
        assert_eq!((paired.offer(OTHER).await, paired.signed(OTHER).await), (401, 401), "{scheme}: and no other one");
        advance(Duration::from_micros(PAIRING_OPEN.micros())).await;
        assert_eq!(paired.offer(OFFERED).await, 401, "{scheme}: like any unverified request");
        assert_eq!((paired.kept(), paired.signed(OFFERED).await), (Some(OFFERED.to_owned()), 202), "{scheme}");
        assert_eq!(paired.edge.live.current().get("s").unwrap().counters.get(Outcome::Handshake), 2, "it goes on counting");
    }
}

#[tokio::test(start_paused = true)]
async fn pairing_is_over_after_ten_minutes_until_it_is_said_again() {
    for scheme in ["asana", "notion"] {
        let paired = Paired::new(scheme);
        advance(Duration::from_micros(PAIRING_OPEN.micros() - 1)).await;
        paired.reload(true);
        advance(Duration::from_micros(1)).await;
        assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, None), "{scheme}");
        paired.reload(true);
        assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, None), "{scheme}: it said so before");
        paired.reload(false);
        assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, None), "{scheme}: it does not say so");
        paired.reload(true);
        assert_eq!((paired.offer(OFFERED).await, paired.signed(OFFERED).await), (200, 202), "{scheme}");
        fs::remove_file(paired.file()).unwrap();
        assert_eq!((paired.offer(OTHER).await, paired.signed(OFFERED).await), (401, 202), "{scheme}: the last good one stays");
        paired.reload(true);
        assert_eq!(
            (paired.signed(OFFERED).await, paired.offer(OTHER).await),
            (401, 200),
            "{scheme}: its file was removed, and it begins anew"
        );
        assert_eq!((paired.signed(OFFERED).await, paired.signed(OTHER).await), (401, 202), "{scheme}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_that_offer_a_secret_at_once_one_is_the_first() {
    let paired = Arc::new(Paired::new("notion"));
    let mut offers = JoinSet::new();
    for number in 0..16 {
        let (paired, secret) = (Arc::clone(&paired), format!("{OFFERED}{number}"));
        offers.spawn(async move { (paired.offer(&secret).await, secret) });
    }
    let taken: Vec<String> = offers.join_all().await.into_iter().filter(|(status, _)| *status == 200).map(|(_, secret)| secret).collect();
    assert_eq!((taken.len(), paired.kept().as_ref()), (1, taken.first()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_a_secret_is_not_taken_and_what_is_there_is_not_overwritten() {
    let paired = Paired::new("notion");
    for wrong in ["", "short", &"a".repeat(257), "with spaces in the middle of it", "Geheimnisgemüse-Geheimnisgemüse"] {
        assert_eq!((paired.offer(wrong).await, paired.kept()), (401, None), "{wrong}");
    }
    let hidden = paired.edge._secrets.path().with_extension("hidden");
    fs::rename(paired.edge._secrets.path(), &hidden).unwrap();
    assert_eq!(paired.offer(OFFERED).await, 503, "our trouble: the provider comes again");
    fs::rename(&hidden, paired.edge._secrets.path()).unwrap();
    fs::write(paired.file(), OTHER).unwrap();
    assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, Some(OTHER.to_owned())), "somebody else wrote it");
    paired.secrets.renew().unwrap();
    assert_eq!(paired.signed(OTHER).await, 202, "and that is in force");
    assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, Some(OTHER.to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_source_that_does_not_pair_learns_nothing() {
    for scheme in ["asana", "notion"] {
        let paired = Paired::new(scheme);
        paired.reload(false);
        assert_eq!((paired.offer(OFFERED).await, paired.kept()), (401, None), "{scheme}");
    }
}
