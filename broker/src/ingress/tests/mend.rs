//! A quarantined webhook, once its mapping is mended.

use waypost_proto::v1::ErrorReason;
use waypost_store::testing::faulty::{Call, Fault, Faults, FaultyStore};

use super::*;
use crate::{
    broker::{Broker, Settings},
    ingress::{
        Mended, Mender, Outcome,
        quarantine::{self, Reason, Which, get},
    },
};

/// A push is taken for an issue, which it is not.
const WRONG: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\ntypes = { push = \"github.v1.IssueChanged\" }";

const RIGHT: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]";

pub(super) const PUSH: &str = r#"{"ref":"refs/heads/main","repository":{"full_name":"a/b"},"pusher":{"name":"ada"}}"#;

impl Harness {
    /// What retries in the sources of a configuration.
    async fn mender(&self, sources: &str) -> Mender {
        let (built, findings, _secrets) = build(sources);
        assert_eq!(findings, [], "{sources}");
        let settings = Settings::of(&parse("", Path::new("")).unwrap().config);
        let (store, entropy) = (Arc::clone(&self.store), Arc::new(Entropy::seeded(2)));
        let broker = Broker::open(store, self.clock, entropy, Arc::new(Schemas::built_in().unwrap()), settings).await.unwrap();
        Mender::new(broker, LiveSources::new(Sources::new(built).unwrap()))
    }

    pub(super) async fn quarantined(&self) -> Vec<waypost_proto::v1::QuarantinedWebhook> {
        quarantine::list(&*self.store, 1_000, "", Which::default()).await.unwrap().webhooks
    }

    async fn set_aside(&self, source: &str, id: &str, event_type: Option<&str>, body: &str) -> String {
        let answer = self.post(source, id, event_type, body).await;
        assert_eq!(answer.summary(), (202, "quarantined".to_owned()), "{answer:?}");
        answer.text("event_id")
    }
}

#[tokio::test(start_paused = true)]
async fn what_fits_once_the_mapping_is_mended_becomes_its_event_and_leaves() {
    let edge = Harness::new(WRONG);
    let id = edge.set_aside("github", "d-1", Some("push"), PUSH).await;
    let [kept] = &edge.quarantined().await[..] else { panic!() };
    assert_eq!((&*kept.identity, kept.retries, kept.fingerprint.len()), ("d-1", 0, 16));
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;

    let mender = edge.mender(RIGHT).await;
    assert_eq!(mender.retry(&id).await.unwrap(), Mended::Stored("d-1".into()));
    let event = edge.event().await;
    assert_eq!((&*event.id, &*event.r#type, event.time.unwrap().seconds), ("d-1", "github.v1.Push", 1_775_385_000), "as on arrival");
    assert_eq!(envelope::raw(&edge.stored().await[0].body), PUSH);
    assert!(edge.quarantined().await.is_empty());
    let gone = mender.retry(&id).await.unwrap_err();
    assert_eq!(gone.reason, ErrorReason::NotFound, "twice is harmless");

    // The provider sends it again: it is known.
    let again = Harness::on(Arc::clone(&edge.store), RIGHT).post("github", "d-1", Some("push"), PUSH).await;
    assert_eq!((again.summary(), again.text("event_id")), ((202, "duplicate".into()), "d-1".into()));
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_still_does_not_fit_stays_with_its_new_reason() {
    let edge = Harness::new(WRONG);
    let id = edge.set_aside("github", "d-1", Some("push"), PUSH).await;
    let before = edge.quarantined().await.remove(0);
    assert_eq!((before.reason(), &*before.path), (Reason::RequiredFieldMissing, "/action"));
    tokio::time::advance(std::time::Duration::from_secs(60)).await;

    let closer = WRONG.replace("\"github.v1.IssueChanged\"", "{ message = \"github.v1.Push\", fields = { compare = \"/repository\" } }");
    let Mended::Kept(kept) = edge.mender(&closer).await.retry(&id).await.unwrap() else { panic!("it fits") };
    assert_eq!((kept.reason(), &*kept.path, &*kept.event_type), (Reason::TypeMismatch, "/repository", "github.v1.Push"));
    assert_eq!((&*kept.id, kept.retries, kept.received_at), (&*id, 1, before.received_at));
    assert!(kept.retried_at.unwrap().seconds == 1_775_385_060 && kept.fingerprint != before.fingerprint);
    let [listed] = &edge.quarantined().await[..] else { panic!() };
    assert_eq!(listed, &*kept);
    assert_eq!(get(&*edge.store, &id).await.unwrap().unwrap().body, PUSH);
    assert!(edge.events().await.is_empty());
    assert_eq!(edge.mender(RIGHT).await.retry(&id).await.unwrap(), Mended::Stored("d-1".into()));
}

/// Never both, never neither, whatever the disk says.
#[tokio::test]
async fn p1_a_retry_whose_outcome_is_unknown_left_an_event_or_a_webhook_and_never_both() {
    for (fault, are_events) in [(Fault::Lost, 0), (Fault::Done, 1), (Fault::Full, 0), (Fault::Unavailable, 0)] {
        let faults = Faults::none();
        let inner: Arc<dyn EventStore> = Arc::new(MemoryStore::open(MemoryConfig::default()));
        let edge = Harness::on(Arc::new(FaultyStore::new(inner, faults.clone())), WRONG);
        let id = edge.set_aside("github", "d-1", Some("push"), PUSH).await;
        let mender = edge.mender(RIGHT).await;
        faults.script(Call::Commit, [Some(fault)]);
        mender.retry(&id).await.unwrap_err();
        assert_eq!((edge.events().await.len(), edge.quarantined().await.len()), (are_events, 1 - are_events), "{fault:?}");
        drop(mender.retry(&id).await);
        assert_eq!((edge.events().await.len(), edge.quarantined().await.len()), (1, 0), "{fault:?}");
    }
}

#[tokio::test]
async fn p7_what_came_again_meanwhile_leaves_as_the_duplicate_that_it_is() {
    let edge = Harness::new(WRONG);
    let same = edge.set_aside("github", "d-1", Some("push"), PUSH).await;
    let changed = edge.set_aside("github", "d-2", Some("push"), PUSH).await;
    let later = Harness::on(Arc::clone(&edge.store), RIGHT);
    later.post("github", "d-1", Some("push"), PUSH).await;
    later.post("github", "d-2", Some("push"), &PUSH.replace("ada", "bob")).await;
    let mender = edge.mender(RIGHT).await;
    assert_eq!(mender.retry(&same).await.unwrap(), Mended::Duplicate("d-1".into()));
    assert_eq!(mender.retry(&changed).await.unwrap(), Mended::Duplicate("d-2".into()));
    assert_eq!((edge.events().await.len(), edge.quarantined().await.len()), (2, 0));
}

#[tokio::test]
async fn p7_an_identity_that_forbids_changes_keeps_what_came_second_in_quarantine() {
    let source = "[shop]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = { template = \"{/id}\" }";
    let edge = Harness::new(source);
    edge.post("shop", "", None, r#"{"id":"o-1","total":1}"#).await;
    let id = edge.set_aside("shop", "", None, r#"{"id":"o-1","total":2}"#).await;
    let Mended::Kept(kept) = edge.mender(source).await.retry(&id).await.unwrap() else { panic!("it is another body") };
    assert_eq!((kept.reason(), edge.events().await.len()), (Reason::IdentityConflict, 1));
    let numbered = source.replace("{/id}", "{/id}:{/total}");
    assert_eq!(edge.mender(&numbered).await.retry(&id).await.unwrap(), Mended::Stored("o-1:2".into()));
}

#[tokio::test]
async fn without_an_identity_two_retries_at_once_make_one_event() {
    let edge = Harness::new(&format!("{WRONG}\nidentity = \"none\""));
    let id = edge.set_aside("github", "d-1", Some("push"), PUSH).await;
    let mender = edge.mender(&format!("{RIGHT}\nidentity = \"none\"")).await;
    let (one, other) = tokio::join!(mender.retry(&id), mender.retry(&id));
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    assert_eq!(edge.events().await.len(), 1);
}

#[tokio::test]
async fn what_fails_in_the_same_way_has_one_fingerprint_and_goes_oldest_first() {
    let edge = Harness::new(&format!("{WRONG}\n[other]\nscheme = \"github\"\nsecrets = [\"file:secret\"]"));
    let line =
        |at: usize| format!("{{\"repository\":{{\"full_name\":\"r\"}},\"commits\":[{}{{\"timestamp\":\"yesterday\"}}]}}", "{},".repeat(at));
    for number in 0..5 {
        edge.set_aside("github", &number.to_string(), Some("push"), PUSH).await;
        edge.set_aside("other", &number.to_string(), Some("push"), &line(number)).await;
    }
    let all = edge.quarantined().await;
    let fingerprints: std::collections::BTreeSet<_> = all.iter().map(|webhook| &webhook.fingerprint).collect();
    assert_eq!(fingerprints.len(), 2, "a position in an array does not tell failures apart: {all:?}");
    let wanted = &all.iter().find(|webhook| webhook.source == "github").unwrap().fingerprint;
    let mut ids: Vec<_> = all.iter().filter(|webhook| webhook.source == "github").map(|webhook| webhook.id.clone()).collect();
    let which = Which { fingerprint: wanted, ..Which::default() };
    assert_eq!(quarantine::list(&*edge.store, 10, "", which).await.unwrap().webhooks.len(), 5);
    ids.sort_by(|one, other| other.cmp(one));
    let (first, next) = quarantine::oldest(&*edge.store, wanted, 3, "").await.unwrap();
    let (rest, end) = quarantine::oldest(&*edge.store, wanted, 3, &next).await.unwrap();
    assert_eq!(([first, rest].concat(), &*end), (ids, ""), "the older a webhook is, the greater its id");
}

#[tokio::test]
async fn a_part_of_a_webhook_with_several_events_is_retried_alone_under_the_identity_that_it_had() {
    let wrong = "[grid]\nscheme = { signature = { header = \"X-Sig\" }, batch = {}, delivery_id = \"{header:X-Request-Token}\" }\n\
                 secrets = [\"file:secret\"]\nevent_type = [\"{/kind}\"]";
    let edge = Harness::new(wrong);
    let body = r#"[{"kind":"t","n":1},{"type":"t","n":2}]"#;
    let answer = edge.post("grid", "batch-7", None, body).await;
    assert_eq!(answer.text("message"), "1 events in quarantine, the others stored");
    let id = edge.quarantined().await.remove(0).id;
    let kept = get(&*edge.store, &id).await.unwrap().unwrap();
    assert_eq!((kept.is_part, &*kept.headers["x-request-token"]), (true, "batch-7"), "what is its identity is not masked");
    let right = wrong.replace("{/kind}", "{/type}");
    assert_eq!(edge.mender(&right).await.retry(&id).await.unwrap(), Mended::Stored("batch-7#1".into()));
    let event = edge.events().await.pop().unwrap();
    assert_eq!((&*event.id, &*event.r#type), ("batch-7#1", "grid.t"));
}

#[tokio::test]
async fn a_whole_webhook_of_which_only_some_events_fit_leaves_the_others_in_quarantine() {
    let wrong = "[grid]\nscheme = { signature = { header = \"X-Sig\" }, batch = { at = \"/elsewhere\" }, delivery_id = \"{/id}\" }\n\
                 secrets = [\"file:secret\"]\nevent_type = [\"{/type}\"]";
    let edge = Harness::new(wrong);
    let body = r#"{"events":[{"id":"a","type":"t"},{"id":"b"},{"id":"c","type":"t"}]}"#;
    let id = edge.set_aside("grid", "", None, body).await;
    let mended = edge.mender(&wrong.replace("/elsewhere", "/events")).await.retry(&id).await.unwrap();
    let Mended::Kept(kept) = mended else { panic!("{mended:?}") };
    assert_eq!((kept.reason(), &*kept.identity), (Reason::NoEventType, "b"));
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["a", "c"]);
    let [left] = &edge.quarantined().await[..] else { panic!() };
    assert_eq!(get(&*edge.store, &left.id).await.unwrap().unwrap().body, r#"{"id":"b"}"#);
    assert_eq!(edge.told().await.len(), 2, "the whole, and then the part that is there by itself now");
}

#[tokio::test]
async fn a_discarded_webhook_is_gone_and_nothing_else() {
    let edge = Harness::new(WRONG);
    let first = edge.set_aside("github", "1", Some("push"), PUSH).await;
    let second = edge.set_aside("github", "2", Some("push"), PUSH).await;
    let mender = edge.mender("").await;
    mender.discard(&first).await.unwrap();
    assert_eq!(mender.discard(&first).await.unwrap_err().reason, ErrorReason::NotFound);
    let [left] = &edge.quarantined().await[..] else { panic!() };
    assert_eq!(left.id, second);
    let error = mender.retry(&second).await.unwrap_err();
    assert!(error.message.contains("no source \"github\""), "{error}");
    // Sent again, it is kept again: it was not an event.
    assert_ne!(edge.set_aside("github", "1", Some("push"), PUSH).await, first);
    assert_eq!(edge.count("github", Outcome::QuarantinedAgain), 0);
}
