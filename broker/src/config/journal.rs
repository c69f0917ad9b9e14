//! `[journal]`: what is kept of the requests that came to the edge.

use std::path::PathBuf;

use http::HeaderName;
use serde::Deserialize;

use super::{Engine, Findings, Size, Span, StoreConfig};
use crate::{
    journal::{JournalRules, mask::PathPattern},
    limits,
};

/// What is kept of the requests that came to the edge.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JournalConfig {
    /// Whether anything is.
    pub enabled: bool,
    /// How long.
    pub max_age: Span,
    /// The most bytes of all of it.
    pub max_size: Size,
    /// The most bytes of one body.
    pub max_body: Size,
    /// Headers whose values are masked, beside those that always are.
    pub mask_headers: Vec<String>,
    /// Values of payloads that are masked.
    pub mask_paths: Vec<String>,
}

impl JournalConfig {
    pub(super) fn check(&self, findings: &mut Findings) {
        findings.between("max_age", self.max_age, Span::from_millis(60_000), Span::from_millis(366 * 86_400_000));
        findings.between("max_size", self.max_size, Size::from_bytes(1 << 20), Size::from_bytes(1 << 40));
        findings.between("max_body", self.max_body, Size::from_bytes(0), Size::from_bytes(limits::MAX_WEBHOOK_BYTES as u64));
        for name in &self.mask_headers {
            if name.parse::<HeaderName>().is_err() {
                findings.wrong("mask_headers", format_args!("{name:?} is not the name of a header"));
            }
        }
        for path in &self.mask_paths {
            if let Err(problem) = path.parse::<PathPattern>() {
                findings.wrong("mask_paths", problem);
            }
        }
    }

    /// The rules of the journal, whose file is in the folder of the store; `None` if it is turned off.
    #[must_use]
    pub fn rules(&self, store: &StoreConfig) -> Option<JournalRules> {
        let file: Option<PathBuf> = (store.engine == Engine::Embedded).then(|| store.data_dir.join(waypost_store::JOURNAL_FILE));
        self.enabled.then(|| JournalRules {
            file,
            max_age: self.max_age.get(),
            max_size: self.max_size.bytes(),
            max_body: self.max_body.to_usize(),
            mask_headers: self.mask_headers.iter().filter_map(|name| name.parse().ok()).collect(),
            mask_paths: self.mask_paths.iter().filter_map(|path| path.parse().ok()).collect(),
        })
    }
}
