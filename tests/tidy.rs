//! The rules of this code base that no compiler checks.
//!
//! Constraints: reads the tree and nothing else; every failure names file, line and rule; an exception stands in a list here, with its
//! reason.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The most lines of a file. Aim at 400.
const MAX_FILE_LINES: usize = 600;
/// The most lines of a function. Aim at 70.
const MAX_FUNCTION_LINES: usize = 100;

/// Files and functions that may be longer: (path, or path and function, why).
const LONGER: [(&str, &str); 0] = [];

/// Where the clock may be read: (start of the path, why).
const CLOCKS: [(&str, &str); 5] = [
    ("broker/src/clock.rs", "it is the clock"),
    ("broker/src/dispatcher/", "heartbeats and idle tasks, by tokio's clock, which tests pause; no record and no decision depends on it"),
    (
        "broker/src/journal/file.rs",
        "when a journal that could not be written is tried again, by tokio's clock; nothing that is kept depends on it",
    ),
    ("broker/store/src/embedded/os_disk.rs", "how long the disk takes, for operators to see; no decision depends on it"),
    ("broker/store/src/testing/", "test doubles, by tokio's clock, which tests pause"),
];

/// Whose public functions say what becomes of them when they fail, or are dropped: the crate that others build on.
const FOR_OTHERS: [&str; 2] = ["agent-client/src/", "broker/src/testing/"];

/// Where random numbers may be drawn without a seed: (start of the path, why).
const DICE: [(&str, &str); 2] =
    [("broker/src/entropy.rs", "it is the entropy"), ("broker/store/src/embedded/salt.rs", "salts of segments: no answer depends on them")];

/// Where test code may sleep: (start of the path, why).
const SLEEPS: [(&str, &str); 3] = [
    ("tests/sim/life.rs", "its runtime is paused"),
    ("tests/sim/world.rs", "its runtime is paused"),
    ("tests/bench/", "a benchmark waits for a process to come up, and measures real time"),
];

const SKIPPED_FOLDERS: [&str; 6] = ["target", ".git", ".cache", "node_modules", "__pycache__", "generated"];

struct Source {
    /// Relative to the root, with slashes.
    path: String,
    text: String,
}

impl Source {
    fn is_test(&self) -> bool {
        let last = self.path.rsplit('/').next().unwrap_or_default();
        self.path.starts_with("tests/") || self.path.contains("/tests/") || last == "tests.rs" || last.ends_with("_tests.rs")
    }

    /// The line from which on the file is test code.
    fn tests_from(&self) -> usize {
        if self.is_test() {
            return 0;
        }
        let mut lines = self.text.lines().collect::<Vec<_>>().into_iter().enumerate().peekable();
        while let Some((number, line)) = lines.next() {
            let next = lines.peek().map_or("", |(_, line)| *line);
            if line == "#[cfg(test)]" && next.starts_with("mod ") && next.ends_with('{') {
                return number;
            }
        }
        usize::MAX
    }

    fn lines_of(&self, test: bool) -> impl Iterator<Item = (usize, &str)> {
        let from = self.tests_from();
        self.text.lines().enumerate().filter(move |(number, _)| (*number >= from) == test).map(|(number, line)| (number + 1, line))
    }

    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines_of(false).filter(|(_, line)| !line.trim_start().starts_with("//"))
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn files(accept: impl Fn(&str) -> bool) -> Vec<Source> {
    let root = root();
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name) {
                    folders.push(path);
                }
            } else if accept(name)
                && let Ok(text) = fs::read_to_string(&path)
            {
                let path = path.strip_prefix(&root).unwrap().to_str().unwrap().replace('\\', "/");
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn rust() -> Vec<Source> {
    files(|name| name.ends_with(".rs"))
}

/// This file names what it forbids.
fn others() -> impl Iterator<Item = Source> {
    rust().into_iter().filter(|source| source.path != "tests/tidy.rs")
}

fn allowed(list: &[(&str, &str)], what: &str) -> bool {
    list.iter().any(|(path, reason)| what.starts_with(path) && !reason.is_empty())
}

fn none(broken: Vec<String>) {
    assert!(broken.is_empty(), "\n{}\n", broken.join("\n"));
}

/// (name, first line, number of lines) of each function, by the indentation that rustfmt gives.
fn functions(text: &str) -> Vec<(String, usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let words: Vec<_> = code.split_whitespace().take_while(|word| *word != "fn").collect();
        let qualifiers = ["pub", "pub(crate)", "pub(super)", "async", "const", "unsafe", "extern"];
        if !code.contains("fn ") || !words.iter().all(|word| qualifiers.contains(word)) {
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        let ends = |line: &str| line.strip_prefix(indent).is_some_and(|rest| rest == "}" || (rest.starts_with(')') && rest.ends_with(';')));
        let whole_in_one = line.ends_with(';') || line.ends_with('}');
        let length = if whole_in_one { 1 } else { lines[start..].iter().position(|line| ends(line)).map_or(0, |end| end + 1) };
        let name = code.split("fn ").nth(1).unwrap_or_default();
        found.push((name.split(['(', '<']).next().unwrap_or_default().to_owned(), start + 1, length));
    }
    found
}

#[test]
fn no_file_and_no_function_is_too_long() {
    let mut broken = Vec::new();
    for source in rust() {
        let lines = source.text.lines().count();
        if lines > MAX_FILE_LINES && !allowed(&LONGER, &source.path) {
            broken.push(format!("{}: {lines} lines, at most {MAX_FILE_LINES}; split it by domain", source.path));
        }
        for (name, line, length) in functions(&source.text) {
            if length > MAX_FUNCTION_LINES && !allowed(&LONGER, &format!("{}:{name}", source.path)) {
                broken.push(format!("{}:{line}: {name} has {length} lines, at most {MAX_FUNCTION_LINES}", source.path));
            }
        }
    }
    none(broken);
}

#[test]
fn every_module_says_what_it_is_first() {
    none(rust().iter().filter(|source| !source.text.starts_with("//!")).map(|s| format!("{}:1: begin with //!", s.path)).collect());
}

#[test]
fn no_file_is_a_drawer() {
    let drawers = ["utils", "util", "common", "helpers", "helper", "misc", "impls"];
    let is_drawer = |path: &str| path.split('/').any(|part| drawers.contains(&part.trim_end_matches(".rs")));
    let found = rust().into_iter().filter(|source| is_drawer(&source.path));
    none(found.map(|source| format!("{}: name it after what it holds", source.path)).collect());
}

#[test]
fn module_roots_hold_no_logic() {
    let mut broken = Vec::new();
    for source in others().filter(|source| source.path.contains("src/")) {
        if !(source.path.ends_with("/mod.rs") || source.path.ends_with("/lib.rs")) || source.is_test() {
            continue;
        }
        for (number, line) in source.code().filter(|(_, line)| line.trim_start().starts_with("impl ") || line.contains("fn ")) {
            broken.push(format!("{}:{number}: a mod.rs or lib.rs holds docs and re-exports only: {line}", source.path));
        }
    }
    none(broken);
}

#[test]
fn no_file_is_dead() {
    let sources = rust();
    let mut broken = Vec::new();
    for source in sources.iter().filter(|source| source.path.contains("/src/")) {
        let (krate, file) = source.path.split_once("/src/").unwrap();
        let parts: Vec<_> = file.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect();
        let name = parts.last().unwrap();
        if ["lib", "main"].contains(name) || file.starts_with("bin/") {
            continue;
        }
        let declares = |other: &&Source| {
            other.path.starts_with(krate) && other.text.lines().any(|line| line.trim_start().ends_with(&format!("mod {name};")))
        };
        if !sources.iter().any(|other| declares(&other)) {
            broken.push(format!("{}: no module declares it", source.path));
        }
    }
    none(broken);
}

#[test]
fn no_test_sleeps_or_is_ignored() {
    let mut broken = Vec::new();
    for source in others() {
        // With paused time a sleep is a jump of the clock.
        let paused = source.text.contains("start_paused = true") || allowed(&SLEEPS, &source.path);
        for (number, line) in source.lines_of(true) {
            if line.contains("sleep(") && !paused {
                broken.push(format!("{}:{number}: await a condition, or pause the time: {}", source.path, line.trim()));
            }
            if line.trim_start().starts_with("#[ignore") {
                broken.push(format!("{}:{number}: a test that is not run proves nothing", source.path));
            }
        }
    }
    none(broken);
}

/// A comparison that ends at the first difference tells how much of a secret was right.
#[test]
fn what_senders_send_is_held_against_secrets_in_constant_time() {
    let secret = [".expose()", "candidate"];
    let early = [" == ", " != ", ".eq(", ".starts_with(", ".ends_with(", ".contains("];
    let mut broken = Vec::new();
    for source in others().filter(|source| source.path.starts_with("broker/src/")) {
        for (number, line) in source.code().filter(|(_, line)| secret.iter().any(|word| line.contains(word))) {
            if early.iter().any(|call| line.contains(call)) && !line.contains(".len() ==") {
                broken.push(format!("{}:{number}: compare with subtle, as verify/mac.rs does: {}", source.path, line.trim()));
            }
        }
    }
    let engine =
        others().filter(|source| source.path.starts_with("broker/src/ingress/verify/")).map(|source| source.text).collect::<String>();
    assert!(engine.contains("ct_eq") && engine.contains("candidate"), "the comparison is elsewhere now, and this rule with it");
    none(broken);
}

#[test]
fn time_and_chance_have_one_place_each() {
    let clocks = ["Instant::now", "SystemTime::now", "Timestamp::now"];
    let dice = [
        "Rng::new()",
        "fastrand::u",
        "fastrand::bool",
        "fastrand::shuffle",
        "Uuid::now_v7",
        "Uuid::new_v4",
        "getrandom::fill",
        "RandomState",
    ];
    let mut broken = Vec::new();
    for source in others().filter(|source| source.path.starts_with("broker/") && source.path.contains("/src/")) {
        for (number, line) in source.code() {
            if clocks.iter().any(|call| line.contains(call)) && !allowed(&CLOCKS, &source.path) {
                broken.push(format!("{}:{number}: take the time from clock.rs: {}", source.path, line.trim()));
            }
            if dice.iter().any(|call| line.contains(call)) && !allowed(&DICE, &source.path) {
                broken.push(format!("{}:{number}: take random numbers from entropy.rs: {}", source.path, line.trim()));
            }
        }
    }
    none(broken);
}

#[test]
fn nothing_is_left_over() {
    let mut broken = Vec::new();
    for source in others() {
        for (number, line) in source.text.lines().enumerate() {
            if ["todo!(", "unimplemented!(", "FIXME", "XXX", "dbg!("].iter().any(|left| line.contains(left)) {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none(broken);
}

/// The documentation above each public function, with the first line of its signature.
fn public_functions(source: &Source) -> Vec<(usize, String, String)> {
    let mut found = Vec::new();
    let mut docs = String::new();
    for (number, line) in source.lines_of(false) {
        let code = line.trim_start();
        if let Some(text) = code.strip_prefix("///") {
            docs.push_str(text.trim());
            docs.push('\n');
        } else if code.starts_with("pub fn ") || code.starts_with("pub async fn ") {
            found.push((number, code.to_owned(), std::mem::take(&mut docs)));
        } else if !code.starts_with("#[") {
            docs.clear();
        }
    }
    found
}

#[test]
fn what_agents_call_says_how_it_fails_and_what_a_drop_does() {
    let mut broken = Vec::new();
    for source in others().filter(|source| FOR_OTHERS.iter().any(|folder| source.path.starts_with(folder))) {
        for (number, code, docs) in public_functions(&source) {
            let says = |section: &str| docs.lines().any(|line| line == section);
            let place = format!("{}:{number}: {code}", source.path);
            if code.contains("async fn") && !says("# Cancel safety") {
                broken.push(format!("{place}: say under \"# Cancel safety\" what becomes of it when its future is dropped"));
            }
            if code.contains("-> Result<") && !says("# Errors") {
                broken.push(format!("{place}: say under \"# Errors\" when it fails"));
            }
        }
    }
    none(broken);
}

#[test]
fn functions_with_their_documentation_are_found() {
    let text =
        "/// One.\n///\n/// # Errors\n#[must_use]\npub fn one() -> Result<(), ()> {\n}\n\n/// Two.\nstruct A;\npub async fn two() {}\n";
    let source = Source { path: "agent-client/src/x.rs".into(), text: text.into() };
    let found = public_functions(&source);
    assert_eq!(found[0], (5, "pub fn one() -> Result<(), ()> {".into(), "One.\n\n# Errors\n".into()));
    assert_eq!(found[1], (10, "pub async fn two() {}".into(), String::new()));
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    let text =
        |name: &str| [".rs", ".md", ".toml", ".proto", ".py", ".ts", ".sh", ".json", "run", "test"].iter().any(|end| name.ends_with(end));
    let homes = ["/home/", "/root/", "/Users/", "/work/"];
    let mut broken = Vec::new();
    for source in files(text).into_iter().filter(|source| source.path != "tests/tidy.rs") {
        for (number, line) in source.text.lines().enumerate() {
            let is_path =
                |home: &&str| line.match_indices(*home).any(|(at, _)| !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '.'));
            if homes.iter().any(is_path) {
                broken.push(format!("{}:{}: {}", source.path, number + 1, line.trim()));
            }
        }
    }
    none(broken);
}

#[test]
fn crates_depend_on_no_more_than_they_may() {
    let dependencies = |manifest: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(root().join(manifest)).unwrap();
        let section = text.split("\n[").find_map(|section| section.strip_prefix("dependencies]")).unwrap_or_default().to_owned();
        let names = section.lines().filter(|line| !line.trim_start().starts_with('#'));
        names.filter_map(|line| line.split(['.', ' ', '=']).next()).filter(|name| !name.is_empty()).map(str::to_owned).collect()
    };
    let machine = dependencies("broker/delivery/Cargo.toml");
    assert!(machine.iter().all(|name| name == "thiserror"), "the machine knows the standard library only: {machine:?}");
    let store = dependencies("broker/store/Cargo.toml");
    for forbidden in ["tonic", "axum", "hyper", "prost", "waypost-proto", "waypost-delivery"] {
        assert!(!store.contains(forbidden), "the store must not know {forbidden}");
    }
    let client = dependencies("agent-client/Cargo.toml");
    assert!(!client.iter().any(|name| name.starts_with("waypost-") && name != "waypost-proto"), "the client knows the contract only");
}

#[test]
fn semantics_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/semantics.md")).unwrap();
    let tests: BTreeSet<String> = rust().iter().flat_map(|source| functions(&source.text)).map(|(name, ..)| name).collect();
    let table = text.split("## Proofs").nth(1).expect("docs/semantics.md has a section ## Proofs");
    let rows = table.lines().filter(|line| line.starts_with('|'));
    let named: Vec<_> = rows.flat_map(|row| row.split('`').skip(1).step_by(2)).collect();
    for promise in 1..=14 {
        assert!(named.iter().any(|name| name.starts_with(&format!("p{promise}_"))), "docs/semantics.md: P{promise} has no test");
    }
    none(named.iter().filter(|name| !tests.contains(**name)).map(|name| format!("docs/semantics.md: there is no test {name}")).collect());
}

#[test]
fn the_threat_model_names_tests_that_exist() {
    let text = fs::read_to_string(root().join("docs/threat-model.md")).unwrap();
    let tests: BTreeSet<String> = rust().iter().flat_map(|source| functions(&source.text)).map(|(name, ..)| name).collect();
    let rows = text.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| against"));
    let proofs = rows.map(|row| row.rsplit(" | ").next().unwrap_or_default());
    let named = proofs.flat_map(|proofs| proofs.split('`').skip(1).step_by(2)).filter(|name| !name.contains('/'));
    none(named.filter(|name| !tests.contains(*name)).map(|name| format!("docs/threat-model.md: there is no test {name}")).collect());
}

#[test]
fn functions_are_measured() {
    let text = "fn one() {}\n\nimpl A {\n    pub async fn two(\n        a: u8,\n    ) -> u8 {\n        a\n    }\n\n    fn three(\n        a: u8,\n    );\n}\n";
    let expected = [("one", 1, 1), ("two", 4, 5), ("three", 10, 3)];
    assert_eq!(functions(text), expected.map(|(name, line, length)| (name.to_owned(), line, length)));
}
