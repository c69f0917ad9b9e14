//! Any document, against what prost-reflect makes of it.

use proptest::prelude::*;
use prost_reflect::{DeserializeOptions, DynamicMessage};
use serde_json::{Value, json};

use super::*;

fn theirs(json: &str) -> Result<DynamicMessage, serde_json::Error> {
    let descriptor = SCHEMAS.pool().get_message_by_name("test.v1.All").unwrap();
    let mut document = serde_json::Deserializer::from_str(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor, &mut document, &options)?;
    document.end()?;
    Ok(message)
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zé\"\\\\\n😀\u{0}]{0,6}", Just(String::new()), "x{200}"]
}

fn integer() -> impl Strategy<Value = Value> {
    // Mostly what fits everywhere, or whole documents would hardly ever be right.
    prop_oneof![
        20 => (0..1000_i32).prop_map(|n| json!(n)),
        5 => (0..1000_i32).prop_map(|n| json!(f64::from(n))),
        5 => (0..1000_i32).prop_map(|n| json!(n.to_string())),
        1 => any::<i32>().prop_map(|n| json!(n)),
        1 => any::<i64>().prop_map(|n| json!(n)),
        1 => any::<u64>().prop_map(|n| json!(n)),
        1 => any::<i64>().prop_map(|n| json!(n.to_string())),
        1 => any::<u64>().prop_map(|n| json!(n.to_string())),
    ]
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<f64>().prop_map(|n| json!(n)),
        any::<f32>().prop_map(|n| json!(n)),
        integer(),
        Just(json!("NaN")),
        Just(json!("-Infinity")),
        Just(json!("1.5"))
    ]
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), number(), text().prop_map(Value::from)];
    leaf.prop_recursive(3, 20, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,3}", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn color() -> impl Strategy<Value = Value> {
    prop_oneof![Just(json!("COLOR_RED")), Just(json!("COLOR_UNSPECIFIED")), Just(json!(-7)), Just(json!(99)), Just(json!(0))]
}

/// A message with required fields, of which some are missing.
fn needs_some() -> impl Strategy<Value = Value> {
    let id =
        proptest::sample::select(vec![json!({}), json!({ "id": "" }), json!({ "id": null }), json!({ "id": "a" }), json!({ "id": "b" })]);
    let inner = proptest::option::of(proptest::sample::select(vec![json!({}), json!({ "name": "" }), json!({ "name": "n" }), Value::Null]));
    (id, inner).prop_map(|(mut needs, inner)| {
        needs.as_object_mut().unwrap().extend(inner.map(|inner| ("inner".to_owned(), inner)));
        needs
    })
}

/// A value for a field: mostly of its kind, now and then of any.
fn field(inner: impl Strategy<Value = Value> + Clone + 'static) -> BoxedStrategy<(String, Value)> {
    let names = |names: &'static [&'static str]| proptest::sample::select(names).prop_map(str::to_owned);
    let map = |value: BoxedStrategy<Value>, key: &'static str| {
        proptest::collection::btree_map(key, value, 0..3).prop_map(|map| Value::Object(map.into_iter().collect()))
    };
    let list = |value: BoxedStrategy<Value>| proptest::collection::vec(value, 0..4).prop_map(Value::from);
    prop_oneof![
        (
            names(&[
                "anInt32",
                "anInt64",
                "a_uint32",
                "aUint64",
                "aSint32",
                "aSint64",
                "maybeInt",
                "aFixed32",
                "aFixed64",
                "aSfixed32",
                "aSfixed64",
                "right",
                "wrappedInt"
            ]),
            integer()
        ),
        (names(&["aDouble", "a_float"]), number()),
        (names(&["aString", "maybe_string", "left", "wrapped"]), text().prop_map(Value::from)),
        (names(&["aBool"]), any::<bool>().prop_map(Value::from)),
        (names(&["someBytes"]), proptest::sample::select(vec!["", "AA==", "AAA", "-_-_", "+/+/", "AAEC"]).prop_map(Value::from)),
        (names(&["color"]), color()),
        (names(&["colors"]), list(color().boxed())),
        (names(&["ints", "unpacked"]), list(integer().boxed())),
        (names(&["doubles"]), list(number().boxed())),
        (names(&["strings"]), list(text().prop_map(Value::from).boxed())),
        (names(&["counts"]), map(integer().boxed(), "[a-zé]{0,3}")),
        (names(&["byBool"]), map(text().prop_map(Value::from).boxed(), "true|false")),
        (names(&["byNumber"]), map(inner.clone().boxed(), "-?[1-9][0-9]{0,3}")),
        (names(&["child", "middle"]), inner.clone()),
        (names(&["children"]), list(inner.boxed())),
        (names(&["needs"]), needs_some()),
        (names(&["listOfNeeds"]), list(needs_some().boxed())),
        (names(&["mapOfNeeds"]), map(needs_some().boxed(), "[a-z]")),
        (
            names(&["at"]),
            proptest::sample::select(vec![
                "2026-04-05T10:30:00Z",
                "1969-12-31T23:59:59.5Z",
                "2026-04-05T10:30:00.123456789+02:00",
                "0001-01-01T00:00:00Z"
            ])
            .prop_map(Value::from)
        ),
        (names(&["took"]), proptest::sample::select(vec!["1s", "-1.5s", "0s"]).prop_map(Value::from)),
        (names(&["anything"]), map(anything().boxed(), "[a-z]{1,3}")),
        (names(&["value"]), anything()),
        (names(&["valueMap"]), map(anything().boxed(), "[a-z]{1,3}")),
        (names(&["list", "values"]), list(anything().boxed())),
        (names(&["mask"]), Just(json!("a.b,c"))),
        (names(&["empty"]), Just(json!({}))),
        (names(&["null"]), Just(Value::Null)),
        (names(&["any"]), Just(json!({"@type": "type.googleapis.com/test.v1.Inner", "name": "n"}))),
        (names(&["aString", "unknown", "child", "ints", "at", "counts", "left", "maybeInt"]), anything()),
        (names(&["aString", "child", "ints", "at", "counts", "left", "maybeInt", "value", "color"]), Just(Value::Null)),
    ]
    .boxed()
}

fn message() -> impl Strategy<Value = Value> {
    let object = |field: BoxedStrategy<(String, Value)>, most| {
        proptest::collection::vec(field, 0..most).prop_map(|fields| Value::Object(fields.into_iter().collect()))
    };
    let leaf = object(field(Just(json!({}))), 5).boxed();
    leaf.prop_recursive(3, 30, 4, move |inner| object(field(inner), 8))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn decoding_is_what_prost_reflect_makes_of_it(document in message()) {
        let text = document.to_string();
        match (ours(&text), theirs(&text)) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(serde_json::to_value(&ours).unwrap(), serde_json::to_value(&theirs).unwrap(), "{}", text),
            (Ok(_), Err(error)) => prop_assert!(error.to_string().is_empty(), "only we accept {text}: {error}"),
            // Never in these documents: two names of one field in one object, times in other forms, enum names that do not exist.
            (Err(error), Ok(_)) => prop_assert!(error.to_string().is_empty(), "only they accept {text}: {error}"),
            (Err(_), Err(_)) => {}
        }
    }

    #[test]
    fn a_double_is_the_nearest_to_what_was_written(number in any::<f64>().prop_filter("JSON has no others", |number| number.is_finite())) {
        let found = ours(&format!("{{\"aDouble\":{number:?},\"doubles\":[\"{number:?}\"]}}")).unwrap();
        let [one, list] = ["a_double", "doubles"].map(|name| found.get_field_by_name(name).unwrap().into_owned());
        prop_assert_eq!(one.as_f64().unwrap().to_bits(), number.to_bits());
        prop_assert_eq!(list.as_list().unwrap()[0].as_f64().unwrap().to_bits(), number.to_bits());
    }

    #[test]
    fn no_text_makes_decoding_panic(text in "[\\[\\]{}:,\"a-z0-9 .eE+\\\\-]{0,80}") {
        let _ = ours(&text);
        let _ = duplicate_key(&text);
    }
}
