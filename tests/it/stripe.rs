//! What Stripe sends again is newly written: the body and the signature differ, the event does not.

use std::time::{SystemTime, UNIX_EPOCH};

use waypost_proto::v1::{GetSourceRequest, source_admin_service_client::SourceAdminServiceClient};
use waypost_tests::webhook::{Sender, sign};

use crate::stand::{SECRET, Stand, soon};

#[tokio::test]
async fn p7_a_retry_of_stripe_with_another_body_makes_no_second_event_and_is_counted() {
    let stand = Stand::with("sources.stripe = { scheme = 'stripe', secrets = ['file:secret'] }");
    let sender = Sender::new(format!("{}/hooks/stripe", stand.broker.edge), SECRET);
    let first = include_str!("../payloads/providers/stripe_payment_intent.json");
    let retry = first.replace("\"pending_webhooks\": 2", "\"pending_webhooks\": 1");
    assert_ne!(first, retry);
    for (body, status) in [(first, "accepted"), (&retry, "duplicate"), (first, "duplicate")] {
        #[expect(clippy::disallowed_methods, reason = "the broker compares the time that is signed with that of the machine")]
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let signature = format!("t={at},v1={}", sign(SECRET, format!("{at}.{body}").as_bytes()));
        let sender = sender.clone().header("stripe-signature", &signature);
        let answer = soon("an answer", sender.post(body.as_bytes().to_vec())).await.unwrap();
        let found = (answer.code, answer.json["status"].as_str(), answer.json["event_id"].as_str());
        assert_eq!(found, (202, Some(status), Some("evt_1PgafmB7WZ01zgkW6dKueIc5")), "{}", answer.json);
    }
    let mut admin = SourceAdminServiceClient::new(stand.broker.admin_channel());
    let source = admin.get_source(GetSourceRequest { name: "stripe".to_owned() }).await.unwrap().into_inner().source.unwrap();
    let stats = source.stats.unwrap();
    assert_eq!((stats.accepted, stats.duplicates, stats.changed_duplicates, stats.quarantined), (1, 2, 1, 0), "{stats:?}");
}
