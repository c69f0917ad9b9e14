//! Decoding, against what the rules say.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may panic")]

mod agreement;

use std::{collections::BTreeMap, sync::LazyLock};

use prost_reflect::DynamicMessage;
use serde_json::{Value, json};

use super::*;
use crate::schema::{Schemas, check::check_message};

const ALL: &str = r#"syntax = "proto3";
package test.v1;
import "google/protobuf/timestamp.proto";
import "google/protobuf/duration.proto";
import "google/protobuf/wrappers.proto";
import "google/protobuf/struct.proto";
import "google/protobuf/any.proto";
import "google/protobuf/field_mask.proto";
import "google/protobuf/empty.proto";
import "waypost/v1/options.proto";
enum Color { COLOR_UNSPECIFIED = 0; COLOR_RED = 1; COLOR_NEGATIVE = -7; }
message All {
  double a_double = 1; float a_float = 2; int32 an_int32 = 3; int64 an_int64 = 4; uint32 a_uint32 = 5; uint64 a_uint64 = 6;
  sint32 a_sint32 = 7; sint64 a_sint64 = 8; fixed32 a_fixed32 = 9; fixed64 a_fixed64 = 10; sfixed32 a_sfixed32 = 11;
  sfixed64 a_sfixed64 = 12; bool a_bool = 13; string a_string = 14; bytes some_bytes = 15; Color color = 16;
  optional int32 maybe_int = 17; optional string maybe_string = 18;
  repeated int32 ints = 19; repeated string strings = 20; repeated Color colors = 21; repeated All children = 22; repeated double doubles = 23;
  map<string, int64> counts = 24; map<int32, All> by_number = 25; map<bool, string> by_bool = 26;
  All child = 27;
  oneof choice { string left = 28; int32 right = 29; All middle = 30; }
  google.protobuf.Timestamp at = 31; google.protobuf.Duration took = 32; google.protobuf.StringValue wrapped = 33;
  google.protobuf.Struct anything = 34; google.protobuf.Value value = 35; google.protobuf.ListValue list = 36;
  google.protobuf.Any any = 37; google.protobuf.FieldMask mask = 38; google.protobuf.Empty empty = 39;
  repeated google.protobuf.Value values = 40; google.protobuf.NullValue null = 41; repeated int32 unpacked = 42 [packed = false];
  map<string, google.protobuf.Value> value_map = 43; google.protobuf.Int64Value wrapped_int = 44;
  Needs needs = 45; repeated Needs list_of_needs = 46; map<string, Needs> map_of_needs = 47;
}
message Needs { string id = 1 [(waypost.v1.required) = true]; Inner inner = 2; repeated string tags = 3; int64 number = 4; Color color = 5; }
message Inner { string name = 1 [(waypost.v1.required) = true]; string note = 2; }
"#;

static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("all.proto"), ALL).unwrap();
    Schemas::load(&[folder.path().to_owned()]).unwrap()
});

fn ours(json: &str) -> Result<DynamicMessage, DecodeError> {
    let id = SCHEMAS.message_id("test.v1.All").unwrap();
    let encoded = json::encode(&SCHEMAS.plans, json::Target::Message(id), json)?;
    let checked = check_message(&SCHEMAS.plans, id, &encoded.bytes);
    assert!(checked.is_ok() || !encoded.sound, "{json} is taken for sound: {checked:?}");
    let descriptor = SCHEMAS.pool().get_message_by_name("test.v1.All").unwrap();
    Ok(DynamicMessage::decode(descriptor, &*encoded.bytes).expect("what was written decodes"))
}

fn mapping(fields: Value, constants: Value) -> (Mapping, Selector) {
    let mut selector = Selector::default();
    let (fields, constants) = (serde_json::from_value(fields).unwrap(), serde_json::from_value(constants).unwrap());
    let mapping = Mapping::compile(&SCHEMAS, "test.v1.Needs", None, &fields, &constants, &mut selector).unwrap();
    (mapping, selector)
}

fn needs((mapping, selector): &(Mapping, Selector), json: &str) -> Result<Value, (String, String)> {
    let selected = selector.select(json).unwrap();
    let decoded = mapping.decode(json, &selected).map_err(|error| (error.pointer(), error.to_string()))?;
    let descriptor = SCHEMAS.pool().get_message_by_name("test.v1.Needs").unwrap();
    Ok(serde_json::to_value(DynamicMessage::decode(descriptor, decoded.bytes).unwrap()).unwrap())
}

#[test]
fn integers_are_exact_or_refused() {
    let plain = mapping(json!({}), json!({}));
    for (number, kept) in [
        ("820982911946154508", Some("820982911946154508")),
        ("\"820982911946154508\"", Some("820982911946154508")),
        ("9223372036854775807", Some("9223372036854775807")),
        ("9223372036854775808", None),
        ("1.0", Some("1")),
        ("1e3", Some("1000")),
        ("1.5", None),
        ("9007199254740991.0", Some("9007199254740991")),
        ("9007199254740993.0", None),
        ("9223372036854775807.0", None),
        ("true", None),
        ("\"\"", None),
        ("\"1x\"", None),
        ("\" 1\"", None),
    ] {
        let found = needs(&plain, &format!("{{\"id\":\"a\",\"number\":{number}}}"));
        match kept {
            Some(kept) => assert_eq!(found.unwrap()["number"], *kept, "{number}"),
            None => assert_eq!(found.unwrap_err().0, "/number", "{number}"),
        }
    }
}

#[test]
fn trap_an_unknown_enum_name_is_an_error_not_unspecified() {
    let (path, problem) = needs(&mapping(json!({}), json!({})), r#"{"id":"a","color":"MAUVE"}"#).unwrap_err();
    assert_eq!(path, "/color");
    assert!(problem.contains("\"MAUVE\" is none of COLOR_NEGATIVE, COLOR_UNSPECIFIED, COLOR_RED"), "{problem}");
}

#[test]
fn trap_a_table_maps_a_providers_words_with_an_explicit_default() {
    let color = |default: Value| {
        let mut rule = json!({ "at": "/state/color", "values": { "rouge": "COLOR_RED" } });
        rule.as_object_mut().unwrap().extend(default.as_object().unwrap().clone());
        mapping(json!({ "color": rule }), json!({}))
    };
    let with_default = color(json!({ "default": "COLOR_NEGATIVE" }));
    for (state, expected) in [(r#"{"color":"rouge"}"#, "COLOR_RED"), (r#"{"color":"vert"}"#, "COLOR_NEGATIVE"), ("{}", "COLOR_NEGATIVE")] {
        let found = needs(&with_default, &format!(r#"{{"id":"a","color":"IGNORED","state":{state}}}"#)).unwrap();
        assert_eq!(found["color"], expected, "{state}");
    }
    let (path, problem) = needs(&color(json!({})), r#"{"id":"a","state":{"color":"vert"}}"#).unwrap_err();
    assert_eq!((&*path, problem.contains("is none of rouge, and the mapping has no default")), ("/state/color", true), "{problem}");
}

#[test]
fn fields_come_from_where_the_mapping_says_and_not_by_name() {
    let mapping =
        mapping(json!({ "id": "/meta/key", "inner.name": "/who", "tags": "/labels" }), json!({ "inner.note": "fixed", "number": "7" }));
    let found =
        needs(&mapping, r#"{"id":5,"meta":{"key":"k"},"who":"w","labels":["x"],"tags":["y"],"number":9,"inner":{"note":"n"}}"#).unwrap();
    assert_eq!(found, json!({ "id": "k", "number": "7", "tags": ["x"], "inner": { "name": "w", "note": "fixed" } }));
    assert_eq!(needs(&mapping, r#"{"meta":{"key":"k"},"who":3}"#).unwrap_err().0, "/who");
    assert_eq!(needs(&mapping, r#"{"id":"k","who":"w"}"#).unwrap_err(), ("/id".into(), "a required field is missing".into()));
    assert_eq!(needs(&mapping, r#"{"meta":{"key":null},"who":"w"}"#).unwrap_err().0, "/id");
}

#[test]
fn fields_are_read_in_their_format_wherever_they_stand() {
    let compile = |fields: Value| {
        let mut selector = Selector::default();
        let fields = serde_json::from_value(fields).unwrap();
        let mapping = Mapping::compile(&SCHEMAS, "test.v1.All", None, &fields, &BTreeMap::new(), &mut selector).unwrap();
        (mapping, selector)
    };
    let all = |(mapping, selector): &(Mapping, Selector), json: &str| {
        let decoded = mapping.decode(json, &selector.select(json).unwrap()).map_err(|error| (error.pointer(), error.to_string()))?;
        let descriptor = SCHEMAS.pool().get_message_by_name("test.v1.All").unwrap();
        Ok::<_, (String, String)>(serde_json::to_value(DynamicMessage::decode(descriptor, decoded.bytes).unwrap()).unwrap())
    };
    let mapping = compile(json!({
        "at": { "format": "unix" }, "children.at": { "format": "unix_ms" }, "child.took": { "format": "iso8601" },
        "took": { "at": "/meta/took", "format": "seconds", "default": "3s" }, "a_string": { "at": "/meta/id", "format": "text" },
        "strings": { "format": "text" }, "an_int64": { "at": "/meta/when", "format": "rfc3339", "unit": "seconds" },
        "maybe_int": { "cel": "payload.meta.id % 100" }, "maybe_string": { "cel": "payload.meta.who + '!'", "default": "nobody" },
    }));
    let json = r#"{"at":"1355517523.000005","children":[{"at":1775385000250},{"at":null}],"child":{"took":"PT5M","at":"2026-04-05T10:30:00Z"},
        "strings":["a",7,true],"meta":{"took":1.5,"id":820982911946154508,"when":"2026-04-05T10:30:00Z"}}"#;
    let expected = json!({
        "at": "2012-12-14T20:38:43.000005Z", "children": [{ "at": "2026-04-05T10:30:00.250Z" }, {}],
        "child": { "took": "300s", "at": "2026-04-05T10:30:00Z" }, "took": "1.500s", "aString": "820982911946154508",
        "strings": ["a", "7", "true"], "anInt64": "1775385000", "maybeInt": 8, "maybeString": "nobody",
    });
    assert_eq!(all(&mapping, json).unwrap(), expected);
    assert_eq!(all(&mapping, r#"{"meta":{"id":1}}"#).unwrap()["took"], "3s");
    for (json, path, problem) in [
        (r#"{"at":"yesterday"}"#, "/at", "expected seconds since 1970"),
        (r#"{"children":[{},{"at":"2026-04-05"}]}"#, "/children/1/at", "expected milliseconds since 1970"),
        (r#"{"meta":{"took":"1h","id":1}}"#, "/meta/took", "expected seconds, such as 90"),
        (r#"{"meta":{"id":[]}}"#, "/meta/id", "expected a string, a number, true or false"),
        (r#"{"strings":["a",{}]}"#, "/strings/1", "expected a string"),
        (r#"{"meta":{"who":"w"}}"#, "/meta/id", "maybe_int is computed from this, which is missing"),
        (r#"{"meta":{"id":"x"}}"#, "/meta/id", "of sorts that do not go together"),
    ] {
        let (found, said) = all(&mapping, json).unwrap_err();
        assert!(found == path && said.contains(problem), "{json}: {found}: {said}");
    }
    let json = r#"{"at":1,"at":2,"meta":{"id":1}}"#;
    assert_eq!(all(&mapping, json).unwrap()["at"], "1970-01-01T00:00:02Z", "also when a key occurs twice");
}

#[test]
fn a_mapping_that_cannot_work_is_refused_by_name() {
    let problems = |message: &str, fields: Value, constants: Value| {
        let (fields, constants) = (serde_json::from_value(fields).unwrap(), serde_json::from_value(constants).unwrap());
        let found = Mapping::compile(&SCHEMAS, message, Some("nowhere"), &fields, &constants, &mut Selector::default()).unwrap_err();
        found.into_iter().map(|problem| format!("{}: {}", problem.key, problem.problem)).collect::<Vec<_>>().join("\n")
    };
    let found = problems(
        "test.v1.Needs",
        json!({ "ident": "/id", "id.x": "/id", "tags.0": "/t", "number": "id", "color": { "at": "/c", "values": { "a": "PINK" } },
                "tags": { "default": ["x"] }, "inner.name": { "at": "/a", "cel": "payload.b" }, "inner.note": { "at": "/a", "unit": "seconds" },
                "inner": { "cel": "1 +" } }),
        json!({ "number": "many", "inner.nam": "x" }),
    );
    for expected in [
        "at: \"nowhere\" is not a JSON pointer",
        "fields.ident: test.v1.Needs has no field \"ident\"; it has id, inner, tags, number, color",
        "fields.id.x: \"id\" of test.v1.Needs is not a single message",
        "fields.tags.0: \"tags\" of test.v1.Needs is not a single message",
        "fields.number: \"id\" is not a JSON pointer",
        "fields.color: \"PINK\" does not fit",
        "fields.tags: does not say where its value is",
        "fields.inner.name: has at and cel, of which only one can be",
        "fields.inner.note: has a unit without a format",
        "fields.inner: is no expression",
        "constants.number: \"many\" does not fit",
        "constants.inner.nam: test.v1.Inner has no field \"nam\"; it has name, note",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
    let found = problems("test.v2.needs", json!({}), json!({}));
    assert!(found.contains("did you mean test.v1.Needs?"), "{found}");
}

#[test]
fn trap_a_wholly_wrong_payload_is_not_an_empty_message() {
    let plain = mapping(json!({}), json!({}));
    assert_eq!(needs(&plain, r#"{"something":"else"}"#).unwrap_err(), ("/id".into(), "a required field is missing".into()));
    for wrong in ["[]", "\"text\"", "5", "null"] {
        assert_eq!(needs(&plain, wrong).unwrap_err().0, "", "{wrong}");
    }
    assert_eq!(needs(&plain, r#"{"id":"a","inner":{}}"#).unwrap_err().0, "/inner/name");
    assert_eq!(needs(&plain, r#"{"id":"a","tags":["x",5]}"#).unwrap_err().0, "/tags/1");
}

#[test]
fn trap_duplicate_keys_are_flagged_and_the_last_one_counts() {
    let (plain, selector) = mapping(json!({}), json!({}));
    let json = r#"{"id":"a","tags":["x"],"inner":{"name":"n","name":"m"},"tags":["y"],"id":"b"}"#;
    let decoded = plain.decode(json, &selector.select(json).unwrap()).unwrap();
    assert_eq!(decoded.duplicate_key.map(|path| path.pointer()), Some("/inner/name".to_owned()));
    let found = needs(&(plain, selector), json).unwrap();
    assert_eq!(found, json!({ "id": "b", "tags": ["y"], "inner": { "name": "m" } }));
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = |depth| "{\"child\":".repeat(depth) + "{}" + &"}".repeat(depth);
    assert!(matches!(ours(&deep(200)), Err(DecodeError::Malformed(problem)) if problem.contains("recursion limit")));

    // What JSON still allows and readers of protobuf do not.
    let mut selector = Selector::default();
    let mapping = Mapping::compile(&SCHEMAS, "test.v1.All", None, &BTreeMap::new(), &BTreeMap::new(), &mut selector).unwrap();
    let decode = |depth| mapping.decode(&deep(depth), &Selected::default());
    assert!(decode(100).is_ok());
    assert!(matches!(decode(101), Err(DecodeError::Mismatch { problem, .. }) if problem.contains("nested more than 100 deep")));
}
