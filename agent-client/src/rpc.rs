//! The generated client, with the token that goes with every call.
//!
//! Constraint: the token is in no `Debug`, no error and no log, and HTTP/2 is told to keep it out of its tables.

use std::fmt;

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};
use waypost_proto::v1::agent_service_client::AgentServiceClient;

/// The calls of an agent.
pub(crate) type Rpc = AgentServiceClient<InterceptedService<Channel, Bearer>>;

/// A token as it was given.
#[derive(Clone)]
pub(crate) struct Token(String);

/// A token that cannot be one. The token is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token holds what no token has: pass it as `waypost token create` printed it, without the end of the line")]
pub struct InvalidToken;

/// Puts the token into every call.
#[derive(Clone)]
pub(crate) struct Bearer(Option<MetadataValue<Ascii>>);

impl Token {
    pub(crate) fn new(token: String) -> Self {
        Self(token)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer(…)")
    }
}

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(value) = &self.0 {
            request.metadata_mut().insert("authorization", value.clone());
        }
        Ok(request)
    }
}

/// Nothing for no token.
pub(crate) fn bearer(token: Option<Token>) -> Result<Bearer, InvalidToken> {
    let Some(Token(token)) = token else { return Ok(Bearer(None)) };
    if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidToken);
    }
    let mut value: MetadataValue<Ascii> = format!("Bearer {token}").parse().map_err(|_| InvalidToken)?;
    value.set_sensitive(true);
    Ok(Bearer(Some(value)))
}

/// Calls over a channel.
pub(crate) fn over(channel: Channel, bearer: Bearer) -> Rpc {
    AgentServiceClient::with_interceptor(channel, bearer)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    #[test]
    fn a_token_is_sent_and_never_shown() {
        let mut own = bearer(Some(Token::new("waypost_abc".to_owned()))).unwrap();
        let request = own.call(Request::new(())).unwrap();
        let sent = request.metadata().get("authorization").unwrap();
        assert_eq!(sent.as_encoded_bytes(), b"Bearer waypost_abc");
        for shown in [format!("{own:?}"), format!("{request:?}"), format!("{:?}", Token::new("waypost_abc".to_owned()))] {
            assert!(!shown.contains("abc"), "{shown}");
        }
    }

    #[test]
    fn what_cannot_be_a_token_is_refused_without_showing_it() {
        for wrong in ["", "abc\n", "a b", "abc\u{e9}"] {
            let error = bearer(Some(Token::new(wrong.to_owned()))).unwrap_err();
            assert!(wrong.is_empty() || !error.to_string().contains(wrong));
        }
    }
}
