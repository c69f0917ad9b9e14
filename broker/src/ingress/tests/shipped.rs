//! What providers send, in the shape that their documentation has, becomes the types that come with Waypost, with nothing configured.

use waypost_proto::{commerce, github, jira, linear, pagerduty, sentry, shopify, slack, stripe, v1::JsonPayload};

use super::*;

macro_rules! provider {
    ($name:literal) => {
        payload!("providers/" $name)
    };
}

/// The event of a payload, from a source that is named after its provider.
async fn event(provider: &str, event_type: Option<&str>, body: &str) -> wire::Event {
    let edge = Harness::new(&format!("[{provider}]\nscheme = \"{provider}\"\nsecrets = [\"file:secret\"]"));
    let answer = edge.post(provider, "d-1", event_type, body).await;
    assert_eq!(answer.summary(), (202, "accepted".to_owned()), "{provider}: {answer:?}");
    edge.event().await
}

/// Subject, ordering key and correlation id.
fn about(event: &wire::Event) -> (&str, &str, &str) {
    (&event.subject, &event.ordering_key, event.lineage.as_ref().map_or("", |lineage| &lineage.correlation_id))
}

fn provider_type(event: &wire::Event) -> &str {
    &event.attributes["providertype"]
}

#[tokio::test]
async fn payments_charges_invoices_and_subscriptions_of_stripe() {
    let intent = event("stripe", None, provider!("stripe_payment_intent")).await;
    let pi = "pi_3MtwBwLkdIwHu7ix28a3tqPa";
    assert_eq!((provider_type(&intent), about(&intent)), ("payment_intent.payment_failed", (pi, pi, &*format!("stripe:{pi}"))));
    let message = data::<stripe::v1::PaymentIntentChanged>(&intent);
    assert_eq!((&*message.r#type, message.created.unwrap().seconds, message.livemode), (provider_type(&intent), 1_721_995_200, true));
    let payment = message.data.unwrap().object.unwrap();
    assert_eq!((&*payment.id, payment.amount, payment.created.unwrap().seconds), (pi, 2_000, 1_680_800_504));
    assert_eq!((&*payment.status, &*payment.metadata["order"]), ("requires_payment_method", "ORDER-12345"));
    assert_eq!(payment.last_payment_error.unwrap().decline_code, "insufficient_funds");

    let charge = event("stripe", None, provider!("stripe_charge")).await;
    assert_eq!(about(&charge).2, "stripe:pi_3MmlLrLkdIwHu7ix0nxJ");
    let object = data::<stripe::v1::ChargeChanged>(&charge).data.unwrap().object.unwrap();
    assert_eq!((object.amount_refunded, object.refunded, &*object.customer), (1_099, true, ""));

    let invoice = data::<stripe::v1::InvoiceChanged>(&event("stripe", None, provider!("stripe_invoice")).await);
    let object = invoice.data.unwrap().object.unwrap();
    assert_eq!((object.amount_due, object.next_payment_attempt.unwrap().seconds, object.due_date), (4_500, 1_680_903_667, None));

    let subscription = data::<stripe::v1::SubscriptionChanged>(&event("stripe", None, provider!("stripe_subscription")).await);
    let object = subscription.data.unwrap().object.unwrap();
    assert_eq!((object.cancel_at.unwrap().seconds, object.cancel_at_period_end, object.ended_at), (1_682_288_167, true, None));
    assert_eq!((object.items.unwrap().data[0].price.clone().unwrap().unit_amount, &*object.metadata["plan"]), (Some(1_000), "café"));
}

#[tokio::test]
async fn what_is_no_charge_stays_as_it_was_sent_in_the_story_of_its_payment() {
    let dispute = event("stripe", None, provider!("stripe_dispute")).await;
    assert_eq!((&*dispute.r#type, about(&dispute).2), ("stripe.charge.dispute.created", "stripe:pi_3MmlLrLkdIwHu7ix0nxJ"));
    assert_eq!(data::<JsonPayload>(&dispute).json, provider!("stripe_dispute"));
}

#[tokio::test]
async fn orders_fulfilments_and_stock_of_shopify() {
    let key = "orders/820982911946154508";
    let order = event("shopify", Some("orders/cancelled"), provider!("shopify_order")).await;
    assert_eq!((provider_type(&order), about(&order)), ("orders/cancelled", (key, key, &*format!("shopify:{key}"))));
    let message = data::<shopify::v1::OrderChanged>(&order);
    assert_eq!(
        (message.id, message.customer.unwrap().id, &*message.total_price),
        (820_982_911_946_154_508, 115_310_627_314_723_954, "388.00")
    );
    assert_eq!((message.line_items[0].id, message.cancelled_at.unwrap().seconds), (866_550_311_766_439_020, 1_640_995_200));

    let new = event("shopify", Some("orders/create"), provider!("shopify_order")).await;
    assert_eq!((data::<commerce::v1::NewOrder>(&new).id, about(&new).0), (820_982_911_946_154_508, key));

    let fulfilment = event("shopify", Some("fulfillments/update"), provider!("shopify_fulfillment")).await;
    assert_eq!(about(&fulfilment).2, about(&order).2, "the story is that of the order");
    assert_eq!(data::<shopify::v1::FulfillmentChanged>(&fulfilment).tracking_numbers, ["1z827wk74630"]);

    let stock = event("shopify", Some("inventory_levels/update"), provider!("shopify_inventory_level")).await;
    let message = data::<shopify::v1::InventoryLevelChanged>(&stock);
    assert_eq!((message.inventory_item_id, message.available), (271_878_346_596_884_015, Some(0)));
    assert_eq!(about(&stock).1, "inventory_items/271878346596884015/24826418");
}

#[tokio::test]
async fn messages_mentions_and_reactions_of_slack() {
    let message = event("slack", None, provider!("slack_message")).await;
    let thread = "T123ABC456/C123ABC456/1355517500.000001";
    assert_eq!((&*message.id, about(&message)), ("Ev123ABC456", ("T123ABC456/C123ABC456", thread, &*format!("slack:{thread}"))));
    let posted = data::<slack::v1::Message>(&message);
    let said = posted.event.unwrap();
    assert_eq!(
        (posted.event_time.unwrap().seconds, &*said.ts, &*said.text),
        (1_355_517_523, "1355517523.000005", "Where is TRUCK-7? \\o/ ☕")
    );

    let changed = event("slack", None, provider!("slack_message_changed")).await;
    assert_eq!(about(&changed).1, "T123ABC456/C123ABC456/1355517523.000005", "the message that was changed");
    assert_eq!(data::<slack::v1::Message>(&changed).event.unwrap().previous_message.unwrap().text, "Hello");

    let mention = event("slack", None, provider!("slack_app_mention")).await;
    assert_eq!(data::<slack::v1::AppMention>(&mention).event.unwrap().channel, "C123ABC456");

    let reaction = event("slack", None, provider!("slack_reaction")).await;
    assert_eq!((provider_type(&reaction), about(&reaction).1), ("reaction_added", "T123ABC456/C123ABC456/1360782400.498405"));
    assert_eq!(data::<slack::v1::ReactionChanged>(&reaction).event.unwrap().reaction, "thumbsup");
}

#[tokio::test]
async fn issues_of_linear_jira_and_sentry_and_incidents_of_pagerduty() {
    let issue = event("linear", None, provider!("linear_issue")).await;
    assert_eq!((provider_type(&issue), about(&issue).0), ("Issue.update", "ENG-42"));
    let message = data::<linear::v1::IssueChanged>(&issue);
    let before = message.updated_from.unwrap();
    assert_eq!((before.state_id.as_deref(), before.title, before.assignee_id), (Some("s1"), None, None));
    assert_eq!((message.data.unwrap().state.unwrap().name, message.created_at.unwrap().nanos), ("In Progress".to_owned(), 127_000_000));

    let issue = event("jira", None, provider!("jira_issue")).await;
    assert_eq!(about(&issue), ("JRA-20002", "99291", "jira:https://acme.atlassian.net/rest/api/2/issue/99291"));
    let message = data::<jira::v1::IssueChanged>(&issue);
    assert_eq!((message.timestamp.unwrap().nanos, &*message.changelog.unwrap().items[0].to_string), (302_000_000, "In Progress"));
    let fields = message.issue.unwrap().fields.unwrap();
    assert_eq!(
        (fields.created.unwrap().seconds, fields.labels, fields.reporter),
        (1_261_028_770, vec!["UI".to_owned(), "dialogue".to_owned()], None)
    );

    let issue = event("sentry", Some("issue"), provider!("sentry_issue")).await;
    assert_eq!((provider_type(&issue), about(&issue)), ("issue.assigned", ("FRONT-END-9", "1170820242", "sentry:1170820242")));
    let message = data::<sentry::v1::IssueChanged>(&issue);
    let found = message.data.unwrap().issue.unwrap();
    assert_eq!((&*message.actor.unwrap().id, found.count, &*found.assigned_to.unwrap().id), ("789", 1, "789"));

    let incident = event("pagerduty", None, provider!("pagerduty_incident")).await;
    assert_eq!(about(&incident), ("incidents/PGR0VU2", "PGR0VU2", "pagerduty:PGR0VU2"));
    let message = data::<pagerduty::v1::IncidentChanged>(&incident).event.unwrap();
    assert_eq!(
        (message.event_type, message.data.unwrap().priority.unwrap().summary),
        ("incident.priority_updated".to_owned(), "P1".to_owned())
    );
    let note = event("pagerduty", None, provider!("pagerduty_note")).await;
    assert_eq!((&*note.r#type, about(&note)), ("pagerduty.incident.annotated", ("incidents/PGR0VU2", "", "pagerduty:PGR0VU2")));
}

#[tokio::test]
async fn what_github_sends_is_about_an_issue_a_pull_request_or_a_repository() {
    let run = r#"{"action":"completed","workflow_run":{"id":30433642,"name":"Build","run_number":562,"status":"completed","conclusion":"failure",
        "created_at":"2020-01-22T19:33:08Z","pull_requests":[{"id":1,"number":7}]},"repository":{"full_name":"acme/router"}}"#;
    let run = event("github", Some("workflow_run"), run).await;
    assert_eq!(about(&run), ("acme/router", "acme/router/actions/runs/30433642", "github:acme/router/actions/runs/30433642"));
    assert_eq!(data::<github::v1::WorkflowRunChanged>(&run).workflow_run.unwrap().pull_requests[0].number, 7);

    let comment =
        r#"{"action":"created","issue":{"number":7,"title":"t"},"comment":{"body":"hm"},"repository":{"full_name":"acme/router"}}"#;
    let comment = event("github", Some("issue_comment"), comment).await;
    assert_eq!(about(&comment), ("acme/router#7", "acme/router#7", "github:acme/router#7"));

    let untyped = event("github", Some("star"), r#"{"action":"created","repository":{"full_name":"acme/router"}}"#).await;
    assert_eq!((&*untyped.r#type, about(&untyped)), ("github.star.created", ("acme/router", "", "d-1")), "a story of its own");
    assert_eq!(about(&event("github", Some("meta"), "{}").await), ("", "", "d-1"));
}

#[tokio::test]
async fn what_an_operator_says_comes_before_what_is_shipped() {
    let edge = Harness::new(
        "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\nsubject = \"mine\"\ntypes.push = \"waypost.v1.JsonPayload\"\n\
         types.star = { message = \"waypost.v1.JsonPayload\", at = \"/sender\", event_type = \"starred\" }\n\
         types.release = { message = \"github.v1.ReleaseChanged\", subject = \"{/release/id}\", event_type = \"shipped\" }",
    );
    edge.post("github", "1", Some("issues"), r#"{"action":"opened","issue":{"number":7,"title":"t"},"repository":{"full_name":"a/b"}}"#)
        .await;
    edge.post("github", "2", Some("push"), payload!("github_push")).await;
    edge.post("github", "3", Some("release"), r#"{"action":"published","release":{"id":9}}"#).await;
    edge.post("github", "4", Some("star"), r#"{"sender": {"id":90071992547409931}, "x":1}"#).await;
    let events = edge.events().await;
    let summary: Vec<_> = events.iter().map(|event| (&*event.r#type, &*event.subject)).collect();
    assert_eq!(summary, [("github.v1.IssueChanged", "mine"), ("github.push", "mine"), ("shipped", "9"), ("starred", "mine")]);
    assert_eq!(data::<JsonPayload>(&events[1]).json, payload!("github_push"));
    assert_eq!(data::<JsonPayload>(&events[3]).json, r#"{"id":90071992547409931}"#, "a part, as exact as the whole");
    assert_eq!(events[0].ordering_key, "a/b#7", "what is not said stays");
}

#[test]
fn an_entry_that_cannot_work_is_refused_with_its_key() {
    let (_, findings, _) = build(
        "[github]\nscheme = \"github\"\nsecrets = [\"file:secret\"]\ntypes.\"a*b\" = \"github.v1.Push\"\n\
         types.push = { message = \"waypost.v1.JsonPayload\", fields = { ref = \"/x\" } }\n\
         types.star = { message = \"github.v1.IssueChanged\", fields = { action = { format = \"unix\" }, \"issue.created_at\" = { format = \"units\" } } }\n\
         [hooks]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = { template = \"a[{/b}]\" }",
    );
    let found = findings.iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>().join("\n");
    for expected in [
        "sources.github.types.a*b: a * stands at the end",
        "sources.github.types.push.message: is what was sent, byte for byte",
        "sources.github.types.star.fields.issue.created_at: a duration needs a field of type google.protobuf.Duration",
        "sources.hooks.identity: a part in [ ] cannot be used here",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
}
