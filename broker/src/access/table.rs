//! What each call needs.
//!
//! Constraint: every call of every service and every page of the admin listener has a row; what has none takes an administrator. What is said of
//! the content of a call (sources, types, names) is checked where it is known, by the same [`Caller::may`](super::Caller::may).

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Nothing: health, and what is the same for everybody.
    Nothing,
    /// Any token.
    Token,
    /// A scope to publish.
    Publish,
    /// A scope to subscribe.
    Subscribe,
    /// A scope to read.
    Read,
    /// A scope to read everything.
    ReadStories,
    /// To see what administrators see.
    Inspect,
    /// To change what administrators change.
    Admin,
}

/// Calls and pages, by the path of their requests; a `*` at the end stands for the rest of one. Those that are called often come first, and those
/// that are named before those that are meant as well.
pub const CALLS: [(&str, Need); 61] = [
    ("/waypost.v1.AgentService/Settle", Need::Subscribe),
    ("/waypost.v1.AgentService/Publish", Need::Publish),
    ("/waypost.v1.AgentService/PublishStream", Need::Publish),
    ("/waypost.v1.AgentService/Subscribe", Need::Subscribe),
    ("/waypost.v1.AgentService/ReadEvents", Need::Read),
    ("/waypost.v1.AgentService/GetLineage", Need::ReadStories),
    ("/waypost.v1.SubscriptionAdminService/CreateSubscription", Need::Admin),
    ("/waypost.v1.SubscriptionAdminService/GetSubscription", Need::Inspect),
    ("/waypost.v1.SubscriptionAdminService/ListSubscriptions", Need::Inspect),
    ("/waypost.v1.SubscriptionAdminService/UpdateSubscription", Need::Admin),
    ("/waypost.v1.SubscriptionAdminService/DeleteSubscription", Need::Admin),
    ("/waypost.v1.SubscriptionAdminService/PauseSubscription", Need::Admin),
    ("/waypost.v1.SubscriptionAdminService/ResumeSubscription", Need::Admin),
    ("/waypost.v1.SubscriptionAdminService/SeekSubscription", Need::Admin),
    ("/waypost.v1.DeadLetterAdminService/ListDeadLetters", Need::Inspect),
    ("/waypost.v1.DeadLetterAdminService/GetDeadLetter", Need::Inspect),
    ("/waypost.v1.DeadLetterAdminService/RedriveDeadLetters", Need::Admin),
    ("/waypost.v1.DeadLetterAdminService/DiscardDeadLetters", Need::Admin),
    ("/waypost.v1.SessionAdminService/ListSessions", Need::Inspect),
    ("/waypost.v1.SessionAdminService/EndSession", Need::Admin),
    ("/waypost.v1.SourceAdminService/ListSources", Need::Inspect),
    ("/waypost.v1.SourceAdminService/GetSource", Need::Inspect),
    ("/waypost.v1.QuarantineAdminService/ListQuarantinedWebhooks", Need::Inspect),
    ("/waypost.v1.QuarantineAdminService/GetQuarantinedWebhook", Need::Inspect),
    ("/waypost.v1.QuarantineAdminService/RetryQuarantinedWebhooks", Need::Admin),
    ("/waypost.v1.QuarantineAdminService/DiscardQuarantinedWebhooks", Need::Admin),
    ("/waypost.v1.WebhookAdminService/ListWebhooks", Need::Inspect),
    ("/waypost.v1.WebhookAdminService/GetWebhook", Need::Inspect),
    ("/waypost.v1.StoreAdminService/GetStore", Need::Inspect),
    ("/waypost.v1.StoreAdminService/VerifyStore", Need::Inspect),
    // The copy holds everything, and leaves the broker.
    ("/waypost.v1.StoreAdminService/BackupStore", Need::Admin),
    // What types there are is no secret: `waypost tail` and `publish` ask for them, with whatever token they have.
    ("/waypost.v1.SchemaAdminService/ListSchemas", Need::Token),
    ("/waypost.v1.SchemaAdminService/GetSchema", Need::Token),
    ("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", Need::Nothing),
    ("/grpc.health.v1.Health/Check", Need::Nothing),
    ("/grpc.health.v1.Health/Watch", Need::Nothing),
    ("/healthz", Need::Nothing),
    ("/readyz", Need::Nothing),
    ("/metrics", Need::Inspect),
    ("/page/*", Need::Nothing),
    ("/sign-in", Need::Nothing),
    ("/sign-out", Need::Nothing),
    ("/", Need::Inspect),
    ("/live", Need::Inspect),
    ("/subscriptions", Need::Inspect),
    ("/subscriptions/*", Need::Inspect),
    ("/pause", Need::Admin),
    ("/resume", Need::Admin),
    ("/sessions", Need::Inspect),
    ("/dead-letters", Need::Inspect),
    ("/dead-letters/redrive", Need::Admin),
    ("/dead-letters/redrive-all", Need::Admin),
    ("/dead-letters/discard", Need::Admin),
    ("/dead-letters/*", Need::Inspect),
    ("/quarantine", Need::Inspect),
    ("/quarantine/retry", Need::Admin),
    ("/quarantine/discard", Need::Admin),
    ("/quarantine/*", Need::Inspect),
    ("/webhooks", Need::Inspect),
    ("/webhooks/*", Need::Inspect),
    // Whose stories these are is asked by GetLineage, which it calls.
    ("/story", Need::Inspect),
];

/// Calls whose answers go on: each is counted against what its token may have open.
pub const STREAMS: [&str; 5] = [
    "/waypost.v1.AgentService/Subscribe",
    "/waypost.v1.AgentService/PublishStream",
    "/waypost.v1.AgentService/ReadEvents",
    "/waypost.v1.StoreAdminService/VerifyStore",
    "/waypost.v1.StoreAdminService/BackupStore",
];

/// What the call of a path needs.
#[must_use]
pub fn need(path: &str) -> Need {
    let fits = |call: &str| call.strip_suffix('*').map_or(call == path, |beginning| path.starts_with(beginning));
    CALLS.iter().find(|(call, _)| fits(call)).map_or(Need::Admin, |(_, need)| *need)
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use waypost_proto::FILE_DESCRIPTOR_SET;

    use super::*;

    #[test]
    fn every_call_whose_answer_goes_on_is_counted() {
        let files = prost_types::FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap_or_default().file;
        let mut streams = Vec::new();
        for service in files.into_iter().filter(|file| file.package() == "waypost.v1").flat_map(|file| file.service) {
            let name = service.name().to_owned();
            let streaming = service.method.into_iter().filter(prost_types::MethodDescriptorProto::server_streaming);
            streams.extend(streaming.map(|method| format!("/waypost.v1.{name}/{}", method.name())));
        }
        streams.sort();
        let mut counted = STREAMS.to_vec();
        counted.sort_unstable();
        assert_eq!(streams, counted);
    }

    #[test]
    fn what_is_named_comes_before_what_is_meant_as_well() {
        for (path, expected) in [
            ("/", Need::Inspect),
            ("/dead-letters/0-1", Need::Inspect),
            ("/dead-letters/discard", Need::Admin),
            ("/dead-letters-of-others", Need::Admin),
            ("/page/style.css", Need::Nothing),
            ("/anything", Need::Admin),
        ] {
            assert_eq!(need(path), expected, "{path}");
        }
    }
}
