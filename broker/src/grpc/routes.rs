//! The services as routes, for a listener to serve.
//!
//! Constraint: limits of messages are set here, so that no listener can forget them.

use std::sync::Arc;

use tonic::service::{Routes, RoutesBuilder};
use waypost_proto::{
    v1::{
        dead_letter_admin_service_server::DeadLetterAdminServiceServer, quarantine_admin_service_server::QuarantineAdminServiceServer,
        schema_admin_service_server::SchemaAdminServiceServer, session_admin_service_server::SessionAdminServiceServer,
        source_admin_service_server::SourceAdminServiceServer, subscription_admin_service_server::SubscriptionAdminServiceServer,
    },
    wire::agent_service_server::AgentServiceServer,
};

use super::{Agent, DeadLetterAdmin, QuarantineAdmin, SchemaAdmin, SessionAdmin, SourceAdmin, SubscriptionAdmin};
use crate::{broker::Broker, ingress::Sources, limits};

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
pub fn admin_routes(broker: &Arc<Broker>, sources: Sources) -> Routes {
    let mut routes = RoutesBuilder::default();
    routes
        .add_service(SubscriptionAdminServiceServer::new(SubscriptionAdmin::new(Arc::clone(broker))))
        .add_service(DeadLetterAdminServiceServer::new(DeadLetterAdmin::new(Arc::clone(broker))))
        .add_service(SessionAdminServiceServer::new(SessionAdmin::new(Arc::clone(broker))))
        .add_service(SourceAdminServiceServer::new(SourceAdmin::new(sources)))
        .add_service(QuarantineAdminServiceServer::new(QuarantineAdmin::new(Arc::clone(&broker.store))))
        .add_service(SchemaAdminServiceServer::new(SchemaAdmin::new(Arc::clone(&broker.schemas))));
    routes.routes()
}
