//! What is done to webhooks on their way: bodies written again, signatures in another alphabet.
//!
//! Constraint: each change can be undone by one guess; numbers and texts of JSON stay as they are written, since a signature covers their bytes.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};

use super::body;

pub(super) fn base64_to_hex(text: &str) -> Option<String> {
    let bytes = STANDARD_NO_PAD.decode(text.trim_end_matches('=')).or_else(|_| URL_SAFE_NO_PAD.decode(text.trim_end_matches('='))).ok()?;
    Some(hex::encode(bytes))
}

pub(super) fn hex_to_base64(text: &str) -> Option<String> {
    hex::decode(text).ok().map(|bytes| STANDARD.encode(bytes))
}

pub(super) fn usual_base64(text: &str) -> Option<String> {
    text.contains(['-', '_']).then(|| text.replace('-', "+").replace('_', "/"))
}

/// Bodies that a body may have been, each with what was done to it since.
pub(super) fn bodies(body: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut bodies: Vec<(&'static str, Vec<u8>)> = Vec::new();
    let ends: [(&'static str, &[u8]); 3] = [
        ("a line break at its end was taken off", b"\n"),
        ("a line break (CRLF) at its end was taken off", b"\r\n"),
        ("a space at its end was taken off", b" "),
    ];
    bodies.extend(ends.map(|(how, end)| (how, [body, end].concat())));
    let trimmed = body.trim_ascii_end();
    if trimmed.len() < body.len() {
        bodies.push(("a line break or spaces were put at its end", trimmed.to_vec()));
        bodies.extend(body.strip_suffix(b"\n").map(|rest| ("a line break was put at its end", rest.to_vec())));
    }
    bodies.push(("spaces were put around it", body.trim_ascii().to_vec()));
    bodies.extend(body.strip_prefix(b"\xef\xbb\xbf").map(|rest| ("a byte order mark was put before it", rest.to_vec())));
    bodies.push(("its byte order mark was taken off", [b"\xef\xbb\xbf", body].concat()));
    if let Ok(text) = str::from_utf8(body) {
        if text.contains("\r\n") {
            bodies.push(("its line breaks became CRLF", text.replace("\r\n", "\n").into_bytes()));
        } else if text.contains('\n') {
            bodies.push(("its line breaks (CRLF) became LF", text.replace('\n', "\r\n").into_bytes()));
        }
        bodies.extend(forms(text));
        bodies.extend(tokens(text).map(|tokens| written_again(&tokens)).unwrap_or_default());
    }
    bodies.push(("it is missing from what was signed: the signature is that of an empty body", Vec::new()));
    bodies.retain(|(_, changed)| changed != body);
    bodies
}

/// A form that became the JSON in it, and the other way round.
fn forms(text: &str) -> Vec<(&'static str, Vec<u8>)> {
    let mut found = Vec::new();
    if text.starts_with(['{', '[']) {
        const HOW: &str = "form vs JSON: it was sent as a form, and this is the JSON of its field payload";
        found.extend(escaped(text).map(|payload| (HOW, format!("payload={payload}").into_bytes())));
    } else if let Some((_, payload)) = body::fields(text).and_then(|fields| fields.into_iter().find(|(name, _)| name == "payload")) {
        found.push(("form vs JSON: it was sent as JSON, and this is a form around it", payload.into_owned().into_bytes()));
    }
    found
}

/// A text as the value of a form, in the ways in which it is escaped.
fn escaped(text: &str) -> [String; 2] {
    ["+", "%20"].map(|space| {
        text.bytes().fold(String::with_capacity(text.len() * 3), |mut out, byte| {
            match byte {
                b' ' => out.push_str(space),
                byte if byte.is_ascii_alphanumeric() || b"-._*~".contains(&byte) && (byte != b'~' || space != "+") => {
                    out.push(char::from(byte));
                }
                byte => out.push_str(&format!("%{byte:02X}")),
            }
            out
        })
    })
}

/// The tokens of a JSON text without the space between them; `None` if it is none.
fn tokens(json: &str) -> Option<Vec<&str>> {
    serde_json::from_str::<serde::de::IgnoredAny>(json).ok()?;
    let (mut tokens, mut rest) = (Vec::new(), json.trim_start());
    while let Some(first) = rest.bytes().next() {
        let length = match first {
            b'"' => {
                let mut is_escaped = false;
                1 + rest[1..].find(|c| {
                    let is_end = c == '"' && !is_escaped;
                    is_escaped = c == '\\' && !is_escaped;
                    is_end
                })? + 1
            }
            b'{' | b'}' | b'[' | b']' | b',' | b':' => 1,
            _ => rest.find(|c: char| c.is_ascii_whitespace() || "{}[],:\"".contains(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        tokens.push(token);
        rest = after.trim_start();
    }
    Some(tokens)
}

/// How a library writes JSON.
struct Style {
    how: &'static str,
    comma: &'static str,
    colon: &'static str,
    /// For each depth; none: in one line.
    indent: &'static str,
}

const STYLES: [Style; 5] = [
    Style { how: "re-serialised: it was sent without spaces", comma: ",", colon: ":", indent: "" },
    Style { how: "re-serialised: it was sent with a space after each comma and colon", comma: ", ", colon: ": ", indent: "" },
    Style { how: "re-serialised: it was sent with a space after each colon", comma: ",", colon: ": ", indent: "" },
    Style { how: "re-serialised: it was sent indented by two spaces", comma: ",", colon: ": ", indent: "  " },
    Style { how: "re-serialised: it was sent indented by four spaces", comma: ",", colon: ": ", indent: "    " },
];

/// How a library writes texts.
const TEXTS: [fn(&str) -> String; 4] = [str::to_owned, ascii, plain, slashes];

/// The same JSON as other libraries would write it.
fn written_again(tokens: &[&str]) -> Vec<(&'static str, Vec<u8>)> {
    let mut written = Vec::new();
    for text in TEXTS {
        let changed: Vec<String> =
            tokens.iter().map(|token| if token.starts_with('"') { text(token) } else { (*token).to_owned() }).collect();
        for style in &STYLES {
            let json = laid_out(&changed, style);
            written.push((style.how, format!("{json}\n").into_bytes()));
            written.push((style.how, json.into_bytes()));
        }
    }
    written
}

fn laid_out(tokens: &[String], style: &Style) -> String {
    let (mut out, mut depth) = (String::new(), 0_usize);
    let line = |out: &mut String, depth: usize| {
        if !style.indent.is_empty() {
            out.push('\n');
            out.push_str(&style.indent.repeat(depth));
        }
    };
    for (index, token) in tokens.iter().enumerate() {
        match &**token {
            "{" | "[" => {
                out.push_str(token);
                depth += 1;
                let is_empty = tokens.get(index + 1).is_some_and(|next| next == "}" || next == "]");
                if !is_empty {
                    line(&mut out, depth);
                }
            }
            "}" | "]" => {
                depth = depth.saturating_sub(1);
                let was_empty = index > 0 && matches!(&*tokens[index - 1], "{" | "[");
                if !was_empty {
                    line(&mut out, depth);
                }
                out.push_str(token);
            }
            "," => {
                out.push_str(style.comma);
                line(&mut out, depth);
            }
            ":" => out.push_str(style.colon),
            token => out.push_str(token),
        }
    }
    out
}

/// With escapes such as `\u00e9` for what is not ASCII.
fn ascii(token: &str) -> String {
    let mut out = String::with_capacity(token.len());
    for c in token.chars() {
        if c.is_ascii() {
            out.push(c);
        } else {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
        }
    }
    out
}

/// With each character as it is, where JSON allows it.
fn plain(token: &str) -> String {
    serde_json::from_str::<String>(token).ok().and_then(|text| serde_json::to_string(&text).ok()).unwrap_or_else(|| token.to_owned())
}

/// With escaped slashes and escapes such as `\u00e9`, as PHP writes.
fn slashes(token: &str) -> String {
    ascii(&plain(token)).replace('/', "\\/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_laid_out_as_libraries_do() {
        let text = r#" {"a" :[ 1.50,{ }, []], "b/c":"\u00e9 é \" \\"} "#;
        let tokens = tokens(text).unwrap_or_default();
        let written: Vec<String> =
            written_again(&tokens).into_iter().map(|(_, json)| String::from_utf8_lossy(&json).into_owned()).collect();
        for expected in [
            r#"{"a":[1.50,{},[]],"b/c":"\u00e9 é \" \\"}"#,
            r#"{"a": [1.50, {}, []], "b/c": "\u00e9 \u00e9 \" \\"}"#,
            r#"{"a":[1.50,{},[]],"b\/c":"\u00e9 \u00e9 \" \\"}"#,
            "{\n  \"a\": [\n    1.50,\n    {},\n    []\n  ],\n  \"b/c\": \"é é \\\" \\\\\"\n}",
        ] {
            assert!(written.iter().any(|json| json == expected), "{expected}\nis not among\n{}", written.join("\n"));
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_a_guess_panic(text in "[{}\\[\\],:\"\\\\ a-z0-9%=&\n\u{e9}]{0,60}") {
            let _ = bodies(text.as_bytes());
        }
    }
}
