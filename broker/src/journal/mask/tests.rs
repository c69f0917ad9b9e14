//! What is masked, and what is left as it was.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Uri, header::CONTENT_TYPE};
use proptest::prelude::*;

use super::*;

fn masked(text: &str) -> String {
    masked_by(&Rules::default(), "", text)
}

fn masked_by(rules: &Rules<'_>, content_type: &str, text: &str) -> String {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, content_type.parse().unwrap());
    let masked = body(&headers, &Bytes::copy_from_slice(text.as_bytes()), rules);
    let kept = String::from_utf8(masked.kept.to_vec()).unwrap();
    assert_eq!(masked.is_masked, kept != text, "{text}");
    kept
}

#[test]
fn fields_are_masked_by_their_names_whatever_their_case_and_their_values() {
    for (json, expected) in [
        (r#"{"password":"a","user":"b"}"#, r#"{"password":"(masked)","user":"b"}"#),
        (r#"{"apiKey" : 7 , "API-KEY":[1,{"x":"]"}],"n":1}"#, r#"{"apiKey" : "(masked)" , "API-KEY":"(masked)","n":1}"#),
        (r#"[{"a":{"client_secret":null}},{"secret\u0073":"x"}]"#, r#"[{"a":{"client_secret":"(masked)"}},{"secret\u0073":"(masked)"}]"#),
        (
            r#"{"token":"xyz","token_type":"bot","author":"ada","key":"ABC-1"}"#,
            r#"{"token":"(masked)","token_type":"bot","author":"ada","key":"ABC-1"}"#,
        ),
    ] {
        assert_eq!(masked(json), expected);
    }
}

#[test]
fn fields_are_masked_by_their_paths_and_no_others() {
    let paths: Vec<PathPattern> =
        ["/customer/email", "/items/*/price", "/a~1b", "/list/1"].iter().map(|path| path.parse().unwrap()).collect();
    let rules = Rules::new(&[], &paths, None, []);
    let json = r#"{"customer":{"email":"a@b","name":"A"},"email":"c@d","items":[{"price":1,"n":2},{"n":[{"price":5}],"price":{"x":1}}],"a/b":1,"list":[1,2,3]}"#;
    let kept = masked_by(&rules, "", json);
    let expected = r#"{"customer":{"email":"(masked)","name":"A"},"email":"c@d","items":[{"price":"(masked)","n":2},{"n":[{"price":5}],"price":"(masked)"}],"a/b":"(masked)","list":[1,"(masked)",3]}"#;
    assert_eq!(kept, expected);
    assert!("customer".parse::<PathPattern>().unwrap_err().contains("JSON pointer"));
}

#[test]
fn secrets_are_told_by_how_they_look_wherever_they_stand() {
    let token = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
    let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U";
    let key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----";
    for (text, expected) in [
        (format!("see {token}, please"), "see (masked), please".to_owned()),
        (format!("{{\"text\":\"my {token}!\"}}"), "{\"text\":\"my (masked)!\"}".to_owned()),
        (format!("a {jwt} b"), "a (masked) b".to_owned()),
        (format!("Authorization: Bearer {jwt}"), "Authorization: Bearer (masked)".to_owned()),
        (format!("x {key} y"), "x (masked) y".to_owned()),
        ("postgres://ada:hunter2@db/x".to_owned(), "postgres://(masked)@db/x".to_owned()),
        ("https://example.com/a:b@c".to_owned(), "https://example.com/a:b@c".to_owned()),
        ("a bearer of bad news, basic facts".to_owned(), "a bearer of bad news, basic facts".to_owned()),
        (
            "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----".to_owned(),
            "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----".to_owned(),
        ),
    ] {
        assert_eq!(masked(&text), expected);
    }
}

#[test]
fn card_numbers_are_masked_and_ids_are_not() {
    for card in ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011111111111117", "30569309025904"]
    {
        assert_eq!(masked(&format!("paid with {card}.")), "paid with (masked).", "{card}");
        assert_eq!(masked(&format!("{{\"memo\":\"{card}\"}}")), "{\"memo\":\"(masked)\"}", "{card}");
    }
    assert_eq!(masked(r#"{"memo":4111111111111111}"#), r#"{"memo":"(masked)"}"#, "a number stays a value");
    // A wrong check digit, ids that begin otherwise, parts of something longer, decimals.
    for other in [
        "4111111111111112",
        "820982911946154508",
        "1795298400123456",
        "41111111111111110000",
        "a4111111111111111",
        "0.4111111111111111",
        "4111111111111111.5",
    ] {
        assert_eq!(masked(&format!("{{\"id\":\"{other}\"}}")), format!("{{\"id\":\"{other}\"}}"));
    }
}

#[test]
fn what_is_wrapped_in_a_string_is_looked_into() {
    let wrapped = r#"{"Message":"{\"password\":\"x\",\"n\":1}","Other":"{not json"}"#;
    assert_eq!(masked(wrapped), r#"{"Message":"{\"password\":\"(masked)\",\"n\":1}","Other":"{not json"}"#);
    // {"password":"x"} in base64, as Pub/Sub sends it.
    let kept = masked(r#"{"message":{"data":"eyJwYXNzd29yZCI6IngifQ=="}}"#);
    assert!(!kept.contains("eyJwYXNzd29yZCI6IngifQ"), "{kept}");
    let form = "payload=%7B%22password%22%3A%22x%22%2C%22n%22%3A1%7D&token=abc&user=a+b";
    let kept = masked_by(&Rules::default(), "application/x-www-form-urlencoded", form);
    assert_eq!(kept, "payload=%7B%22password%22%3A%22(masked)%22%2C%22n%22%3A1%7D&token=(masked)&user=a+b");
}

#[test]
fn headers_are_masked_by_their_names_and_their_values() {
    let configured: HeaderName = "x-customer".parse().unwrap();
    let configured = [configured];
    let rules = Rules::new(&configured, &[], None, []);
    let mut given = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Basic YTpi"),
        ("x-hub-signature-256", "sha256=00"),
        ("x-api-key", "k"),
        ("cookie", "a=b"),
        ("x-customer", "ada"),
        ("user-agent", "Hookshot"),
        ("x-forwarded-for", "10.0.0.1"),
        ("referer", "https://x/?q=sk_live_0123456789abcdef"),
    ] {
        given.append(name, value.parse().unwrap());
    }
    let kept: Vec<String> = headers(&given, &rules).into_iter().map(|(name, value)| format!("{name}: {}", value.kept)).collect();
    assert_eq!(
        kept,
        [
            "authorization: (masked)",
            "x-hub-signature-256: (masked)",
            "x-api-key: (masked)",
            "cookie: (masked)",
            "x-customer: (masked)",
            "user-agent: Hookshot",
            "x-forwarded-for: 10.0.0.1",
            "referer: https://x/?q=(masked)",
        ]
    );
    let target: Uri = "/hooks/x?token=abc&user=ada&auth=1".parse().unwrap();
    assert_eq!(address(&target, &rules), "/hooks/x?token=(masked)&user=ada&auth=(masked)");
}

proptest! {
    #[test]
    fn no_text_makes_masking_panic(text in ".{0,200}", kind in "(|application/json|application/x-www-form-urlencoded)") {
        masked_by(&Rules::default(), &kind, &text);
    }

    #[test]
    fn no_bytes_make_masking_panic(start in "[{\\[\"p=]?", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let bytes = Bytes::from([start.as_bytes(), &bytes].concat());
        let paths = ["/a/*".parse::<PathPattern>().unwrap()];
        let masked = body(&HeaderMap::new(), &bytes, &Rules::new(&[], &paths, None, []));
        prop_assert!(masked.kept.len() <= 16 * (bytes.len() + 1));
    }

    #[test]
    fn json_stays_json(depth in 0_usize..40, name in "(password|a|b)", value in proptest::sample::select(vec!["1", "\"x\"", "[1,{}]", "{\"token\":1}", "4111111111111111", "true", "\"eyJ0b2tlbiI6MX0=\""])) {
        let json = format!("{}{{\"{name}\":{value}}}{}", "{\"a\":[".repeat(depth), "]}".repeat(depth));
        let kept = masked(&json);
        prop_assert!(serde_json::from_str::<serde_json::Value>(&kept).is_ok(), "{}", kept);
    }
}
