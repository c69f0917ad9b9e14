//! `waypost verify`: a captured request against the configuration, offline: which step fails, and why.
//!
//! Constraints: it goes the way of the edge, with the edge's own code; nothing is stored, fetched or sent; no secret is printed.

use std::{fs, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{args::ConfigArgs, check, failure::Failure, output, table::clean};
use crate::{
    clock::Clock,
    entropy::Entropy,
    ingress::{
        Checked, Source,
        verify::{Around, KeySet, Verifier},
    },
    journal::mask::MASKED,
};

/// What `verify` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct VerifyArgs {
    /// The configuration that the broker has.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// The name of the source
    #[arg(long, value_name = "NAME")]
    pub source: String,
    /// The captured request
    #[arg(long, value_name = "FILE")]
    pub capture: PathBuf,
    /// When it came, such as 2026-01-31T12:00:00Z, if the capture does not say
    #[arg(long, value_name = "TIME")]
    pub at: Option<jiff::Timestamp>,
    /// The provider's keys (a JWKS, or a certificate in PEM), for providers that publish them
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    pub json: bool,
}

/// A request as it was captured.
#[derive(Debug)]
struct Capture {
    method: Method,
    target: Uri,
    headers: HeaderMap,
    body: Bytes,
    /// When it came, in microseconds since 1970, if the capture says.
    at: Option<u64>,
    /// What was taken out of it, or is missing.
    notes: Vec<String>,
}

/// Says what the edge would, and why.
///
/// # Errors
/// When the request would not be accepted, or there is nothing to look at.
pub fn run(args: &VerifyArgs) -> Result<(), Failure> {
    let setup = check::load(&args.config)?;
    let source = setup.sources.get(&args.source).ok_or_else(|| {
        let known: Vec<_> = setup.sources.iter().map(|source| source.name.to_string()).collect();
        let known = if known.is_empty() { "none; name the broker's configuration with --config".to_owned() } else { known.join(", ") };
        Failure::Failed(format!("there is no source {:?}; configured: {known}", args.source))
    })?;
    let text = fs::read(&args.capture).map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", args.capture.display())))?;
    let capture = read(&text).map_err(|problem| Failure::Failed(format!("{}: {problem}", args.capture.display())))?;
    let fetched = args.keys.as_ref().map(|path| keys(source, path)).transpose()?;
    let others: Vec<(&str, &Verifier)> = setup
        .sources
        .iter()
        .filter(|other| other.name != source.name)
        .filter_map(|other| Some((&*other.name, other.verifier()?)))
        .collect();
    let around = Around { fetched: fetched.as_ref(), others: &others };
    let given = args.at.map(|at| u64::try_from(at.as_microsecond()).unwrap_or(0)).or(capture.at);
    let checked = source.check(capture.request(), given, around, &Entropy::from_os(), Clock::from_wall().now());
    print(args, &capture, &checked, given.is_none())
}

fn print(args: &VerifyArgs, capture: &Capture, checked: &Checked, is_timeless: bool) -> Result<(), Failure> {
    let mut notes = capture.notes.clone();
    if is_timeless && checked.is_timed {
        notes.push("the capture does not say when it came: the signed time is not checked; give it with --at".to_owned());
    }
    if args.json {
        let steps: Vec<Value> = checked.steps.iter().map(|(step, said)| json!({ "step": step, "result": said })).collect();
        let failed = checked.failed.as_ref().map(|(step, why)| json!({ "step": step, "reason": why.reason, "why": why.text }));
        output::line(json!({ "verified": checked.failed.is_none(), "steps": steps, "failed": failed, "notes": notes }));
    } else {
        for (step, said) in &checked.steps {
            output::line(format_args!("ok    {step:<12} {}", clean(said)));
        }
        if let Some((step, why)) = &checked.failed {
            output::line(format_args!("FAIL  {step:<12} {}: {}", why.reason, clean(&why.text)));
        }
        for note in &notes {
            output::line(format_args!("note  {}", clean(note)));
        }
    }
    match &checked.failed {
        None => Ok(()),
        Some((step, why)) => Err(Failure::Failed(format!("the step {step} fails: {}", why.reason))),
    }
}

fn keys(source: &Source, path: &std::path::Path) -> Result<KeySet, Failure> {
    let reading = source.verifier().and_then(|verifier| verifier.scheme().reading());
    let reading = reading.ok_or_else(|| Failure::Usage(format!("--keys: the provider of {} publishes no keys", source.name)))?;
    let bytes = fs::read(path).map_err(|error| Failure::Failed(format!("{} cannot be read: {error}", path.display())))?;
    let keys = reading.read(&bytes).and_then(|keys| keys.ok_or_else(|| "the key holds no longer".to_owned()));
    keys.map_err(|problem| Failure::Failed(format!("{}: {problem}", path.display())))
}

impl Capture {
    fn request(&self) -> http::Request<Bytes> {
        let mut request = http::Request::new(self.body.clone());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone();
        *request.headers_mut() = self.headers.clone();
        request
    }
}

/// Reads a capture: what `waypost webhooks show --json` prints, or an HTTP request as it goes over the wire.
fn read(text: &[u8]) -> Result<Capture, String> {
    match text.trim_ascii_start().first() {
        Some(b'{') => journalled(text),
        _ => raw(text),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    webhook: ShownWebhook,
    #[serde(default)]
    headers: Vec<ShownHeader>,
    #[serde(default)]
    body: Option<String>,
    #[serde(default, rename = "body_base64")]
    body_base64: Option<String>,
    #[serde(default)]
    body_masked: bool,
    #[serde(default)]
    body_cut: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ShownWebhook {
    #[serde(default)]
    method: String,
    #[serde(default)]
    target: String,
    #[serde(default)]
    received_at: Option<String>,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
struct ShownHeader {
    name: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    masked: bool,
}

fn journalled(text: &[u8]) -> Result<Capture, String> {
    let shown: Shown = serde_json::from_slice(text).map_err(|error| {
        format!("is not a request as `waypost webhooks show --json` prints it: {error}; a capture may also be an HTTP request as it is sent: POST /path HTTP/1.1, headers, an empty line, the body")
    })?;
    let mut notes = Vec::new();
    let mut headers = HeaderMap::new();
    for ShownHeader { name, value, masked } in shown.headers {
        if masked || value.contains(MASKED) {
            notes.push(format!("the header {name} is masked in this capture"));
        }
        append(&mut headers, &name, value.as_bytes())?;
    }
    if shown.body_masked {
        notes.push("parts of the body are masked in this capture: no signature over it can fit".to_owned());
    }
    if shown.body_cut {
        notes.push("only the beginning of the body is in this capture: no signature over it can fit".to_owned());
    }
    if !shown.webhook.detail.is_empty() {
        notes.push(format!("when it came, the broker found: {}", shown.webhook.detail));
    }
    let body = match (shown.body, shown.body_base64) {
        (_, Some(encoded)) => STANDARD.decode(encoded).map_err(|error| format!("body_base64 is not base64: {error}"))?,
        (text, None) => text.unwrap_or_default().into_bytes(),
    };
    let at = shown.webhook.received_at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    Ok(Capture {
        method: method(&shown.webhook.method)?,
        target: target(&shown.webhook.target)?,
        headers,
        body: body.into(),
        at: at.and_then(|at| u64::try_from(at.as_microsecond()).ok()),
        notes,
    })
}

/// An HTTP request as it is sent. Lines of the head may end with or without a carriage return; the body is everything after the empty line,
/// to the last byte.
fn raw(text: &[u8]) -> Result<Capture, String> {
    let (mut rest, mut lines) = (text, Vec::new());
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or("has no empty line between its headers and its body")?;
        let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
        rest = &rest[end + 1..];
        if line.is_empty() && !lines.is_empty() {
            break;
        }
        lines.push(line);
    }
    let first = lines.first().map(|line| String::from_utf8_lossy(line).into_owned()).unwrap_or_default();
    let mut words = first.split_ascii_whitespace();
    let wrong = || format!("begins with {first:?}, where a request line is due, such as POST /hooks/github HTTP/1.1");
    let (verb, path) = words.next().zip(words.next()).ok_or_else(wrong)?;
    let mut headers = HeaderMap::new();
    for line in &lines[1..] {
        let colon =
            line.iter().position(|byte| *byte == b':').ok_or_else(|| format!("{:?} is not a header", String::from_utf8_lossy(line)))?;
        append(&mut headers, &String::from_utf8_lossy(&line[..colon]), line[colon + 1..].trim_ascii())?;
    }
    let mut notes = Vec::new();
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if let Some(length) = announced.filter(|length| *length != rest.len()) {
        notes.push(format!("content-length says {length} bytes, and the capture has {} after its empty line", rest.len()));
    }
    Ok(Capture { method: method(verb)?, target: target(path)?, headers, body: Bytes::copy_from_slice(rest), at: None, notes })
}

fn append(headers: &mut HeaderMap, name: &str, value: &[u8]) -> Result<(), String> {
    let name: HeaderName = name.trim().parse().map_err(|_| format!("{name:?} is not the name of a header"))?;
    let value = HeaderValue::from_bytes(value).map_err(|_| format!("the value of {name} cannot stand in a header"))?;
    headers.append(name, value);
    Ok(())
}

fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| format!("{text:?} is not a method"))
}

fn target(text: &str) -> Result<Uri, String> {
    text.parse().map_err(|_| format!("{text:?} is not a path"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_request_is_read_byte_for_byte() {
        for end in ["\r\n", "\n"] {
            let text = format!("POST /hooks/x?a=1 HTTP/1.1{end}Host: h{end}X-Sig:  ab {end}X-Sig: cd{end}{end}line\r\n\r\n{{}} \n");
            let capture = read(text.as_bytes()).unwrap();
            assert_eq!((&capture.method, capture.target.to_string()), (&Method::POST, "/hooks/x?a=1".to_owned()));
            let values: Vec<_> = capture.headers.get_all("x-sig").iter().map(|value| value.to_str().unwrap()).collect();
            assert_eq!((values, &*capture.body), (vec!["ab", "cd"], &b"line\r\n\r\n{} \n"[..]));
        }
        assert!(read(b"POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}").unwrap().notes[0].contains("says 3 bytes"));
        for (text, problem) in
            [("{}", "webhook"), ("hello", "empty line"), ("hello\n\n", "request line"), ("POST /x\nno header\n\n", "not a header")]
        {
            let error = read(text.as_bytes()).unwrap_err();
            assert!(error.contains(problem), "{error}");
        }
    }

    #[test]
    fn what_the_journal_masked_is_said_to_be_masked() {
        let text = r#"{"webhook":{"method":"POST","target":"/hooks/x","receivedAt":"2026-01-01T00:00:00Z","detail":"because"},
            "headers":[{"name":"x-sig","value":"sha256=(masked)","masked":true}],"body":"{}","bodyMasked":true}"#;
        let capture = read(text.as_bytes()).unwrap();
        assert_eq!(capture.at, Some(1_767_225_600_000_000));
        let notes = capture.notes.join("; ");
        assert!(notes.contains("x-sig is masked") && notes.contains("parts of the body") && notes.contains("because"), "{notes}");
        assert_eq!(read(br#"{"webhook":{"method":"POST","target":"/"},"body_base64":"AP8="}"#).unwrap().body, &[0, 255][..]);
    }

    proptest::proptest! {
        #[test]
        fn no_capture_makes_reading_it_panic(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), start in "(POST / HTTP/1.1\n|\\{\"webhook\":)?") {
            let _ = read(&[start.as_bytes(), &bytes].concat());
        }
    }
}
