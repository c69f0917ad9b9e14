//! The origin of a web page, as browsers tell it: scheme, host and port, and nothing after them.
//!
//! Constraint: kept exactly as a browser writes it in its Origin header, so that comparing bytes is comparing origins. There is no `*`:
//! whoever may call is named.

use std::{fmt, str::FromStr};

use http::{HeaderValue, Uri};
use serde::{Deserialize, Deserializer, de};

/// `https://console.example.com`, `http://localhost:5173`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(HeaderValue);

/// A text that is not one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not an origin: http or https, a host and maybe a port, such as \"https://console.example.com\" or \"http://localhost:5173\""
)]
pub struct InvalidOrigin(String);

impl Origin {
    /// As it stands in the Origin header.
    #[must_use]
    pub fn header(&self) -> &HeaderValue {
        &self.0
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let wrong = || InvalidOrigin(text.to_owned());
        let uri: Uri = text.parse().map_err(|_| wrong())?;
        let (scheme, host) = uri.scheme_str().zip(uri.host()).ok_or_else(wrong)?;
        // Browsers leave out the port that goes without saying.
        let usual = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return Err(wrong()),
        };
        let port = uri.port_u16().filter(|port| *port != usual).map_or_else(String::new, |port| format!(":{port}"));
        let given = uri.authority().map_or("", http::uri::Authority::as_str);
        if host.is_empty() || given.contains('@') || text.len() != scheme.len() + "://".len() + given.len() {
            return Err(wrong());
        }
        let origin = format!("{scheme}://{}{port}", host.to_ascii_lowercase());
        origin.parse().map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn an_origin_is_kept_as_browsers_write_it() {
        for (written, sent) in [
            ("https://console.example.com", "https://console.example.com"),
            ("HTTPS://Console.Example.com:443", "https://console.example.com"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://[::1]:80", "http://[::1]"),
        ] {
            assert_eq!(written.parse::<Origin>().unwrap().to_string(), sent);
        }
    }

    #[test]
    fn what_no_browser_would_send_is_refused_with_an_example() {
        for text in
            ["", "*", "null", "console.example.com", "https://", "https://a/", "https://a/b", "https://a?b", "ftp://a", "https://me@a"]
        {
            let error = text.parse::<Origin>().unwrap_err();
            assert!(error.to_string().contains("\"https://console.example.com\""), "{text}: {error}");
        }
    }
}
