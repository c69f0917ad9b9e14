//! What never came as a webhook, asked for at the provider's API.

use std::time::Duration;

use super::{
    mend::PUSH,
    stand_in::{StandIn, answer},
    *,
};
use crate::ingress::poll::{PollError, Polled, Poller};

const STRIPE: &str = "[stripe]\nscheme = \"stripe\"\nsecrets = [\"file:secret\"]\npoll = { token = \"file:next\" }";

const GITHUB: &str = "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\npoll = { token = \"file:next\", values = { hook = \"repos/acme/shop/hooks/7\" } }";

const SECONDS: u64 = NOW / 1_000_000;

impl Harness {
    fn poller(&self, provider: &StandIn) -> Poller {
        Poller::new(Arc::clone(&self.store), self.clock, Arc::new(Entropy::seeded(2)), provider.fetcher())
    }

    async fn round(&self, provider: &StandIn, source: &str) -> Result<(), PollError> {
        let source = self.sources.get(source).unwrap();
        self.poller(provider).round(source, source.poll.as_ref().unwrap()).await
    }

    fn polled(&self, source: &str) -> Vec<(&'static str, u64)> {
        let polled = &self.sources.get(source).unwrap().counters.polled;
        Polled::ALL.iter().map(|polled_as| (polled_as.name(), polled.get(*polled_as))).filter(|(_, count)| *count > 0).collect()
    }
}

fn charge(id: &str, at: u64, pending: u32) -> String {
    format!(
        r#"{{"id":"{id}","object":"event","created":{at},"type":"charge.succeeded","pending_webhooks":{pending},"data":{{"object":{{"id":"ch_{id}","object":"charge","amount":900719925474099312,"currency":"eur","created":{at}}}}}}}"#
    )
}

fn list(items: &[String], has_more: bool) -> String {
    format!(r#"{{"object":"list","has_more":{has_more},"data":[{}]}}"#, items.join(","))
}

fn target(head: &str) -> &str {
    head.lines().next().unwrap()
}

#[tokio::test]
async fn what_was_missed_is_found_in_the_list_and_what_came_is_not_stored_again() {
    let provider = StandIn::new(&["api.stripe.com"], |head| {
        let page = match target(head).contains("starting_after=evt_2") {
            false => list(&[charge("evt_3", SECONDS + 3, 0), charge("evt_2", SECONDS + 2, 0)], true),
            true => list(&[charge("evt_1", SECONDS + 1, 0), charge("evt_0", SECONDS - 9, 0)], false),
        };
        answer(200, "", &page)
    })
    .await;
    let edge = Harness::new(STRIPE);
    edge.post("stripe", "", None, &charge("evt_2", SECONDS + 2, 1)).await;

    edge.round(&provider, "stripe").await.unwrap();
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| (event.id, event.r#type)).collect();
    let expected = ["evt_2", "evt_3", "evt_1"].map(|id| (id.to_owned(), "stripe.v1.ChargeChanged".to_owned()));
    assert_eq!(ids, expected, "typed as its webhook would have been; what was before the first round is not asked for");
    assert_eq!(edge.polled("stripe"), [("recovered", 2), ("known", 1)]);

    let asked = provider.asked();
    let first = format!("GET /v1/events?limit=100&delivery_success=false&created[gte]={SECONDS} HTTP/1.1");
    assert_eq!(target(&asked[0]), first);
    assert_eq!(target(&asked[1]), first.replace(" HTTP", "&starting_after=evt_2 HTTP"));
    let has = |line: &str| asked.iter().all(|head| head.lines().any(|found| found.eq_ignore_ascii_case(line)));
    assert!(has("authorization: Bearer next") && has("host: api.stripe.com"), "{asked:?}");
    assert!(asked[0].contains("user-agent: waypost/"), "{asked:?}");
}

#[tokio::test]
async fn the_next_round_begins_a_little_before_the_end_of_the_last_also_after_a_restart() {
    let provider = StandIn::new(&["api.stripe.com"], |_| answer(200, "", &list(&[charge("evt_1", SECONDS, 0)], false))).await;
    let edge = Harness::new(&STRIPE.replace("poll = {", "poll = { lookback = \"1h\","));
    edge.round(&provider, "stripe").await.unwrap();
    edge.round(&provider, "stripe").await.unwrap();
    // Another broker on the same store.
    let after = Harness::on(Arc::clone(&edge.store), STRIPE);
    after.round(&provider, "stripe").await.unwrap();
    let since: Vec<_> = provider.asked().iter().map(|head| target(head).rsplit_once("[gte]=").unwrap().1.to_owned()).collect();
    let at = |seconds: u64| format!("{seconds} HTTP/1.1");
    assert_eq!(since, [at(SECONDS - 3_600), at(SECONDS - 600), at(SECONDS - 600)]);
    assert_eq!((edge.polled("stripe"), after.polled("stripe")), (vec![("recovered", 1), ("known", 1)], vec![("known", 1)]));
}

#[tokio::test]
async fn a_round_that_breaks_off_goes_on_at_its_page() {
    let fails = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let is_failing = Arc::clone(&fails);
    let provider = StandIn::new(&["api.stripe.com"], move |head| match target(head).contains("starting_after") {
        false => answer(200, "", &list(&[charge("evt_2", SECONDS + 2, 0)], true)),
        true if is_failing.load(std::sync::atomic::Ordering::Relaxed) => answer(429, "Retry-After: 120\r\n", "{}"),
        true => answer(200, "", &list(&[charge("evt_1", SECONDS + 1, 0)], false)),
    })
    .await;
    let edge = Harness::new(STRIPE);
    let error = edge.round(&provider, "stripe").await.unwrap_err();
    assert_eq!((error.wait(), &*error.to_string()), (Some(Duration::from_secs(120)), "the provider answered 429 Too Many Requests"));
    assert_eq!(edge.events().await.len(), 1);
    provider.asked();
    fails.store(false, std::sync::atomic::Ordering::Relaxed);
    edge.round(&provider, "stripe").await.unwrap();
    let asked = provider.asked();
    assert_eq!(asked.len(), 1, "the first page is not asked for again: {asked:?}");
    assert_eq!(edge.polled("stripe"), [("recovered", 2)]);
}

#[tokio::test]
async fn what_happens_while_the_provider_does_not_answer_is_found_once_it_does() {
    let provider = StandIn::new(&["api.stripe.com"], |_| answer(503, "", "")).await;
    let edge = Harness::new(STRIPE);
    edge.round(&provider, "stripe").await.unwrap_err();
    let provider = StandIn::new(&["api.stripe.com"], |_| answer(200, "", &list(&[charge("evt_1", SECONDS + 60, 0)], false))).await;
    let (source, an_hour_later) = (edge.sources.get("stripe").unwrap(), Clock::starting_at(NOW + 3_600_000_000));
    let poller = Poller::new(Arc::clone(&edge.store), an_hour_later, Arc::new(Entropy::seeded(3)), provider.fetcher());
    poller.round(source, source.poll.as_ref().unwrap()).await.unwrap();
    assert_eq!(edge.polled("stripe"), [("recovered", 1)]);
}

#[tokio::test]
async fn a_page_of_before_a_change_of_the_host_is_not_asked_for() {
    let provider = StandIn::new(&["one.myshopify.com", "two.myshopify.com"], |_| answer(503, "", "")).await;
    let shop = "[shop]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]\npoll = { token = \"file:next\", values = { shop = \"one\" } }";
    let edge = Harness::new(shop);
    edge.round(&provider, "shop").await.unwrap_err();
    let changed = Harness::on(Arc::clone(&edge.store), &shop.replace("\"one\"", "\"two\""));
    changed.round(&provider, "shop").await.unwrap_err();
    let hosts: Vec<_> =
        provider.asked().iter().filter_map(|head| head.lines().find(|line| line.starts_with("host:")).map(str::to_owned)).collect();
    assert_eq!(hosts, ["host: one.myshopify.com", "host: two.myshopify.com"]);
}

#[tokio::test]
async fn a_page_that_the_provider_does_not_know_any_more_begins_the_list_anew() {
    let provider = StandIn::new(&["api.stripe.com"], |head| match target(head).contains("starting_after") {
        false => answer(200, "", &list(&[charge("evt_2", SECONDS + 2, 0)], true)),
        true => answer(400, "", r#"{"error":{"message":"No such event: 'evt_2'"}}"#),
    })
    .await;
    let edge = Harness::new(STRIPE);
    for _ in 0..2 {
        let error = edge.round(&provider, "stripe").await.unwrap_err();
        assert_eq!(error.to_string(), "the provider answered 400 Bad Request");
    }
    let pages: Vec<_> = provider.asked().iter().map(|head| target(head).contains("starting_after")).collect();
    assert_eq!(pages, [false, true, false, true]);
}

#[tokio::test]
async fn what_does_not_fit_its_type_is_in_quarantine_once() {
    let broken = charge("evt_1", SECONDS + 1, 0).replace("900719925474099312", "\"much\"");
    let provider = StandIn::new(&["api.stripe.com"], move |_| answer(200, "", &list(std::slice::from_ref(&broken), false))).await;
    let edge = Harness::new(STRIPE);
    let (poller, source) = (edge.poller(&provider), edge.sources.get("stripe").unwrap());
    for _ in 0..2 {
        poller.round(source, source.poll.as_ref().unwrap()).await.unwrap();
    }
    let [kept] = &edge.quarantined().await[..] else { panic!("{:?}", edge.quarantined().await) };
    assert_eq!((&*kept.identity, &*kept.path), ("evt_1", "/data/object/amount"));
    assert_eq!(edge.polled("stripe"), [("known", 1), ("quarantined", 1)]);
}

#[tokio::test]
async fn an_answer_that_is_no_list_breaks_the_round_off() {
    for (case, body, problem) in [
        ("no list", "{}", "no array of items at \"/data\""),
        ("no time", r#"{"data":[{"id":"evt_1"}]}"#, "an item has no time at /created"),
    ] {
        let provider = StandIn::new(&["api.stripe.com"], move |_| answer(200, "", body)).await;
        let edge = Harness::new(STRIPE);
        let error = edge.round(&provider, "stripe").await.unwrap_err().to_string();
        assert!(error.contains(problem), "{case}: {error}");
    }
}

fn delivery(id: u64, guid: &str, at: &str, status: &str) -> String {
    format!(
        r#"{{"id":{id},"guid":"{guid}","delivered_at":"{at}","redelivery":false,"duration":0.27,"status":"{status}","status_code":502,"event":"push","action":null}}"#
    )
}

#[tokio::test]
async fn deliveries_that_github_could_not_make_are_made_again_and_counted_when_they_come() {
    let deliveries = Arc::new(std::sync::Mutex::new(vec![
        delivery(900_719_925_474_099_312, "missed", "2026-04-05T10:30:03Z", "Invalid HTTP Response: 502"),
        delivery(3, "came-all-the-same", "2026-04-05T10:30:02Z", "timed out"),
        delivery(2, "went-well", "2026-04-05T10:30:01Z", "OK"),
    ]));
    let listed = Arc::clone(&deliveries);
    let provider = StandIn::new(&["api.github.com"], move |head| match head.starts_with("POST") {
        true => answer(202, "", "{}"),
        false if head.starts_with("GET /older ") => {
            answer(200, "", &format!("[{}]", delivery(1, "long-ago", "2026-04-05T09:00:00Z", "timed out")))
        }
        false => answer(200, "Link: <https://api.github.com/older>; rel=\"next\"\r\n", &format!("[{}]", listed.lock().unwrap().join(","))),
    })
    .await;
    let edge = Harness::new(GITHUB);
    edge.post("github", "came-all-the-same", Some("push"), PUSH).await;
    let again = "POST /repos/acme/shop/hooks/7/deliveries/900719925474099312/attempts HTTP/1.1";
    let posts =
        || provider.asked().into_iter().filter(|head| head.starts_with("POST")).map(|head| target(&head).to_owned()).collect::<Vec<_>>();

    edge.round(&provider, "github").await.unwrap();
    assert_eq!(posts(), [again], "neither what came, nor what went well, nor what was before the first round");
    edge.round(&provider, "github").await.unwrap();
    assert_eq!(posts(), [""; 0], "it was asked for");
    assert_eq!(edge.polled("github"), [("known", 2), ("asked", 1)]);

    // It fails once more.
    deliveries.lock().unwrap().insert(0, delivery(5, "missed", "2026-04-05T10:40:00Z", "timed out"));
    edge.round(&provider, "github").await.unwrap();
    assert_eq!(posts(), ["POST /repos/acme/shop/hooks/7/deliveries/5/attempts HTTP/1.1"]);
    let broken = StandIn::new(&["api.github.com"], |_| answer(503, "", "")).await;
    let answered = edge.post("github", "missed", Some("push"), &PUSH.replace("main", "next")).await;
    assert_eq!(answered.status, StatusCode::ACCEPTED);
    edge.round(&broken, "github").await.unwrap_err();
    edge.round(&provider, "github").await.unwrap();
    assert!(edge.polled("github").contains(&("recovered", 1)), "once: {:?}", edge.polled("github"));
    assert_eq!(posts(), [""; 0]);
}

#[tokio::test]
async fn a_delivery_that_never_comes_is_given_up() {
    let count = std::sync::Mutex::new(0_u64);
    let provider = StandIn::new(&["api.github.com"], move |head| {
        let mut count = count.lock().unwrap();
        *count += 1;
        match head.starts_with("POST") {
            true => answer(202, "", "{}"),
            // Each try fails a little later.
            false => answer(200, "", &format!("[{}]", delivery(*count, "lost", &format!("2026-04-05T11:{count:02}:00Z"), "timed out"))),
        }
    })
    .await;
    let edge = Harness::new(GITHUB);
    for _ in 0..9 {
        edge.round(&provider, "github").await.unwrap();
    }
    assert_eq!(edge.polled("github"), [("asked", 5)], "five times, and no more");
    let (source, three_days_later) = (edge.sources.get("github").unwrap(), Clock::starting_at(NOW + 73 * 3_600_000_000));
    let poller = Poller::new(Arc::clone(&edge.store), three_days_later, Arc::new(Entropy::seeded(3)), provider.fetcher());
    poller.round(source, source.poll.as_ref().unwrap()).await.unwrap();
    assert!(edge.polled("github").contains(&("given_up", 1)), "{:?}", edge.polled("github"));
}

#[tokio::test]
async fn an_order_of_shopify_is_the_same_by_webhook_and_by_poll() {
    let order =
        |id: u64, at: &str| format!(r#"{{"id":{id},"updated_at":"{at}","created_at":"{at}","currency":"EUR","total_price":"9.90"}}"#);
    let (one, two) = (order(450_789_469, "2026-04-05T12:30:01+02:00"), order(450_789_470, "2026-04-05T12:30:01+02:00"));
    let page = format!(r#"{{"orders":[{},{}]}}"#, one.replace("\"EUR\"", "\"EUR\",\"tags\":\"\""), two);
    let provider = StandIn::new(&["shop.myshopify.com"], move |_| answer(200, "", &page)).await;
    let edge = Harness::new(
        "[shop]\nscheme = \"shopify\"\nsecrets = [\"file:secret\"]\npoll = { token = \"file:next\", values = { shop = \"shop\" } }",
    );
    edge.post("shop", "w-1", Some("orders/updated"), &one).await;
    edge.round(&provider, "shop").await.unwrap();
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| (event.id, event.r#type)).collect();
    let expected = ["w-1", "orders/450789470@2026-04-05T12:30:01+02:00"];
    assert_eq!(ids, expected.map(|id| (id.to_owned(), "shopify.v1.OrderChanged".to_owned())));
    edge.round(&provider, "shop").await.unwrap();
    assert_eq!(edge.polled("shop"), [("recovered", 1), ("known", 3)]);
    let asked = provider.asked();
    assert!(target(&asked[0]).contains("status=any&limit=100&updated_at_min=2026-04-05T10:30:00Z"), "{asked:?}");
    assert!(asked[0].contains("x-shopify-access-token: next"), "{asked:?}");
}

#[tokio::test]
async fn anybodys_list_can_be_polled_by_a_rule_of_ones_own() {
    let provider = StandIn::new(&["api.depot.example"], |head| match target(head).contains("page=p2") {
        false => answer(200, "", r#"{"result":{"items":[{"n":1,"at":"2026-04-05T10:30:01Z"}],"next":"p2"}}"#),
        true => answer(200, "", r#"{"result":{"items":[{"n":2,"at":"2026-04-05T10:30:02Z"}],"next":null}}"#),
    })
    .await;
    let edge = Harness::new(
        "[depot]\nscheme = { signature = { header = \"X-Sig\" } }\nsecrets = [\"file:secret\"]\nidentity = { template = \"{/n}\" }\n\
         event_type = [\"moved\"]\n[depot.poll]\nevery = \"1h\"\nrule = { url = \"https://api.depot.example/moves?since={since}\", \
         items = \"/result/items\", time = \"/at\", next = { query = \"page\", cursor = \"/result/next\" } }",
    );
    edge.round(&provider, "depot").await.unwrap();
    let ids: Vec<_> = edge.events().await.into_iter().map(|event| (event.id, event.r#type)).collect();
    assert_eq!(ids, ["1", "2"].map(|id| (id.to_owned(), "depot.moved".to_owned())));
}

#[test]
fn what_cannot_be_polled_does_not_start() {
    let (github, stripe) = ("scheme = \"github\"\nsecrets = [\"file:secret\"]", "scheme = \"stripe\"\nsecrets = [\"file:secret\"]");
    let own = "scheme = { signature = { header = \"X-Sig\" } }\nsecrets = [\"file:secret\"]";
    let rule = "url = \"https://x.example/l\", time = \"/at\"";
    for (lines, key, words) in [
        (format!("{stripe}\npoll = {{}}"), "poll.token", "is missing"),
        (format!("{stripe}\npoll = {{ token = \"file:nowhere\" }}"), "poll.token", "nowhere"),
        (format!("{stripe}\npoll = {{ token = \"file:next\", every = \"5s\" }}"), "poll.every", "less than"),
        (format!("{stripe}\npoll = {{ token = \"file:next\", values = {{ shop = \"a\" }} }}"), "poll.values.shop", "would not be used"),
        (format!("{stripe}\nidentity = \"body_hash\"\npoll = {{ token = \"file:next\" }}"), "identity", "stored again"),
        (format!("{github}\npoll = {{ token = \"file:next\" }}"), "poll.values.hook", "is missing"),
        (
            format!(
                "{github}\nidentity = {{ template = \"{{/after}}\" }}\npoll = {{ token = \"file:next\", values = {{ hook = \"h\" }} }}"
            ),
            "identity",
            "delivery id",
        ),
        (format!("{own}\npoll = {{}}"), "poll.rule", "the scheme has none"),
        (format!("{own}\npoll = {{ rule = {{ {rule} }} }}"), "identity", "stored again"),
        (format!("{own}\nidentity = {{ template = \"{{header:X-Id}}\" }}\npoll = {{ rule = {{ {rule} }} }}"), "identity", "x-id"),
        (
            format!(
                "{own}\nidentity = {{ template = \"{{/id}}\" }}\nevent_type = [\"{{header:X-Type}}\"]\npoll = {{ rule = {{ {rule} }} }}"
            ),
            "event_type",
            "x-type",
        ),
        (
            format!(
                "{own}\nidentity = {{ template = \"{{/id}}\" }}\npoll = {{ rule = {{ url = \"http://x.example/l\", time = \"/at\" }} }}"
            ),
            "poll.rule.url",
            "https://",
        ),
        (
            format!(
                "{own}\nidentity = {{ template = \"{{/id}}\" }}\npoll = {{ token = \"file:next\", rule = {{ url = \"https://x.example/l?key={{token}}\", time = \"/at\" }} }}"
            ),
            "poll.rule.url",
            "in a header",
        ),
    ] {
        let (_, findings, _secrets) = build(&format!("[x]\n{lines}"));
        let found = findings.iter().any(|(at, problem)| at.ends_with(key) && (problem.contains(words) || at.contains(words)));
        assert!(found, "{lines}: {findings:?}");
    }
}
