//! What an operator sees who writes a configuration.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::{fs, path::Path};

use super::{Problems, parse};

fn problems(text: &str) -> Vec<String> {
    let Problems(problems) = parse(text, Path::new("waypost.toml")).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_default_file_is_the_defaults() {
    // Every key that it has is known, and every key that is known it has: neither could be otherwise and deserialise.
    let config = parse("", Path::new("")).unwrap().config;
    assert_eq!(config.edge.listen.to_string(), "127.0.0.1:8480");
    assert_eq!(config.store.dedup_window.to_string(), "3d");
}

#[test]
fn what_a_file_does_not_say_has_its_default() {
    let config = parse("[edge]\nmax_body = '512KiB'", Path::new("conf/waypost.toml")).unwrap().config;
    assert_eq!((config.edge.max_body.bytes(), config.edge.listen.get().port()), (512 << 10, 8480));
    assert_eq!(config.store.data_dir, Path::new("conf/waypost-data"));
}

#[test]
fn an_unknown_key_is_told_with_its_nearest() {
    let found = problems("\n[edge]\nmax_bdy = '2MiB'\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("waypost.toml:3: edge.max_bdy: "), "{}", found[0]);
    assert!(found[0].contains("did you mean \"max_body\"?"), "{}", found[0]);
}

#[test]
fn an_unknown_section_is_told_with_its_line() {
    let found = problems("\n\n[egde]\nlisten = '127.0.0.1:1'\n");
    assert!(found[0].starts_with("waypost.toml:3: egde: ") && found[0].contains("did you mean \"edge\"?"), "{}", found[0]);
}

#[test]
fn every_problem_is_found_in_one_run() {
    let text = "[edge]\nlisten = '0.0.0.0:80'\nmax_body = 5\n[store]\nengine = 'embeded'\nsegment_size = '1KiB'\n[log]\nlevel = 'a=b=c'\n";
    let found = problems(text);
    let starts = [
        "waypost.toml:2: edge.listen: 0.0.0.0:80 can be reached",
        "waypost.toml:3: edge.max_body: invalid type: integer `5`",
        "waypost.toml:5: store.engine: \"embeded\": there is no such value (did you mean \"embedded\"?); known here: embedded, memory",
        "waypost.toml:6: store.segment_size: 1KiB is out of range; it must be between 64KiB and 1GiB",
        "waypost.toml:8: log.level: ",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for start in starts {
        assert!(found.iter().any(|line| line.starts_with(start)), "{start} is not in {found:#?}");
    }
}

#[test]
fn beyond_loopback_only_with_open_eyes() {
    assert!(parse("[agents]\nlisten = '0.0.0.0:8481'\ninsecure = true", Path::new("")).is_ok());
    for section in ["agents", "admin"] {
        let told = &problems(&format!("[{section}]\nlisten = '[::]:8481'"))[0];
        assert!(told.contains("no tls and no auth.tokens_file") && told.contains("insecure = true"), "{told}");
    }
    assert!(problems("[edge]\nlisten = '0.0.0.0:8480'")[0].contains("no tls;"));
}

#[test]
fn beyond_loopback_with_tls_and_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(vec!["broker.example.com".to_owned()]).unwrap();
    fs::write(dir.path().join("broker.pem"), pair.cert.pem()).unwrap();
    fs::write(dir.path().join("broker.key"), pair.signing_key.serialize_pem()).unwrap();
    fs::write(dir.path().join("tokens.toml"), "").unwrap();
    let tls = "tls = { certificate = 'broker.pem', key = 'broker.key' }";
    let secured =
        format!("[edge]\nlisten = '0.0.0.0:1'\n{tls}\n[agents]\nlisten = '0.0.0.0:2'\n{tls}\n[admin]\nlisten = '0.0.0.0:3'\n{tls}\n");
    let check = |text: &str| parse(text, &dir.path().join("waypost.toml")).map(drop).map_err(|problems| problems.to_string());
    assert_eq!(check(&format!("{secured}[auth]\ntokens_file = 'tokens.toml'")), Ok(()));
    let without = check(&secured).unwrap_err();
    assert!(without.contains("agents.listen") && without.contains("no auth.tokens_file;") && !without.contains("edge"), "{without}");

    fs::write(dir.path().join("broker.key"), rcgen::KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let told = check(&format!("{secured}[auth]\ntokens_file = 'missing.toml'")).unwrap_err();
    for said in ["edge.tls: ", "cannot be used together", "auth.tokens_file: ", "waypost token create"] {
        assert!(told.contains(said), "{said}: {told}");
    }
}

#[test]
fn what_does_not_go_together_is_refused() {
    assert!(problems("[admin]\nlisten = '127.0.0.1:8480'")[0].contains("[edge] as well"));
    assert!(problems("[store]\nmax_size = '100MiB'")[0].contains("store.segment_size"));
}

#[test]
fn a_file_that_is_no_toml_is_told_with_its_line() {
    let found = problems("[edge]\nlisten = \n");
    assert!(found[0].starts_with("waypost.toml:2: "), "{}", found[0]);
}

#[test]
fn a_configuration_is_not_small_print() {
    // Every key of the defaults is explained: a comment stands above it or above the lines it belongs to.
    let mut explained = false;
    for line in super::DEFAULTS.lines() {
        match line.trim_start().chars().next() {
            Some('#') => explained = true,
            Some('[') | None => {}
            Some(_) => assert!(explained, "nothing explains {line:?}"),
        }
        explained &= !line.is_empty();
    }
}
