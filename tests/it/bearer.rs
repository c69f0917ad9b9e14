//! Bearers of tokens: how a token is made, and how a call carries it.

use std::{
    path::Path,
    process::{Command, Output},
};

use prost::Message;
use tonic::{
    Status,
    metadata::MetadataValue,
    service::{Interceptor, interceptor::InterceptedService},
    transport::Channel,
};
use waypost_proto::{
    rpc,
    v1::{
        ErrorReason, Event, Filter, PublishItem, SubscribeRequest, SubscriptionSpec, agent_service_client::AgentServiceClient,
        publish_result::Result as Outcome,
    },
};
use waypost_tests::process::program;

use crate::stand::Stand;

pub(crate) const TOKENS: &str = "auth.tokens_file = 'tokens.toml'\nlog.audit_file = 'audit.jsonl'";

/// `waypost token …` on the tokens of a folder.
pub(crate) fn tokens(folder: &Path, args: &[&str]) -> Output {
    Command::new(program()).arg("token").args(args).current_dir(folder).output().unwrap()
}

/// A new token, as a script takes it.
pub(crate) fn create(folder: &Path, name: &str, scopes: &[&str]) -> String {
    let scopes: Vec<_> = scopes.iter().flat_map(|scope| ["--scope", scope]).collect();
    let made = tokens(folder, &[&["create", name], &scopes[..]].concat());
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let token = String::from_utf8(made.stdout).unwrap().trim_end().to_owned();
    assert!(token.len() > 40 && !String::from_utf8(made.stderr).unwrap().contains(&token), "the token is on standard output alone");
    token
}

/// Puts a header into every call.
#[derive(Clone)]
pub(crate) struct Bearer(pub(crate) Option<String>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: tonic::Request<()>) -> Result<tonic::Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", MetadataValue::try_from(format!("Bearer {token}")).unwrap());
        }
        Ok(request)
    }
}

pub(crate) type Agent = AgentServiceClient<InterceptedService<Channel, Bearer>>;

pub(crate) fn agent(stand: &Stand, token: &str) -> Agent {
    AgentServiceClient::with_interceptor(stand.broker.channel(), Bearer(Some(token.to_owned())))
}

pub(crate) fn reason(status: &Status) -> Option<ErrorReason> {
    rpc::Status::decode(status.details()).ok()?.detail::<rpc::ErrorInfo>()?.reason()
}
pub(crate) fn item(source: &str, event_type: &str) -> PublishItem {
    PublishItem { event: Some(Event::of_json(source, event_type, "{}")), ..PublishItem::default() }
}

/// What became of each item: accepted, or why not.
pub(crate) fn outcomes(results: Vec<waypost_proto::v1::PublishResult>) -> Vec<Option<ErrorReason>> {
    let outcome = |result: waypost_proto::v1::PublishResult| match result.result.unwrap() {
        Outcome::Accepted(_) => None,
        Outcome::Refused(refusal) => Some(refusal.reason()),
    };
    results.into_iter().map(outcome).collect()
}

pub(crate) fn to(name: &str, types: &[&str]) -> SubscribeRequest {
    let filter = Filter { types: types.iter().map(|&name| name.to_owned()).collect(), ..Filter::default() };
    let spec = (!types.is_empty()).then(|| SubscriptionSpec { filter: Some(filter), ..SubscriptionSpec::default() });
    SubscribeRequest { subscription: name.to_owned(), spec, ..SubscribeRequest::default() }
}
