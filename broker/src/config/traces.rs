//! Traces of OpenTelemetry, and where they are sent.
//!
//! Constraints: nothing is sent unless an endpoint is given, here or by the variables that OpenTelemetry has for it; what goes into headers is
//! referred to, never written here; a variable that is empty is not there, as OpenTelemetry wants it.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    path::PathBuf,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::KeyValue;
use opentelemetry_sdk::{Resource, resource::EnvResourceDetector};
use serde::Deserialize;
use tonic::{
    metadata::MetadataMap,
    transport::{Certificate, ClientTlsConfig, Endpoint},
};

use super::{Findings, SecretRef, SourceConfig};
use crate::{entropy::Entropy, limits, trace::Collector};

/// Where the collector listens, the first that is set: they override `traces.endpoint`.
const ENDPOINT_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// What goes with every call beside `traces.headers`, the first that is set.
const HEADERS_VARIABLES: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
/// Overrides `traces.service_name`.
const SERVICE_VARIABLE: &str = "OTEL_SERVICE_NAME";
/// `true` turns it off, whatever else is set.
const DISABLED_VARIABLE: &str = "OTEL_SDK_DISABLED";

/// Traces, by OTLP over gRPC.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TracesConfig {
    /// The URL of the collector. Without one there are no traces.
    #[serde(default)]
    pub endpoint: Option<String>,
    /// The authority of its certificate, in PEM. Without it those of the operating system are trusted.
    #[serde(default)]
    pub ca: Option<PathBuf>,
    /// Headers of every call, such as `authorization`.
    #[serde(default)]
    pub headers: BTreeMap<String, SecretRef>,
    /// The share of traces that is recorded, of those that begin here.
    pub sample_ratio: f64,
    /// The sources whose senders decide themselves whether a trace that they bring is recorded.
    pub trusted_sources: BTreeSet<String>,
    /// What this broker is called in a trace.
    pub service_name: String,
    /// What else is said of it.
    #[serde(default)]
    pub resource: BTreeMap<String, String>,
}

/// The first of these variables that is set, with its value.
fn variable(names: &[&'static str]) -> Option<(&'static str, String)> {
    let set = |name: &&'static str| env::var(name).ok().filter(|value| !value.is_empty()).map(|value| (*name, value));
    names.iter().find_map(set)
}

/// The endpoint that the environment gives, and by which variable.
pub(super) fn endpoint_of_environment() -> Option<(&'static str, String)> {
    variable(&ENDPOINT_VARIABLES)
}

impl TracesConfig {
    /// What to send spans with; `None` if there is no collector, or something was reported.
    pub(super) fn build(&self, base: &Path, sources: &BTreeMap<String, SourceConfig>, findings: &mut Findings) -> Option<Collector> {
        for name in self.trusted_sources.iter().filter(|name| !sources.contains_key(*name)) {
            findings.wrong("trusted_sources", format_args!("{name:?} is no source; name those that stand in [sources]"));
        }
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            let text = format_args!("{} is out of range; it must be between 0 (nothing) and 1 (every trace)", self.sample_ratio);
            findings.wrong("sample_ratio", text);
        }
        let headers = self.headers(base, findings);
        let is_disabled = env::var(DISABLED_VARIABLE).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        let url = endpoint_of_environment().map(|(_, url)| url).or_else(|| self.endpoint.clone()).filter(|_| !is_disabled)?;
        let endpoint = self.endpoint(&url, base).map_err(|(key, text)| findings.wrong(key, text)).ok()?;
        Some(Collector {
            endpoint,
            headers: MetadataMap::from_headers(headers?),
            resource: self.resource(),
            sample_ratio: self.sample_ratio,
            trusted_sources: self.trusted_sources.clone(),
        })
    }

    fn endpoint(&self, url: &str, base: &Path) -> Result<Endpoint, (&'static str, String)> {
        let help = "give the URL of a collector that takes OTLP over gRPC, such as \"http://127.0.0.1:4317\"";
        let wrong = |text: String| ("endpoint", text);
        // A password in it would be shown wherever the URL is.
        if url.contains('@') {
            return Err(wrong("has a user or a password in it; put what the collector wants into traces.headers".to_owned()));
        }
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(format!("{url:?}: {error}; {help}")))?;
        let endpoint = endpoint.connect_timeout(limits::SPAN_CONNECT);
        match (endpoint.uri().scheme_str(), endpoint.uri().host()) {
            (Some("http"), Some(_)) if self.ca.is_none() => Ok(endpoint),
            (Some("http"), Some(_)) => Err(("ca", format!("is for TLS, and {url:?} is without; use https://"))),
            (Some("https"), Some(_)) => {
                let mut tls = ClientTlsConfig::new();
                match &self.ca {
                    None => tls = tls.with_native_roots(),
                    Some(ca) => {
                        let path = base.join(ca);
                        let pem = fs::read(&path).map_err(|error| ("ca", format!("{}: cannot be read: {error}", path.display())))?;
                        tls = tls.ca_certificate(Certificate::from_pem(pem));
                    }
                }
                endpoint.tls_config(tls).map_err(|error| wrong(format!("{url:?}: TLS cannot be set up: {error}")))
            }
            _ => Err(wrong(format!("{url:?} does not begin with http:// or https://; {help}"))),
        }
    }

    fn headers(&self, base: &Path, findings: &mut Findings) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let mut is_whole = true;
        for (name, value) in variable(&HEADERS_VARIABLES).iter().flat_map(|(_, listed)| listed_headers(listed)) {
            headers.insert(name, value);
        }
        for (name, reference) in &self.headers {
            match header(name, reference, base) {
                Ok((name, value)) => drop(headers.insert(name, value)),
                Err(problem) => {
                    findings.wrong(&format!("headers.{name}"), problem);
                    is_whole = false;
                }
            }
        }
        is_whole.then_some(headers)
    }

    /// What the environment says goes before what the file says.
    fn resource(&self) -> Resource {
        let instance = Entropy::from_os().number();
        let attributes = self.resource.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
        let resource = Resource::builder_empty()
            .with_service_name(self.service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", format!("{instance:016x}")))
            .with_attributes(attributes)
            .with_detector(Box::new(EnvResourceDetector::new()));
        match variable(&[SERVICE_VARIABLE]) {
            Some((_, name)) => resource.with_service_name(name).build(),
            None => resource.build(),
        }
    }
}

fn header(name: &str, reference: &SecretRef, base: &Path) -> Result<(HeaderName, HeaderValue), String> {
    let bad_name =
        || format!("{name:?} is no name of a gRPC header: a-z, 0-9, - and _, and nothing that ends in -bin or begins with grpc-");
    let parsed = HeaderName::from_bytes(name.as_bytes()).map_err(|_| bad_name())?;
    if parsed.as_str().ends_with("-bin") || parsed.as_str().starts_with("grpc-") {
        return Err(bad_name());
    }
    let secret = reference.resolve(base).map_err(|error| error.to_string())?;
    let value = HeaderValue::from_bytes(secret.expose()).ok().filter(|value| value.to_str().is_ok());
    let mut value = value.ok_or_else(|| format!("{reference}: what is there cannot be a header: it must be printable ASCII"))?;
    value.set_sensitive(true);
    Ok((parsed, value))
}

/// `key=value,key=value`, values encoded as in a URL. What is none is left out: it may be meant for others.
fn listed_headers(listed: &str) -> impl Iterator<Item = (HeaderName, HeaderValue)> {
    listed.split(',').filter_map(|entry| {
        let (name, value) = entry.split_once('=')?;
        let name = HeaderName::from_bytes(name.trim().to_ascii_lowercase().as_bytes()).ok()?;
        let mut value = HeaderValue::from_bytes(&decoded(value.trim())).ok().filter(|value| value.to_str().is_ok())?;
        value.set_sensitive(true);
        Some((name, value))
    })
}

/// With each `%xx` as the byte that it stands for.
fn decoded(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%').then(|| after.get(..2)).flatten().and_then(|digits| hex::decode(digits).ok());
        rest = if escaped.is_some() { &after[2..] } else { after };
        bytes.push(escaped.map_or(first, |byte| byte[0]));
    }
    bytes
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use crate::config::{Setup, parse};

    use super::*;

    fn traces(lines: &str, secret: &str) -> Result<Setup, String> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("secret"), secret).unwrap();
        parse(&format!("[traces]\n{lines}"), &dir.path().join("waypost.toml")).map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_is_sent_unless_somebody_says_where() {
        assert!(traces("", "x").unwrap().collector.is_none());
        let collector = traces("endpoint = 'http://127.0.0.1:4317'\nheaders = { authorization = 'file:secret' }", "Bearer hunter2\n");
        let setup = collector.unwrap();
        assert_eq!(setup.collector.as_ref().unwrap().headers.get("authorization").unwrap(), "Bearer hunter2");
        assert!(!format!("{setup:?}").contains("hunter2"), "a secret is in no output");
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (lines, told) in [
            ("endpoint = 'collector:4317'", "http://127.0.0.1:4317"),
            ("endpoint = 'ftp://collector:4317'", "does not begin with http:// or https://"),
            ("endpoint = 'http://me:hunter2@collector:4317'", "traces.headers"),
            ("endpoint = 'http://collector:4317'\nca = 'ca.pem'", "use https://"),
            ("endpoint = 'https://collector:4317'\nca = 'ca.pem'", "cannot be read"),
            ("endpoint = 'http://collector:4317'\nheaders = { 'x y' = 'file:secret' }", "no name of a gRPC header"),
            ("headers = { authorization = 'file:absent' }", "cannot be read"),
            ("headers = { authorization = 'Bearer hunter2' }", "env:NAME"),
            ("trusted_sources = ['carier']", "\"carier\" is no source"),
            ("sample_ratio = 1.5", "between 0 (nothing) and 1"),
            ("sample_ratio = nan", "between 0 (nothing) and 1"),
        ] {
            let problems = traces(lines, "x").unwrap_err();
            assert!(problems.contains(told) && !problems.contains("hunter2"), "{lines}: {problems}");
        }
    }

    #[test]
    fn headers_of_the_environment_are_read_as_others_write_them() {
        let headers: Vec<_> = listed_headers("Authorization=Basic%20QQ%3D%3D, x-tenant = 7 ,nonsense,=,bad name=1,x=%zz%").collect();
        let shown: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        assert_eq!(shown, [("authorization", "Basic QQ=="), ("x-tenant", "7"), ("x", "%zz%")]);
        assert!(headers.iter().all(|(_, value)| value.is_sensitive()));
    }
}
