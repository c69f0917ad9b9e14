//! What can be computed from a payload, what cannot, and what is refused at start.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use proptest::prelude::*;

use super::*;

/// What an expression makes of a payload, for a field that takes it.
fn compute(expression: &str, payload: &str) -> Result<Option<String>, String> {
    let mut selector = Selector::default();
    let mut compile = |kind| Expression::compile(expression, kind, &mut selector);
    let compiled = compile(Kind::Message(0)).or_else(|_| compile(Kind::Bool))?;
    let selected = selector.select(payload).unwrap();
    compiled.value(&selected).map_err(|error| match error {
        NoValue::Absent(pointer) => format!("absent: {pointer}"),
        NoValue::Failed(pointer, problem) => format!("{pointer}: {problem}"),
    })
}

fn refused(expression: &str, kind: Kind) -> String {
    Expression::compile(expression, kind, &mut Selector::default()).unwrap_err()
}

const ORDER: &str = r#"{"id":820982911946154508,"net":1999,"tax":381,"rate":1.5,"currency":"eur","paid":true,"note":null,
        "items":[{"sku":"A","n":2},{"sku":"B","n":1}],"who":{"first":"Jane","last":"Doe"},"a-b":"c","huge":18446744073709551615}"#;

#[test]
fn a_value_is_computed_from_others_exactly() {
    for (expression, value) in [
        ("payload.net + payload.tax", "2380"),
        ("payload.id + 1", "820982911946154509"),
        ("payload.huge", "18446744073709551615"),
        ("payload.who.first + ' ' + payload.who.last", r#""Jane Doe""#),
        ("payload.paid ? 'paid' : 'open'", r#""paid""#),
        ("string(payload.id)", r#""820982911946154508""#),
        ("double(payload.net) * payload.rate", "2998.5"),
        ("payload.items[1].sku", r#""B""#),
        ("payload['a-b']", r#""c""#),
        ("size(payload.items)", "2"),
        ("payload.currency in ['eur', 'usd']", "true"),
        ("has(payload.who.first) && !has(payload.who.middle) && !has(payload.no.where) && !has(payload.note)", "true"),
        ("has(payload.none) ? payload.none : 'nobody'", r#""nobody""#),
        ("payload.currency.startsWith('e')", "true"),
        ("[payload.net, payload.tax]", "[1999,381]"),
    ] {
        assert_eq!(compute(expression, ORDER), Ok(Some(value.to_owned())), "{expression}");
    }
    assert_eq!(compute("payload.paid ? null : 1", ORDER), Ok(None));
}

#[test]
fn what_cannot_be_computed_says_why_and_repeats_nothing() {
    for (expression, problem) in [
        ("payload.net + payload.gross", "absent: /gross"),
        ("payload.note + 'x'", "absent: /note"),
        ("payload.net / (payload.tax - 381)", "divides by zero"),
        ("payload.id * payload.id", "beyond 64 bits"),
        ("payload.net + payload.rate", "/net: what is there is of sorts that do not go together"),
        ("int(payload.currency)", "int() cannot be used on what is there"),
        ("payload.currency - 1", "/currency: "),
        ("payload.items[7].sku", "absent: /items/7/sku"),
    ] {
        let found = compute(expression, ORDER).unwrap_err();
        assert!(found.contains(problem) && !found.contains("eur"), "{expression}: {found}");
    }
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000));
    assert!(compute("payload.a + payload.b", &long).unwrap_err().contains("absent"));
    assert!(compute("payload.a + payload.a", &long).unwrap_err().contains("too long"));
    assert!(compute("size(payload.a)", &format!(r#"{{"a":"{}"}}"#, "x".repeat(70_000))).unwrap_err().contains("64 KiB"));
    assert!(compute("payload.a", r#"{"a":18446744073709551616}"#).unwrap_err().contains("beyond 64 bits"));
}

#[test]
fn what_is_no_expression_or_may_not_be_one_is_refused_at_start() {
    for (expression, kind, problem) in [
        ("payload.a +", Kind::Int64, "is no expression, at character 12: "),
        ("order.id", Kind::Int64, "uses order, which there is not; a value of the webhook is payload.order"),
        ("payload", Kind::Int64, "uses the whole payload"),
        ("size(payload)", Kind::Int64, "uses the whole payload"),
        ("payload.items.map(i, i.n)", Kind::Int64, "goes through a list"),
        ("payload.items.all(i, payload.items.all(j, i == j))", Kind::Bool, "goes through a list"),
        ("payload.a[payload.b]", Kind::Int64, "an index is a number, or a name in quotes"),
        ("payload.a.matches('(a+)+')", Kind::Bool, "uses matches(), which there is not"),
        ("{'a': payload.b}", Kind::String, "makes an object"),
        ("b'abc'", Kind::Bytes, "has bytes"),
        ("payload.a == 1", Kind::String, "gives true or false, but the field needs a string"),
        ("size(payload.a)", Kind::String, "gives an integer, but the field needs a string"),
        ("payload.a + 'x'", Kind::Bool, "gives a string, but the field needs true or false"),
    ] {
        let found = refused(expression, kind);
        assert!(found.contains(problem), "{expression}: {found}");
    }
    assert!(refused(&"1+".repeat(600), Kind::Int64).contains("1024 are allowed"));
    assert!(refused(&format!("{}1", "1+".repeat(200)), Kind::Int64).contains("deep"));
    for nested in ["(", "[", "{", "!", "-", "a?", "f(", "a[", "has("] {
        let _ = refused(&nested.repeat(1_000 / nested.len()), Kind::Int64);
    }
}

proptest! {
    #[test]
    fn no_expression_and_no_payload_make_it_panic(
        expression in "(payload\\.[ab]|payload\\.c\\[0\\]|[0-9]{1,20}|'[a-z]{0,3}'|[-+*/%()!<>=&|?:,.\\[\\]{}]|size|string|int|has| in ){0,12}",
        value in prop_oneof!["-?[0-9]{1,25}", Just("null".to_owned()), Just("[1,\"x\",{}]".to_owned()), Just("1e308".to_owned()), Just("\"\"".to_owned())],
    ) {
        let payload = format!(r#"{{"a":{value},"b":9223372036854775807,"c":[{value}]}}"#);
        if let Ok(Ok(selected)) = serde_json::from_str::<Json>(&payload).map(|_| Selector::default().select(&payload)) {
            drop(selected);
            let _ = compute(&expression, &payload);
        }
    }
}
