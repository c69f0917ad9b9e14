//! Whatever is sent, and whatever an operator maps it to: no panic, no more memory than the payload and the mapping account for, and no
//! number or string that is another than was sent.
//!
//! Constraint: quick by default; `PROPTEST_CASES=1000000` makes hours of it. What was found once is in `corpus/`.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use crate::ingress::{
    About, Rehearsal, Rehearsed, Template, TypeConfig, TypeTable, Typing,
    decode::{FieldConfig, Origin, Pointer, Selector},
    verify::provider,
};

use super::*;

/// Those whose types are shipped.
const PROVIDERS: [&str; 8] = ["github", "jira", "linear", "pagerduty", "sentry", "shopify", "slack", "stripe"];

/// Documented payloads, to be mutated.
const PAYLOADS: [&str; 12] = [
    payload!("providers/stripe_invoice"),
    payload!("providers/stripe_subscription"),
    payload!("providers/shopify_order"),
    payload!("providers/shopify_fulfillment"),
    payload!("providers/slack_message_changed"),
    payload!("providers/slack_reaction"),
    payload!("providers/linear_issue"),
    payload!("providers/jira_issue"),
    payload!("providers/pagerduty_incident"),
    payload!("providers/sentry_issue"),
    payload!("shipping_delay"),
    payload!("order_placed"),
];

fn cases(few: u32) -> ProptestConfig {
    let asked = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: asked.unwrap_or(few), failure_persistence: None, ..ProptestConfig::default() }
}

fn sources() -> &'static [Source] {
    static SOURCES: LazyLock<Vec<Source>> = LazyLock::new(|| {
        let configuration = PROVIDERS.map(|name| format!("[{name}]\nscheme = \"{name}\"\nsecrets = [\"file:secret\"]\n")).concat();
        let (built, findings, _secrets) = build(&configuration);
        assert_eq!(findings, []);
        built
    });
    &SOURCES
}

/// Every name of a type that a source has an entry for, or something like it.
fn types_of(source: &Source) -> Vec<String> {
    let names = provider(&source.scheme).unwrap().types.keys();
    names.map(|name| name.replace('*', "x")).chain(["unknown".to_owned(), String::new()]).collect()
}

/// What a source makes of a document, as each of its types where a header names them.
fn rehearse(source: &Source, document: &[u8]) -> Vec<Rehearsal> {
    let named = ["X-GitHub-Event", "X-Shopify-Topic", "Sentry-Hook-Resource"];
    let ids = ["X-GitHub-Delivery", "X-Shopify-Webhook-Id", "Request-ID", "Linear-Delivery", "X-Atlassian-Webhook-Identifier"];
    let rehearse = |name: String| {
        let headers = named.iter().map(|header| (*header, &*name)).chain(ids.map(|header| (header, "d-1")));
        let headers = headers.filter_map(|(header, value)| Some((header.parse().ok()?, value.parse().ok()?))).collect();
        source.rehearse(headers, Bytes::copy_from_slice(document))
    };
    types_of(source).into_iter().map(rehearse).collect()
}

/// The most bytes that a message made of a payload may have: a digit and a comma can be a double, and each rule can take all of it once.
fn bound(payload: usize, rules: usize) -> usize {
    (rules + 1) * (8 * payload + 1024)
}

fn check(rehearsal: &Rehearsal, document: &[u8]) {
    let Rehearsal::Payloads(payloads) = rehearsal else { return };
    for payload in payloads {
        let Rehearsed::Event(event, fields) = payload else { continue };
        let data = event.data.as_ref().unwrap();
        assert!(data.value.len() <= bound(document.len(), 0), "{} bytes of {}", data.value.len(), document.len());
        exact(fields, str::from_utf8(document).unwrap());
    }
}

/// Numbers and strings are those of the document, digit for digit.
fn exact(fields: &[Origin], document: &str) {
    for Origin { from, field, value } in fields.iter().filter(|origin| origin.from.starts_with('/')) {
        let mut selector = Selector::default();
        let slot = selector.add(&from.parse::<Pointer>().unwrap());
        let selected = selector.select(document).unwrap();
        let (sent, text) = (selected.json(slot).unwrap_or_default(), selected.text(slot));
        let is_integer = !sent.is_empty() && sent.trim_start_matches('-').bytes().all(|byte| byte.is_ascii_digit());
        let found: Value = serde_json::from_str(value).unwrap();
        match &found {
            Value::Number(number) if is_integer && !number.is_f64() => assert_eq!(number.to_string(), sent, "{field} from {from}"),
            // A time is the same time, in other words.
            Value::String(found) if sent.starts_with('"') && found.parse::<jiff::Timestamp>().is_err() => {
                assert_eq!(Some(&**found), text.as_deref(), "{field} from {from}");
            }
            _ => {}
        }
    }
}

#[test]
fn what_was_found_once_stays_harmless() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ingress/tests/corpus");
    let files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| std::fs::read(entry.unwrap().path()).unwrap()).collect();
    assert!(files.len() > 10);
    for document in &files {
        for source in sources() {
            rehearse(source, document).iter().for_each(|rehearsal| check(rehearsal, document));
        }
    }
}

fn leaf() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,12}".prop_map(Value::from),
        prop::sample::select(vec!["1355517523.000005", "2026-04-05T10:30:00Z", "PT5M", "90s", "2026-04-05", "", "9223372036854775808"])
            .prop_map(Value::from),
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let names = prop::sample::select(vec!["id", "type", "action", "data", "object", "event", "issue", "created", "items", "", "a/b~c"]);
    leaf().prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(names.clone().prop_map(str::to_owned), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every pointer of a document.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    found.push(at.to_owned());
    match value {
        Value::Object(map) => map.iter().for_each(|(name, value)| {
            pointers(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
        }),
        Value::Array(list) => list.iter().enumerate().for_each(|(index, value)| pointers(value, &format!("{at}/{index}"), found)),
        _ => {}
    }
}

/// A documented payload with some of its values replaced.
fn mutated() -> impl Strategy<Value = Value> {
    let change = (any::<prop::sample::Index>(), prop_oneof![3 => leaf(), 1 => anything()]);
    (prop::sample::select(PAYLOADS.to_vec()), prop::collection::vec(change, 0..4)).prop_map(|(payload, changes)| {
        let mut document: Value = serde_json::from_str(payload).unwrap();
        for (index, value) in changes {
            let mut found = Vec::new();
            pointers(&document, "", &mut found);
            // The whole document is `anything`.
            let at = &found[1.min(found.len() - 1) + index.index(found.len().saturating_sub(1).max(1)).min(found.len().saturating_sub(2))];
            if let Some(place) = document.pointer_mut(at) {
                *place = value;
            }
        }
        document
    })
}

fn document() -> impl Strategy<Value = Value> {
    prop_oneof![4 => mutated(), 1 => anything()]
}

/// A message to map to, and paths of it.
const TARGETS: [(&str, &[&str]); 4] = [
    (
        "stripe.v1.InvoiceChanged",
        &["id", "created", "livemode", "data.object.total", "data.object.due_date", "data.object.metadata", "data"],
    ),
    ("shopify.v1.OrderChanged", &["id", "name", "customer.id", "customer", "line_items", "line_items.price", "created_at", "test"]),
    ("logistics.v1.StockDepleted", &["sku", "warehouse_id", "remaining", "depleted_at"]),
    ("support.v1.NegativeSentimentDetected", &["customer_id", "message", "sentiment_score", "timestamp", "action_required"]),
];

/// A rule, most of which compile for some field.
fn rule() -> impl Strategy<Value = Value> {
    let at = any::<prop::sample::Index>().prop_map(|index| {
        let mut found = Vec::new();
        let payload = PAYLOADS[index.index(PAYLOADS.len())];
        pointers(&serde_json::from_str(payload).unwrap(), "", &mut found);
        found[index.index(found.len())].clone()
    });
    let format = prop::sample::select(vec![
        "rfc3339",
        "utc",
        "date",
        "rfc2822",
        "unix",
        "unix_ms",
        "unix_us",
        "seconds",
        "milliseconds",
        "iso8601",
        "units",
        "text",
    ]);
    let cel = prop::sample::select(vec![
        "payload.id",
        "payload.data.object.total * 2",
        "string(payload.created) + payload.type",
        "size(payload.items) > 1",
        "has(payload.event.ts) ? payload.event.ts : ''",
        "payload.timestamp / payload.id",
    ]);
    prop_oneof![
        at.clone().prop_map(Value::from),
        (at.clone(), format.clone()).prop_map(|(at, format)| json!({ "at": at, "format": format })),
        format.prop_map(|format| json!({ "format": format })),
        at.prop_map(|at| json!({ "at": at, "values": { "open": "o", "1": "1" }, "default": "1" })),
        cel.prop_map(|cel| json!({ "cel": cel })),
    ]
}

fn mapping() -> impl Strategy<Value = TypeTable> {
    let fields = prop::collection::vec((any::<prop::sample::Index>(), rule()), 0..5);
    let part = prop::sample::select(vec![None, None, Some("/data/object"), Some("/event"), Some("/items/0"), Some("")]);
    (prop::sample::select(TARGETS.to_vec()), fields, part).prop_map(|((message, paths), fields, part)| {
        let fields = fields.into_iter().map(|(index, rule)| {
            let rule: FieldConfig = serde_json::from_value(rule).unwrap();
            (paths[index.index(paths.len())].to_owned(), rule)
        });
        TypeTable { message: message.to_owned(), at: part.map(str::to_owned), fields: fields.collect(), ..TypeTable::default() }
    })
}

fn templates() -> impl Strategy<Value = Template> {
    let parts = prop::sample::select(vec!["{/id}", "{/data/object/id|/id}", "[#{/issue/number}]", "x/", "{header:x-id}", "{/items/0/sku}"]);
    prop::collection::vec(parts, 1..4).prop_map(|parts| parts.concat().parse().unwrap())
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn no_payload_makes_a_shipped_type_panic_grow_or_lie(document in document(), cut in any::<prop::sample::Index>(), whole in prop::bool::weighted(0.9)) {
        let text = document.to_string();
        let bytes = if whole { text.as_bytes() } else { &text.as_bytes()[..cut.index(text.len())] };
        for source in sources() {
            rehearse(source, bytes).iter().for_each(|rehearsal| check(rehearsal, bytes));
        }
    }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn no_mapping_and_no_payload_panic_grow_or_lie(
        document in document(), mut table in mapping(), subject in templates(), correlation_id in templates(),
    ) {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::built_in().unwrap());
        let (text, rules) = (document.to_string(), table.fields.len());
        let compile = |table: &TypeTable, selector: &mut Selector| {
            let types = BTreeMap::from([("*".to_owned(), TypeConfig(table.clone()))]);
            let about = About { subject: Some(subject.clone()), ordering_key: None, correlation_id: Some(correlation_id.clone()) };
            Typing::compile("s", &[], &types, &about, &SCHEMAS, selector)
        };
        // Without the rules that no such field can have: they are refused by name, and the others stay.
        let mut selector = Selector::default();
        let typing = match compile(&table, &mut selector) {
            Ok(typing) => typing,
            Err(problems) => {
                for problem in &problems {
                    let path = problem.key.strip_prefix("types.*.fields.");
                    prop_assert!(path.is_some_and(|path| table.fields.remove(path).is_some()), "{problem:?}");
                }
                selector = Selector::default();
                compile(&table, &mut selector).unwrap()
            }
        };
        let selected = selector.select(&text).unwrap();
        let made = typing.event("", Bytes::from(text.clone()), &text, &HeaderMap::new(), &selected);
        if let Ok(event) = made {
            let length = event.data.as_ref().unwrap().value.len();
            prop_assert!(length <= bound(text.len(), rules), "{length} bytes of {}", text.len());
            // What is translated is another text, and shall be.
            let translated = |origin: &Origin| {
                // A rule for `items.price` is for `items[0].price`.
                let path: String = origin.field.split('[').map(|part| part.split_once(']').map_or(part, |(_, after)| after)).collect();
                let rule = table.fields.get(&path).map(|FieldConfig(rule)| rule);
                rule.is_some_and(|rule| rule.format.is_some() || !rule.values.is_empty())
            };
            let origins: Vec<Origin> = typing.origins(&event, &text, &selected).into_iter().filter(|origin| !translated(origin)).collect();
            exact(&origins, &text);
        }
    }
}
