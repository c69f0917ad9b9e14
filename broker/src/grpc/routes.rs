//! The services as routes, for a listener to serve.
//!
//! Constraint: limits of messages are set here, so that no listener can forget them.

use std::sync::Arc;

use tonic::service::{Routes, RoutesBuilder};
use waypost_proto::{
    v1::{
        dead_letter_admin_service_server::{self, DeadLetterAdminServiceServer},
        quarantine_admin_service_server::{self, QuarantineAdminServiceServer},
        schema_admin_service_server::{self, SchemaAdminServiceServer},
        session_admin_service_server::{self, SessionAdminServiceServer},
        source_admin_service_server::{self, SourceAdminServiceServer},
        store_admin_service_server::{self, StoreAdminServiceServer},
        subscription_admin_service_server::{self, SubscriptionAdminServiceServer},
        webhook_admin_service_server::{self, WebhookAdminServiceServer},
    },
    wire::agent_service_server::{self, AgentServiceServer},
};

use super::{Agent, DeadLetterAdmin, QuarantineAdmin, SchemaAdmin, SessionAdmin, SourceAdmin, StoreAdmin, SubscriptionAdmin, WebhookAdmin};
use crate::{broker::Broker, ingress::LiveSources, limits};

/// The services that agents call, by name: what reflection lists, and health answers for, on their listener.
pub const AGENT_SERVICES: [&str; 1] = [agent_service_server::SERVICE_NAME];

/// The services that operators call, by name.
pub const ADMIN_SERVICES: [&str; 8] = [
    subscription_admin_service_server::SERVICE_NAME,
    dead_letter_admin_service_server::SERVICE_NAME,
    session_admin_service_server::SERVICE_NAME,
    source_admin_service_server::SERVICE_NAME,
    quarantine_admin_service_server::SERVICE_NAME,
    webhook_admin_service_server::SERVICE_NAME,
    schema_admin_service_server::SERVICE_NAME,
    store_admin_service_server::SERVICE_NAME,
];

/// What agents call.
#[must_use]
pub fn agent_routes(broker: &Arc<Broker>) -> Routes {
    let agent = AgentServiceServer::new(Agent::new(Arc::clone(broker)))
        .max_decoding_message_size(limits::MAX_REQUEST_BYTES)
        .max_encoding_message_size(limits::MAX_REQUEST_BYTES);
    Routes::new(agent)
}

/// What operators call.
#[must_use]
pub fn admin_routes(broker: &Arc<Broker>, sources: LiveSources) -> Routes {
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(SubscriptionAdminServiceServer::new(SubscriptionAdmin::new(Arc::clone(broker))))
        .add_service(DeadLetterAdminServiceServer::new(DeadLetterAdmin::new(Arc::clone(broker))))
        .add_service(SessionAdminServiceServer::new(SessionAdmin::new(Arc::clone(broker))))
        .add_service(SourceAdminServiceServer::new(SourceAdmin::new(sources.clone())))
        .add_service(QuarantineAdminServiceServer::new(QuarantineAdmin::new(Arc::clone(broker), sources)))
        .add_service(WebhookAdminServiceServer::new(WebhookAdmin::new(broker.journal.clone())))
        .add_service(SchemaAdminServiceServer::new(SchemaAdmin::new(Arc::clone(&broker.schemas))))
        .add_service(StoreAdminServiceServer::new(StoreAdmin::new(Arc::clone(&broker.store), broker.stopping())));
    routes.routes()
}
