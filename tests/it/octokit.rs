//! Webhooks of every kind that GitHub sends, as octokit collected them, posted as GitHub posts them.
//!
//! Constraints: the examples are those of the npm package that `tests/octokit` pins, the text as it is in the package; what arrives is
//! compared with that text, not with what a JSON library made of it.

use std::{collections::BTreeMap, path::Path, process::Command};

use prost_reflect::{Cardinality, DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage, Value as Field};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio_stream::StreamExt;
use waypost_proto::{
    FILE_DESCRIPTOR_SET, full_name,
    v1::{Event, JsonPayload, ReadEventsRequest, agent_service_client::AgentServiceClient, read_events_response::Response},
};
use waypost_tests::webhook::{Answer, Sender, sign};

use crate::stand::{SECRET, Stand, soon};

const SOURCE: &str = "sources.github = { scheme = 'github', secrets = ['file:secret'] }";

/// The types that come with Waypost, by what GitHub calls them.
const TYPED: [(&str, &str); 7] = [
    ("push", "github.v1.Push"),
    ("issues", "github.v1.IssueChanged"),
    ("issue_comment", "github.v1.IssueCommentChanged"),
    ("pull_request", "github.v1.PullRequestChanged"),
    ("workflow_run", "github.v1.WorkflowRunChanged"),
    ("release", "github.v1.ReleaseChanged"),
    ("ping", "github.v1.Ping"),
];

/// One webhook of GitHub.
#[derive(Clone)]
struct Example {
    kind: String,
    body: String,
}

/// An entry of the package's index.
#[derive(Deserialize)]
struct Kinds<'a> {
    name: String,
    #[serde(borrow)]
    examples: Vec<&'a RawValue>,
}

/// All of them, from github.com and from servers of one's own; and each again with larger numbers.
fn examples() -> Vec<Example> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("octokit/prepare");
    let output = Command::new(&script).output().unwrap();
    assert!(output.status.success(), "{script:?}: {}", String::from_utf8_lossy(&output.stderr));
    let folder = String::from_utf8(output.stdout).unwrap();
    let mut found = Vec::new();
    for product in ["api.github.com", "ghes-31", "ghes-32", "ghes-33", "ghes-34", "ghes-35"] {
        let text = std::fs::read_to_string(Path::new(folder.trim_end()).join(product).join("index.json")).unwrap();
        for kinds in serde_json::from_str::<Vec<Kinds<'_>>>(&text).unwrap() {
            for example in kinds.examples {
                found.push(Example { kind: kinds.name.clone(), body: example.get().to_owned() });
                found.push(Example { kind: kinds.name.clone(), body: enlarged(example.get()) });
            }
        }
    }
    found
}

/// Every number of four digits or more, beyond what a floating-point number holds exactly.
fn enlarged(json: &str) -> String {
    let (mut out, mut rest, mut count) = (String::new(), json, 0_u64);
    while let Some(at) = rest.find(|c: char| c == '"' || c.is_ascii_digit()) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = if let Some(text) = rest.strip_prefix('"') {
            let inside = text.bytes().scan(false, |escaped, byte| {
                let ends = byte == b'"' && !*escaped;
                *escaped = byte == b'\\' && !*escaped;
                (!ends).then_some(())
            });
            inside.count() + 2
        } else {
            rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len())
        };
        let (token, after) = rest.split_at(end);
        rest = after;
        if token.starts_with('"') || token.len() < 4 || rest.starts_with('.') || out.ends_with('.') {
            out.push_str(token);
        } else {
            count += 1;
            out.push_str(&(9_007_199_254_740_993 + 2 * count).to_string());
        }
    }
    out + rest
}

async fn post(sender: Sender, id: String, example: Example) -> Answer {
    let signature = format!("sha256={}", sign(SECRET, example.body.as_bytes()));
    let headers = [("x-github-event", &example.kind), ("x-github-delivery", &id), ("x-hub-signature-256", &signature)];
    let sender = headers.iter().fold(sender, |sender, (name, value)| sender.header(name, value));
    soon("an answer", sender.post(example.body.into_bytes())).await.unwrap()
}

async fn stored(stand: &Stand) -> Vec<Event> {
    let mut client = AgentServiceClient::new(stand.broker.channel());
    let mut stream = client.read_events(ReadEventsRequest::default()).await.unwrap().into_inner();
    let mut events = Vec::new();
    while let Some(response) = soon("events", stream.next()).await {
        if let Some(Response::Events(some)) = response.unwrap().response {
            events.extend(some.events.into_iter().filter_map(|stored| stored.event));
        }
    }
    events
}

#[tokio::test]
async fn p7_every_webhook_of_github_is_one_event_that_says_what_was_sent() {
    let stand = Stand::with(SOURCE);
    let sender = Sender::new(format!("{}/hooks/github", stand.broker.edge), SECRET);
    let examples = examples();
    assert!(examples.len() > 1_400, "the package has hundreds of examples, not {}", examples.len() / 2);
    let id = |index: usize| format!("00000000-0000-4000-8000-{index:012}");
    // As many at a time as a busy organisation sends.
    for (first, some) in examples.chunks(32).enumerate() {
        for status in ["accepted", "duplicate"] {
            let posts =
                some.iter().zip(first * 32..).map(|(example, index)| tokio::spawn(post(sender.clone(), id(index), example.clone())));
            for (post, (example, index)) in posts.collect::<Vec<_>>().into_iter().zip(some.iter().zip(first * 32..)) {
                let answer = post.await.unwrap();
                let found = (answer.code, answer.json["status"].as_str(), answer.json["event_id"].as_str());
                assert_eq!(found, (202, Some(status), Some(&*id(index))), "{}: {}\n{}", example.kind, answer.json, example.body);
            }
        }
    }

    let events = stored(&stand).await;
    assert_eq!(events.len(), examples.len(), "none lost, none twice");
    let events: BTreeMap<&str, &Event> = events.iter().map(|event| (&*event.id, event)).collect();
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
    let mut fields = 0;
    for (index, example) in examples.iter().enumerate() {
        let event = events[&*id(index)];
        let data = event.data.as_ref().unwrap();
        let due = TYPED.iter().find(|(kind, _)| *kind == example.kind).map(|(_, name)| *name);
        match due {
            Some(name) => {
                assert_eq!((full_name(&data.type_url), &*event.r#type), (name, name));
                let descriptor = pool.get_message_by_name(name).unwrap();
                let message = DynamicMessage::decode(descriptor, &*data.value).unwrap();
                fields += says(&message, &example.body, &example.kind);
            }
            None => assert_eq!(data.to_msg::<JsonPayload>().unwrap().json, example.body, "{}", example.kind),
        }
        let action = serde_json::from_str::<serde_json::Value>(&example.body).unwrap()["action"].as_str().map(str::to_owned);
        let kind = action.map_or_else(|| example.kind.clone(), |action| format!("{}.{action}", example.kind));
        assert_eq!(event.attributes["providertype"], kind);
        assert_eq!(event.attributes.get("typedoubt"), None, "{}: {}", example.kind, example.body);
    }
    assert!(fields > 10_000, "only {fields} fields were compared");
}

/// Types whose bodies nothing tells apart, or that are too old to be known: what would be taken for what.
const ALIKE: [(&str, &str); 2] = [("repository", "watch"), ("watch", "repository")];

#[tokio::test]
async fn a_body_of_github_under_any_other_type_is_doubted_or_in_quarantine() {
    let stand = Stand::with(SOURCE);
    let sender = Sender::new(format!("{}/hooks/github", stand.broker.edge), SECRET);
    let bodies: BTreeMap<String, String> = examples().into_iter().map(|example| (example.kind, example.body)).collect();
    let kinds: Vec<&String> = bodies.keys().filter(|kind| !["enterprise", "user"].contains(&kind.as_str())).collect();
    let pairs: Vec<(&str, &str)> = kinds
        .iter()
        .flat_map(|kind| kinds.iter().filter(move |other| *other != kind).map(|other| (kind.as_str(), other.as_str())))
        .collect();
    let mut posted = BTreeMap::new();
    for some in pairs.chunks(64) {
        let posts = some.iter().map(|(kind, other)| {
            let (id, body) = (format!("{other} as {kind}"), bodies[*other].clone());
            (id.clone(), tokio::spawn(post(sender.clone(), id, Example { kind: (*kind).to_owned(), body })))
        });
        for (id, post) in posts.collect::<Vec<_>>() {
            let answer = post.await.unwrap();
            posted.insert(id, (answer.code, answer.json["status"].as_str().unwrap().to_owned()));
        }
    }
    let events = stored(&stand).await;
    let doubted: BTreeMap<&str, bool> = events.iter().map(|event| (&*event.id, event.attributes.contains_key("typedoubt"))).collect();
    let mut believed = Vec::new();
    for (kind, other) in pairs {
        let (code, status) = &posted[&format!("{other} as {kind}")];
        assert_eq!(*code, 202);
        if status != "quarantined" && !doubted[&*format!("{other} as {kind}")] {
            believed.push((kind, other));
        }
    }
    assert_eq!(believed, ALIKE);
}

/// Compares a message with the JSON that it was made from, field by field; answers how many there were.
fn says(message: &DynamicMessage, json: &str, path: &str) -> usize {
    let object: BTreeMap<String, &RawValue> = serde_json::from_str(json).unwrap_or_else(|error| panic!("{path}: {error}: {json}"));
    let mut count = 0;
    for field in message.descriptor().fields() {
        let path = format!("{path}.{}", field.name());
        let value = object.get(field.json_name()).or_else(|| object.get(field.name())).map(|value| value.get());
        let Some(value) = value.filter(|value| *value != "null") else {
            assert!(!message.has_field(&field), "{path} was not sent");
            continue;
        };
        let found = message.get_field(&field);
        if field.cardinality() == Cardinality::Repeated {
            let sent: Vec<&RawValue> = serde_json::from_str(value).unwrap();
            let found = found.as_list().unwrap();
            assert_eq!(found.len(), sent.len(), "{path}");
            count += found.iter().zip(sent).map(|(found, sent)| says_value(found, sent.get(), &path)).sum::<usize>();
        } else {
            count += says_value(&found, value, &path);
        }
    }
    count
}

fn says_value(found: &Field, sent: &str, path: &str) -> usize {
    match found {
        Field::Message(message) if is_time(&message.descriptor()) => {
            let text: String = serde_json::from_str(sent).unwrap();
            let time: prost_types::Timestamp = text.parse().unwrap();
            assert_eq!(message.transcode_to::<prost_types::Timestamp>().unwrap(), time, "{path}");
        }
        Field::Message(message) => return says(message, sent, path),
        Field::String(text) => assert_eq!(*text, serde_json::from_str::<String>(sent).unwrap(), "{path}"),
        Field::I64(number) => assert_eq!(number.to_string(), sent, "{path}"),
        Field::Bool(flag) => assert_eq!(flag.to_string(), sent, "{path}"),
        other => panic!("{path} is {other:?}, for which there is no comparison"),
    }
    1
}

fn is_time(message: &MessageDescriptor) -> bool {
    message.full_name() == "google.protobuf.Timestamp"
}
