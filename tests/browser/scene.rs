//! A broker, and what there is to see on it.

use std::{path::Path, process::Command, time::Duration};

use agent_client::{Client, Filter, Start, Subscription, proto::v1::Event};
use tempfile::TempDir;
use tokio::task::{JoinHandle, JoinSet};
use waypost_tests::{
    process::{Broker, program},
    webhook::{CARRIER, Sender},
};

use crate::{PATIENCE, rerouted};

const SECRET: &str = "correct horse battery staple";

/// Everything that must be shown and never run: elements, attributes, entities, a script, a turned-round text, an end of what it is in.
pub(crate) const HOSTILE: &str = "\"><script>window.pwned=1</script><img src=x onerror=window.pwned=2>'&lt;b&gt;</pre></title></textarea><svg/onload=window.pwned=3><a href=javascript:window.pwned=4>x</a>";

/// A broker and its folder.
pub(crate) struct Scene {
    pub(crate) broker: Broker,
    pub(crate) folder: TempDir,
}

/// What comes before patience ends.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come within {PATIENCE:?}"))
}

/// `waypost token create`.
pub(crate) fn create_token(folder: &Path, name: &str, scope: &str) -> String {
    let made = Command::new(program()).args(["token", "create", name, "--scope", scope]).current_dir(folder).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    String::from_utf8(made.stdout).unwrap().trim_end().to_owned()
}

/// An agent with whatever token it has.
pub(crate) struct Agent(Client);

impl Agent {
    pub(crate) async fn open(&self, name: &str) -> Subscription<()> {
        let filter = Filter::new().source("agents/shop");
        let builder =
            self.0.subscribe(name).filter(filter).start_at(Start::Earliest).max_outstanding(256).ack_deadline(Duration::from_secs(600));
        soon("the stream", builder.open()).await.unwrap()
    }

    /// Rejects so many events of a subscription, which another publishes.
    pub(crate) async fn reject(&self, name: &str, publisher: Self, count: usize) {
        let events = (0..count).map(|number| {
            let json = format!("{{\"order\":{number},\"total\":12345678901234567890.10}}");
            let subject = format!("orders/{number}");
            Event { subject, ..Event::of_json("agents/shop", "shop.order_placed", json) }
        });
        for result in publisher.0.publish_batch(events.map(Into::into).collect::<Vec<agent_client::proto::v1::PublishItem>>()).await {
            result.unwrap();
        }
        let mut subscription = self.open(name).await;
        let mut rejecting = JoinSet::new();
        for number in 0..count {
            let delivery = soon("a delivery", subscription.try_next()).await.unwrap().unwrap();
            rejecting.spawn(async move { delivery.reject(format!("no such customer: {number}")).await.unwrap() });
        }
        while let Some(rejected) = soon("a rejection", rejecting.join_next()).await {
            rejected.unwrap();
        }
    }
}

impl Scene {
    /// With these lines of configuration, each of which names its section.
    pub(crate) fn new(lines: &str) -> Self {
        Self::prepared(lines, |_| {})
    }

    /// The same, with more in the folder before it starts.
    pub(crate) fn prepared(lines: &str, prepare: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        std::fs::write(folder.path().join("secret"), SECRET).unwrap();
        let broker = Broker::start(folder.path(), &format!("{lines}\nstore.data_dir = 'data'\n{CARRIER}"));
        Self { broker, folder }
    }

    pub(crate) fn with_token(&self, token: &str) -> Agent {
        Agent(Client::builder().token(token).connect(self.broker.agents.clone()).unwrap())
    }

    fn agent(&self) -> Agent {
        Agent(Client::builder().agent("shop-floor").connect(self.broker.agents.clone()).unwrap())
    }

    pub(crate) async fn open(&self, name: &str) -> Subscription<()> {
        self.agent().open(name).await
    }

    pub(crate) async fn dead(&self, name: &str, count: usize) {
        self.agent().reject(name, self.agent(), count).await;
    }

    fn carrier(&self) -> Sender {
        Sender::new(format!("{}/hooks/carrier", self.broker.edge), SECRET)
    }

    pub(crate) async fn quarantined(&self, body: &[u8]) {
        let answer = self.carrier().post(body.to_vec()).await.unwrap();
        assert_eq!((answer.code, &answer.json["status"]), (202, &"quarantined".into()), "{answer:?}");
    }

    /// A webhook, what an agent makes of it, and what others make of that; one of them is still at it, one has rejected. The webhook's event id.
    pub(crate) async fn story(&self) -> String {
        let client = self.agent().0;
        let open = async |name: &str| soon("the stream", client.subscribe(name).start_at(Start::Earliest).open()).await.unwrap();
        let (mut routing, mut customers, mut stock) = (open("routing").await, open("customers").await, open("stock").await);
        let sample = include_str!("../payloads/shipping_delay.json");
        let answer = self.carrier().post(sample.as_bytes().to_vec()).await.unwrap();
        assert_eq!(answer.code, 202, "{answer:?}");
        let webhook = soon("the webhook", routing.try_next()).await.unwrap().unwrap();
        webhook.ack_with([rerouted("SHIP-XYZ-789"), rerouted("SHIP-XYZ-790")]).await.unwrap();
        soon("the webhook", customers.try_next()).await.unwrap().unwrap().ack().await.unwrap();
        let second = soon("an output", customers.try_next()).await.unwrap().unwrap();
        let told =
            Event { subject: "customers/7".to_owned(), ..Event::of_json("agents/customers", "support.customer_told", "{\"by\":\"mail\"}") };
        second.ack_with([told]).await.unwrap();
        soon("the webhook", stock.try_next()).await.unwrap().unwrap().reject("no such product").await.unwrap();
        // It is at it until its process ends, with this test's.
        let held = soon("an output", stock.try_next()).await.unwrap().unwrap();
        tokio::spawn(async move {
            let _all = (held, stock, routing, customers);
            std::future::pending::<()>().await;
        });
        answer.json["event_id"].as_str().unwrap().to_owned()
    }

    /// Hostile texts wherever somebody outside can put them. The id of the event.
    pub(crate) async fn hostile(&self) -> String {
        let client = self.agent().0;
        let id = "hostile-'\"<b>".to_owned();
        let event = Event {
            id: id.clone(),
            subject: format!("\u{202e}{HOSTILE}"),
            attributes: [("note".to_owned(), HOSTILE.to_owned())].into(),
            ordering_key: "<i>".to_owned(),
            ..Event::of_json(
                "agents/<b>shop",
                "shop.<script>alert(1)</script>",
                serde_json::json!({ "t": HOSTILE, HOSTILE: [1] }).to_string(),
            )
        };
        let event = Event { r#type: "shop.<script>alert(1)</script>".replace(' ', ""), ..event };
        client.publish(event).await.unwrap();
        let named = Client::builder().agent(&HOSTILE[..100]).connect(self.broker.agents.clone()).unwrap();
        let mut subscription = soon("the stream", named.subscribe("hostile").start_at(Start::Earliest).open()).await.unwrap();
        soon("the event", subscription.try_next()).await.unwrap().unwrap().reject(HOSTILE).await.unwrap();
        tokio::spawn(async move {
            let _there = subscription;
            std::future::pending::<()>().await;
        });
        self.quarantined(serde_json::json!({ "event_type": HOSTILE, "text": HOSTILE }).to_string().as_bytes()).await;
        self.quarantined(HOSTILE.as_bytes()).await;
        id
    }

    /// Webhooks that come as long as this is not aborted, and agents that settle them.
    pub(crate) fn flow(&self) -> JoinHandle<()> {
        let (carrier, client) = (self.carrier(), self.agent().0);
        tokio::spawn(async move {
            let mut subscription = client.subscribe("notifier").open().await.unwrap();
            for number in 0.. {
                let body = include_str!("../payloads/shipping_delay.json").replace("SHIP-XYZ-789", &format!("SHIP-{number}"));
                assert_eq!(carrier.post(body.into_bytes()).await.unwrap().code, 202);
                subscription.try_next().await.unwrap().unwrap().ack().await.unwrap();
            }
        })
    }
}
