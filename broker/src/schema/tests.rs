//! Schemas as operators meet them: their own files, and what is checked against them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{path::PathBuf, sync::LazyLock};

use prost::Message;
use waypost_proto::{commerce, github, tasks, v1::JsonPayload};

use super::*;

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = folder.path().to_owned();
    (folder, path)
}

const OWN: &str = r#"syntax = "proto3";
package acme.v1;
import "waypost/v1/options.proto";
import "google/protobuf/timestamp.proto";
import "acme/part.proto";
message Machine {
  string id = 1 [(waypost.v1.required) = true];
  repeated Part parts = 2;
  map<string, Part> by_name = 3;
  google.protobuf.Timestamp made_at = 4 [(waypost.v1.required) = true];
}
"#;
const PART: &str = r#"syntax = "proto3";
package acme.v1;
import "waypost/v1/options.proto";
message Part { int32 number = 1 [(waypost.v1.required) = true]; Part inner = 2; optional bool spare = 3 [(waypost.v1.required) = true]; }
"#;

fn with_own() -> Schemas {
    let (_folder, path) = folder(&[("acme/machine.proto", OWN), ("acme/part.proto", PART)]);
    Schemas::load(&[path]).unwrap()
}

fn check<M: Message + prost::Name>(schemas: &Schemas, message: &M) -> Result<Registration, String> {
    schemas.check(&M::type_url(), &message.encode_to_vec()).map_err(|invalid| invalid.to_string())
}

#[test]
fn an_operators_types_stand_beside_ours() {
    let schemas = with_own();
    let own = schemas.get("acme.v1.Machine").unwrap();
    assert_eq!((own.origin, &*own.file(), own.name()), (SchemaOrigin::User, "acme/machine.proto", "acme.v1.Machine"));
    assert_eq!(schemas.required_fields(own), ["id", "made_at"]);
    assert_eq!(schemas.get("github.v1.Push").unwrap().origin, SchemaOrigin::BuiltIn);
    let push = schemas.get("github.v1.Push").unwrap();
    assert_eq!(schemas.required_fields(push), ["repository", "repository.full_name", "pusher"]);
    assert!(schemas.get("google.protobuf.Timestamp").is_none(), "a well-known type is not listed");
}

#[test]
fn types_are_listed_in_pages() {
    let schemas = with_own();
    let names = |prefix, after, limit| schemas.list(prefix, after, limit).map(|(name, _)| name.to_owned()).collect::<Vec<_>>();
    assert_eq!(names("acme.", "", 10), ["acme.v1.Machine", "acme.v1.Part"]);
    assert_eq!(names("acme.", "acme.v1.Machine", 10), ["acme.v1.Part"]);
    assert_eq!(names("", "acme.v1.Part", 1), [names("", "", 3)[2].clone()]);
    assert_eq!(names("zebra", "", 10), Vec::<String>::new());
}

#[test]
fn a_type_is_shown_with_all_that_it_imports() {
    let schemas = with_own();
    let set = schemas.file_descriptor_set(schemas.get("acme.v1.Machine").unwrap());
    let pool = prost_reflect::DescriptorPool::decode(&*set).unwrap();
    let field = pool.get_message_by_name("acme.v1.Machine").unwrap().get_field_by_name("id").unwrap();
    let required = pool.get_extension_by_name("waypost.v1.required").unwrap();
    assert_eq!(field.options().get_extension(&required).as_bool(), Some(true), "options are kept");
}

#[test]
fn a_file_that_does_not_compile_is_named_with_its_line() {
    for (text, expected) in [
        ("syntax = \"proto3\";\npackage a;\nmessage M { strin id = 1; }", "a/b.proto:3:13"),
        ("syntax = \"proto3\";\nimport \"a/none.proto\";", "a/b.proto:2:1"),
        ("syntax = \"proto3\";\nmessage M {", "a/b.proto: expected"),
    ] {
        let (_folder, path) = folder(&[("a/b.proto", text)]);
        let error = Schemas::load(&[path]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let (_folder, path) = folder(&[("github/v1/github.proto", OWN), ("commerce/v1/commerce.proto", OWN)]);
    let error = Schemas::load(&[path]).unwrap_err().to_string();
    assert!(error.contains("comes with Waypost and cannot be replaced"), "{error}");
    let error = Schemas::load(&["/no/such/folder".into()]).unwrap_err().to_string();
    assert!(error.contains("/no/such/folder: cannot be read"), "{error}");
}

#[test]
fn published_data_must_have_its_required_fields() {
    let schemas = Schemas::built_in().unwrap();
    let item = |sku: &str, quantity| commerce::v1::OrderItem { sku: sku.into(), quantity };
    let order = |items| commerce::v1::OrderPlaced { order_id: "1".into(), customer_id: "2".into(), items };
    assert_eq!(check(&schemas, &order(vec![item("a", 1)])), Ok(Registration::Registered));
    for (message, path) in [
        (order(vec![]), "items"),
        (order(vec![item("a", 1), item("", 2)]), "items[1].sku"),
        (order(vec![item("a", 0)]), "items[0].quantity"),
        (commerce::v1::OrderPlaced { order_id: String::new(), ..order(vec![item("a", 1)]) }, "order_id"),
    ] {
        assert_eq!(check(&schemas, &message).unwrap_err(), format!("commerce.v1.OrderPlaced.{path}: is required and missing"));
    }
    let issue = github::v1::IssueChanged { action: "opened".into(), ..Default::default() };
    assert_eq!(check(&schemas, &issue).unwrap_err(), "github.v1.IssueChanged.issue: is required and missing");
    assert_eq!(schemas.check("type.googleapis.com/acme.v1.Thing", b"\xff"), Ok(Registration::Unregistered));
}

#[test]
fn published_bytes_must_be_their_type() {
    let schemas = Schemas::built_in().unwrap();
    let name = "type.googleapis.com/tasks.v1.TaskAssigned";
    let right = tasks::v1::TaskAssigned { task_id: "1".into(), assigned_agent_id: "2".into(), ..Default::default() }.encode_to_vec();
    for (suffix, problem) in [
        (&b"\x0a\x05ab"[..], "task_id: does not decode"),
        (b"\x08\x01", "task_id: has wire type Varint where LengthDelimited belongs"),
        (b"\x12\x01\xff", "description: is not UTF-8"),
        (b"\xff", "does not decode"),
        (b"\x0a\x00", "task_id: is required and missing"),
    ] {
        let error = schemas.check(name, &[&right, suffix].concat()).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    assert_eq!(schemas.check(name, &[&right[..], b"\x9a\x06\x03abc\xa0\x06\x01"].concat()), Ok(Registration::Registered), "unknown fields");
}

#[test]
fn a_message_in_two_pieces_counts_whole() {
    let schemas = with_own();
    let piece = |number: &[u8]| [&[0x12, u8::try_from(number.len()).unwrap()], number].concat();
    let part = |bytes: &[u8]| schemas.check("x/acme.v1.Part", bytes).map_err(|invalid| invalid.path.dotted());
    let outer = b"\x08\x01\x18\x00";
    assert_eq!(part(&[outer, &*piece(b"\x08\x02"), &*piece(b"\x18\x01")].concat()), Ok(Registration::Registered));
    assert_eq!(part(&[outer, &*piece(b"\x08\x02")].concat()), Err("inner.spare".to_owned()));
    assert_eq!(part(&[outer, &*piece(b"\x08\x02"), &*piece(b"\x08\x03")].concat()), Err("inner.spare".to_owned()));
}

#[test]
fn endless_nesting_is_refused() {
    let schemas = with_own();
    let mut bytes = b"\x08\x01\x18\x00".to_vec();
    for _ in 0..200 {
        let mut outer = b"\x08\x01\x18\x00\x12".to_vec();
        prost::encoding::encode_varint(bytes.len() as u64, &mut outer);
        outer.extend(bytes);
        bytes = outer;
    }
    let error = schemas.check("x/acme.v1.Part", &bytes).unwrap_err().to_string();
    assert!(error.contains("nested more than 100 deep"), "{error}");
}

#[test]
fn a_published_json_payload_must_hold_json() {
    let schemas = Schemas::built_in().unwrap();
    let payload = |json: &'static [u8]| JsonPayload { json: json.into() };
    assert_eq!(check(&schemas, &payload(b"{\"a\": 820982911946154508}")), Ok(Registration::Registered));
    for wrong in [&b""[..], b"{", b"{} x", b"\"\xff\""] {
        let error = check(&schemas, &payload(wrong)).unwrap_err();
        assert!(error.starts_with("waypost.v1.JsonPayload.json: is not JSON"), "{error}");
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_make_a_check_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60)) {
        static SCHEMAS: LazyLock<Schemas> = LazyLock::new(|| Schemas::built_in().unwrap());
        for name in ["github.v1.Push", "commerce.v1.NewOrder", "waypost.v1.Event", "waypost.v1.JsonPayload", "google.protobuf.Struct"] {
            let _ = SCHEMAS.check(name, &bytes);
        }
    }
}
