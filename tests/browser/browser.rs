//! Chromium, driven by `cases.js` in a process of its own.
//!
//! Constraint: a case that fails says what it saw, and leaves a picture of the page.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::OnceLock,
};

use serde_json::Value;
use tokio::{process::Command, sync::Semaphore, time::timeout};

use crate::{PATIENCE, scene::Scene};

/// What `prepare` found.
struct Tools {
    packages: String,
    chromium: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("browser")
}

fn tools() -> &'static Tools {
    static TOOLS: OnceLock<Tools> = OnceLock::new();
    TOOLS.get_or_init(|| {
        let script = folder().join("prepare");
        let done = std::process::Command::new(&script).stderr(Stdio::inherit()).output();
        let done = done.unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        assert!(done.status.success(), "{} ended with {}; see its messages above", script.display(), done.status);
        let text = String::from_utf8(done.stdout).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        Tools { packages: lines.next().unwrap(), chromium: lines.next().unwrap() }
    })
}

/// Browsers are large: two at a time are enough.
static BROWSERS: Semaphore = Semaphore::const_new(2);

/// Runs a case against a broker's page; `given` is what it needs to know of the scene.
pub(crate) async fn look(case: &str, scene: &Scene, given: Value) {
    let _one = BROWSERS.acquire().await.unwrap();
    let tools = tokio::task::spawn_blocking(tools).await.unwrap();
    let pictures = std::env::var_os("WAYPOST_PICTURES").map_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures"), Into::into);
    std::fs::create_dir_all(&pictures).unwrap();
    let mut command = Command::new("node");
    command
        .arg(folder().join("cases.js"))
        .arg(case)
        .env("PAGE", &scene.broker.admin)
        .env("GIVEN", given.to_string())
        .env("PACKAGES", &tools.packages)
        .env("CHROMIUM", &tools.chromium)
        .env("PICTURES", &pictures)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = timeout(PATIENCE, command.output()).await.unwrap_or_else(|_| panic!("{case} did not end within {PATIENCE:?}"));
    let ended = ended.unwrap_or_else(|error| panic!("node: {error}; install Node 20 or later"));
    let said = [ended.stdout, ended.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(ended.status.success(), "{case}: {}\n{said}\npictures are in {}", ended.status, pictures.display());
}
