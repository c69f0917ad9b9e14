//! What a source must be to start.

use super::*;

fn problems(sources: &str) -> String {
    let (built, findings, _) = build(sources);
    assert!(built.is_empty() || findings.is_empty());
    findings.into_iter().map(|(key, problem)| format!("{key}: {problem}")).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_source_without_a_secret_does_not_start() {
    let found = problems("[github]\nscheme = \"github\"");
    assert!(found.starts_with("sources.github.secrets: is missing: nothing is accepted unverified"), "{found}");
    let found = problems("[github]\nscheme = \"github\"\nsecrets = [\"env:WAYPOST_TEST_NOT_SET\", \"file:missing\"]");
    assert!(found.contains("WAYPOST_TEST_NOT_SET is not set") && found.contains("missing cannot be read"), "{found}");
}

#[test]
fn an_unverified_source_says_so_in_so_many_words() {
    let (built, findings, _) = build("[open]\nverify = \"none\"");
    assert_eq!(findings, []);
    assert!(built[0].is_unverified() && built[0].is_weak() && built[0].verifier().is_none());
    assert_eq!((&*built[0].scheme, built[0].active_secrets()), ("none", 0));
    assert!(problems("[open]\npath = \"/open\"").starts_with("sources.open.scheme: is missing"));
    assert!(problems("[open]\nverify = \"none\"\nsecrets = [\"file:secret\"]").contains("sources.open.secrets: would not be used"));
}

#[test]
fn weak_schemes_are_flagged() {
    for (algorithm, weak) in [("hmac-sha256", false), ("hmac-sha1", true), ("equals", true)] {
        let config =
            format!("[a]\nscheme = {{ signature = {{ header = \"X\" }}, algorithm = \"{algorithm}\" }}\nsecrets = [\"file:secret\"]");
        assert_eq!(build(&config).0[0].is_weak(), weak, "{algorithm}");
    }
}

#[test]
fn every_problem_is_named_at_once() {
    let found = problems(
        "[a]\npath = \"hooks/{x}\"\nscheme = \"github\"\nsecrets = [\"file:secret\"]\ntolerance = \"1m\"\nmax_body = \"0B\"\nsubject = \"{body}\"\n\
         identity = { template = \"{signature:t}\" }\ntypes = { push = \"github.v1.Pusch\", x = { message = \"tasks.v1.TaskAssigned\", fields = { tusk = \"/x\" } } }",
    );
    for expected in [
        "sources.a.path: \"hooks/{x}\" is not a path such as /hooks/github",
        "sources.a.tolerance: has no effect: github does not sign a time",
        "sources.a.max_body: is 0",
        "sources.a.subject: {body} cannot be used here",
        "sources.a.identity: {signature:t} cannot be used here",
        "sources.a.types.push.message: \"github.v1.Pusch\" is no registered message type",
        "sources.a.types.x.fields.tusk: tasks.v1.TaskAssigned has no field \"tusk\"; it has task_id, description, assigned_agent_id",
    ] {
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
    assert!(problems("[Bad]\nverify = \"none\"").contains("sources.Bad: \"Bad\" is not a name"));
    assert!(problems("[\"waypost.x\"]\nverify = \"none\"").contains("kept for the broker's own events"));
    let found = problems("[a]\nscheme = \"hmac\"\nsecrets = [\"file:secret\"]\nidentity = \"delivery_id\"");
    assert!(found.contains("sources.a.identity: is \"delivery_id\", but the scheme has none"), "{found}");
    let found = problems("[a]\nscheme = { signature = { header = \"X\" }, key = \"hex\" }\nsecrets = [\"file:secret\"]");
    assert!(found.contains("sources.a.secrets: number 1 is not hexadecimal") && !found.contains("Everybody"), "{found}");
}

#[test]
fn words_that_do_not_exist_are_refused_with_those_that_do() {
    for (config, expected) in [
        ("scheme = \"githup\"", "\"githup\" is no provider; there are adyen, adyen-platform, asana"),
        ("identity = \"random\"", "\"random\" is not an identity: use delivery_id, body_hash or none"),
        ("identity = { templat = \"x\" }", "unknown variant `templat`"),
        ("verify = \"maybe\"", "unknown variant `maybe`"),
        ("secret = \"x\"", "unknown field `secret`"),
        ("secrets = [\"hunter2\"]", "env:NAME"),
        ("types = { a = 5 }", "the full name of a message type"),
        ("subject = \"{/a\"", "a { without its }"),
    ] {
        let error = toml::from_str::<SourceConfig>(config).unwrap_err();
        assert!(error.message().contains(expected), "{}", error.message());
        assert!(!error.message().contains("hunter2"));
    }
}

#[test]
fn two_sources_cannot_have_one_path() {
    let (built, _, _) = build("[a]\nverify = \"none\"\npath = \"/x\"\n[b]\nverify = \"none\"\npath = \"/x\"");
    assert_eq!(Sources::new(built).unwrap_err().to_string(), "sources a and b have the same path /x; each needs one of its own");
}

#[test]
fn a_secret_is_nowhere_to_be_seen() {
    let (built, _, secrets) = build("[a]\nscheme = \"hmac\"\nsecrets = [\"file:secret\", \"file:standard\"]");
    let shown = format!("{built:?}");
    assert!(!shown.contains("Everybody") && !shown.contains("MfKQ9r8G"), "{shown}");
    assert!(std::fs::read_to_string(secrets.path().join("standard")).unwrap().contains("MfKQ9r8G"));
}

#[test]
fn an_operators_own_type_can_be_mapped() {
    let folder = tempfile::tempdir().unwrap();
    let text = "syntax = \"proto3\"; package acme.v1; message Reading { string sensor = 1; double value = 2; }";
    std::fs::write(folder.path().join("reading.proto"), text).unwrap();
    let schemas = Schemas::load(&[folder.path().to_owned()]).unwrap();
    let (built, findings, _) = build_with(
        "[a]\nverify = \"none\"\ntypes = { \"*\" = { message = \"acme.v1.Reading\", fields = { sensor = \"/from\" } } }",
        &schemas,
    );
    assert_eq!(findings, []);
    assert_eq!(built[0].event_types(), ["acme.v1.Reading"]);
}

#[test]
fn a_source_says_what_its_scheme_needs_beside_secrets() {
    for (config, expected) in [
        ("scheme = \"square\"\nsecrets = [\"file:secret\"]", "sources.a.public_base_url: is missing: the provider signs the address"),
        ("scheme = \"hmac\"\nsecrets = [\"file:secret\"]\npublic_base_url = \"hooks.example.com\"", "is not scheme and host"),
        ("scheme = \"aws-sns\"", "sources.a.allow.topic: is missing: the provider signs for all its customers"),
        ("scheme = \"google-pubsub\"\nallow = { audience = [\"x\"], email = [] }", "sources.a.allow.email: is missing"),
        ("scheme = \"aws-sns\"\nallow = { topic = [\"t\"], topics = [\"t\"] }", "sources.a.allow.topics: would not be looked at"),
        ("scheme = \"aws-sns\"\nallow = { topic = [\"t\"] }\nsecrets = [\"file:secret\"]", "sources.a.secrets: would not be used"),
        ("scheme = \"paypal\"", "sources.a.secrets: is missing"),
        ("scheme = \"meta\"\nsecrets = [\"file:secret\"]", "sources.a.handshake_token: is missing"),
        ("scheme = \"github\"\nsecrets = [\"file:secret\"]\npairing = true", "sources.a.pairing: has no effect"),
        ("scheme = \"discord\"\nsecrets = [\"file:secret\"]", "sources.a.secrets: number 1 is not hexadecimal"),
        (
            "scheme = { signature = { header = \"X\" }, algorithm = \"jwt\", jwt = { algorithm = \"ES256\" }, body_hash = \"{claim:h}\", key = \"jwk\" }\nsecrets = [\"file:secret\"]",
            "sources.a.secrets: number 1 is neither a JWK nor a set of them",
        ),
        (
            "scheme = \"plaid\"\naccess = { client_id = \"file:secret\" }",
            "sources.a.access.secret: is missing: the provider gives its public keys",
        ),
        ("scheme = \"circle\"\naccess = { api_key = \"file:none\" }", "sources.a.access.api_key: the file"),
        (
            "scheme = \"github\"\nsecrets = [\"file:secret\"]\naccess = { api_key = \"file:secret\" }",
            "sources.a.access.api_key: would not be used",
        ),
    ] {
        let found = problems(&format!("[a]\n{config}"));
        assert!(found.contains(expected), "{expected}\nis not in\n{found}");
    }
    let (built, findings, _) = build("[a]\nscheme = \"aws-sns\"\nallow = { topic = [\"t\"] }");
    assert_eq!((built.len(), findings), (1, vec![]));
}

#[test]
fn pairing_has_one_file_that_it_can_make_or_says_why_not() {
    for (config, expected) in [
        ("", "sources.a.secrets: names no file: pairing writes the secret"),
        ("secrets = [\"env:PATH\"]", "sources.a.secrets: names no file: pairing writes the secret"),
        ("secrets = [\"file:none/asana\"]", "none/asana cannot be made: there is no folder"),
        ("secrets = [\"file:secret/asana\"]", "secret/asana cannot be read"),
        ("secrets = [\"file:one\", \"file:two\"]", "two is not there either: pairing brings one secret at a time"),
    ] {
        let found = problems(&format!("[a]\nscheme = \"asana\"\npairing = true\n{config}"));
        assert!(found.contains(expected) && found.lines().count() == 1, "{expected}\nis not in\n{found}");
    }
    let found = problems("[a]\nscheme = \"asana\"\nsecrets = [\"file:one\"]");
    assert!(found.contains("one cannot be read"), "without pairing it must be there: {found}");
    assert!(problems("[a]\nverify = \"none\"\npairing = true").contains("sources.a.pairing: has no effect"));
    for (secrets, active) in [("\"file:one\"", 0), ("\"file:secret\", \"file:one\"", 1), ("\"file:secret\"", 1)] {
        let (built, findings, _) = build(&format!("[a]\nscheme = \"notion\"\npairing = true\nsecrets = [{secrets}]"));
        assert_eq!((findings, built[0].active_secrets()), (vec![], active), "{secrets}");
    }
}

#[test]
fn an_operator_writes_a_scheme_in_the_words_of_the_table() {
    let table: toml::Table = include_str!("../verify/providers.toml").parse().unwrap();
    for (name, row) in table {
        let mut source = toml::Table::new();
        source.insert("scheme".to_owned(), row);
        let config: SourceConfig = toml::from_str(&toml::to_string(&source).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.scheme.unwrap().name, "custom", "{name}");
    }
}

#[test]
fn the_example_in_the_page_of_providers_is_sound() {
    let page = include_str!("../../../../docs/providers.md");
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let config: toml::Table = example.parse().unwrap();
    let source: SourceConfig = config["sources"]["carrier"].clone().try_into().unwrap();
    assert_eq!(source.scheme.unwrap().scheme.problems(), []);
}
