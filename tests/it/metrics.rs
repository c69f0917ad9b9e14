//! What operators see of the broker in Prometheus: each figure says what happened, and each file that names one names one that exists.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use agent_client::{Start, Subscription};
use http_body_util::{BodyExt, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use waypost_proto::v1::{ListSourcesRequest, source_admin_service_client::SourceAdminServiceClient};

use crate::stand::{SECRET, Stand, delay, soon};

/// A scrape: each sample with its labels as they are written, and the text.
pub(crate) struct Scrape {
    pub(crate) samples: BTreeMap<String, f64>,
    pub(crate) text: String,
}

impl Scrape {
    pub(crate) async fn of(stand: &Stand) -> Self {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(format!("{}/metrics", stand.broker.admin)).body(Empty::new()).unwrap();
        let response = soon("the metrics", client.request(request)).await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/openmetrics-text; version=1.0.0; charset=utf-8");
        let text = String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap();
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self { samples: samples.collect(), text }
    }

    #[track_caller]
    pub(crate) fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }

    /// Names as queries use them, but for the parts of histograms.
    fn names(&self) -> BTreeSet<String> {
        let families = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        families.map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() }).collect()
    }
}

async fn open(stand: &Stand, name: &str) -> Subscription<()> {
    soon("the stream", stand.agent().subscribe(name).start_at(Start::Earliest).open()).await.unwrap()
}

#[tokio::test]
async fn each_figure_says_what_happened() {
    let stand = Stand::new();
    let mut routing = open(&stand, "routing").await;
    let carrier = stand.carrier(SECRET);
    for number in [1, 1, 2, 3] {
        assert_eq!(carrier.post(delay(number)).await.unwrap().code, 202);
    }
    assert_eq!(stand.carrier("wrong").post(delay(4)).await.unwrap().code, 401);
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(soon("a delivery", routing.try_next()).await.unwrap().unwrap());
    }
    // Before there is a dead letter: the event that tells of it is one offset more, which it does not want.
    assert!(Scrape::of(&stand).await.get(r#"waypost_subscription_lag_offsets{subscription="routing"}"#).abs() < f64::EPSILON);
    let held = deliveries.pop().unwrap();
    deliveries.pop().unwrap().reject("not for us").await.unwrap();
    deliveries.pop().unwrap().ack().await.unwrap();

    let scrape = Scrape::of(&stand).await;
    for (sample, value) in [
        (r#"waypost_webhooks_total{source="carrier",outcome="accepted",reason=""}"#, 3.0),
        (r#"waypost_webhooks_total{source="carrier",outcome="duplicate",reason=""}"#, 1.0),
        (r#"waypost_webhooks_total{source="carrier",outcome="refused",reason="signature_wrong"}"#, 1.0),
        (r#"waypost_webhook_seconds_count{source="carrier"}"#, 5.0),
        (r#"waypost_deliveries_total{subscription="routing",delivery="first"}"#, 3.0),
        (r#"waypost_deliveries_total{subscription="routing",delivery="again"}"#, 0.0),
        ("waypost_delivery_seconds_count", 3.0),
        (r#"waypost_attempts_total{subscription="routing",outcome="acked"}"#, 1.0),
        (r#"waypost_attempts_total{subscription="routing",outcome="rejected"}"#, 1.0),
        (r#"waypost_dead_lettered_events_total{subscription="routing",cause="rejected"}"#, 1.0),
        (r#"waypost_subscription_dead_letters{subscription="routing"}"#, 1.0),
        (r#"waypost_subscription_outstanding_events{subscription="routing"}"#, 1.0),
        (r#"waypost_subscription_sessions{subscription="routing"}"#, 1.0),
        ("waypost_store_full", 0.0),
        ("waypost_store_damage_total", 0.0),
    ] {
        assert!((scrape.get(sample) - value).abs() < f64::EPSILON, "{sample} is {}, not {value}", scrape.get(sample));
    }
    assert!(scrape.get("waypost_store_sync_seconds_count") > 0.0 && scrape.get("waypost_store_used_bytes") > 0.0);
    assert!(!scrape.text.contains(SECRET));
    let mut admin = SourceAdminServiceClient::new(stand.broker.admin_channel());
    let stats =
        soon("the sources", admin.list_sources(ListSourcesRequest::default())).await.unwrap().into_inner().sources[0].stats.unwrap();
    assert_eq!((stats.accepted, stats.duplicates, stats.unverified_refused, stats.refused), (3, 1, 1, 0));
    held.ack().await.unwrap();
}

/// The first scrape asks for what was not loaded since the start.
#[tokio::test]
async fn a_subscription_that_nobody_uses_after_a_restart_is_seen_lagging() {
    let stand = Stand::new();
    drop(open(&stand, "routing").await);
    for number in 1..=3 {
        stand.carrier(SECRET).post(delay(number)).await.unwrap();
    }
    let stand = stand.kill_and_restart();
    let lag = r#"waypost_subscription_lag_offsets{subscription="routing"}"#;
    let seen = soon("the lag", async {
        loop {
            if let Some(lag) = Scrape::of(&stand).await.samples.get(lag) {
                return *lag;
            }
        }
    });
    assert!((seen.await - 3.0).abs() < f64::EPSILON);
}

fn monitoring(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/monitoring").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every name of a metric in a text, parts of histograms as the histogram.
fn mentioned(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let of_histogram = |word: &str| {
        let stem = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| word.strip_suffix(suffix));
        stem.filter(|stem| stem.ends_with("_seconds")).unwrap_or(word).to_owned()
    };
    words.filter(|word| word.starts_with("waypost_")).map(of_histogram).collect()
}

#[tokio::test]
async fn what_is_documented_alerted_on_and_drawn_is_what_is_exposed() {
    let stand = Stand::new();
    let exposed = Scrape::of(&stand).await.names();
    let documented = mentioned(include_str!("../../docs/metrics.md"));
    assert_eq!(documented, exposed, "docs/metrics.md lists every metric, and no other");
    for file in ["alerts.yml", "alerts_test.yml", "dashboard.json"] {
        let unknown: Vec<_> = mentioned(&monitoring(file)).into_iter().filter(|name| !exposed.contains(name)).collect();
        assert!(unknown.is_empty(), "{file} names {unknown:?}, which nobody exposes");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&monitoring("dashboard.json")).unwrap();
    assert!(dashboard["panels"].as_array().is_some_and(|panels| panels.len() > 10));
}

/// Prometheus' own tool, which `./test` finds or fetches.
#[test]
fn prometheus_takes_the_rules_and_the_rules_do_what_they_say() {
    let promtool = std::env::var_os("WAYPOST_PROMTOOL").expect("WAYPOST_PROMTOOL is not set: run ./test, which finds promtool");
    for arguments in [["check", "config", "prometheus.yml"], ["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/monitoring");
        let checked = Command::new(&promtool).args(arguments).current_dir(folder).output().unwrap();
        let said = String::from_utf8_lossy(&checked.stdout).into_owned() + &String::from_utf8_lossy(&checked.stderr);
        assert!(checked.status.success(), "promtool {}:\n{said}", arguments.join(" "));
    }
}
