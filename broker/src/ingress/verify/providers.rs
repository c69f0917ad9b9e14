//! The table of providers.
//!
//! Constraint: a provider is a row of `providers.toml` and a vector in the tests; no code knows a provider by name.

use std::{collections::BTreeMap, sync::LazyLock};

use super::Scheme;

static TABLE: LazyLock<Result<BTreeMap<String, Scheme>, String>> =
    LazyLock::new(|| toml::from_str(include_str!("providers.toml")).map_err(|error| error.to_string()));

/// The scheme of a provider.
///
/// # Errors
/// For people: which providers there are.
pub fn provider(name: &str) -> Result<&'static Scheme, String> {
    let table = TABLE.as_ref().map_err(|error| format!("the table of providers is broken: {error}"))?;
    table.get(name).ok_or_else(|| {
        let known = table.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
        format!("{name:?} is no provider; there are {known}; or describe a scheme: {{ signature = {{ header = \"X-Signature\" }} }}")
    })
}
