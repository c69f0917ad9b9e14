//! The gRPC services: one file each. They check what was asked, ask the broker, and put the answer into words.
//!
//! Constraints:
//! - No rule of publishing or delivery is here; `convert` alone turns the contract into the domain and back.
//! - Every call that cannot be answered says which field is wrong and what would be right; an enum that was not set is refused where a
//!   choice is needed.
//!
//! | file | what it serves |
//! |---|---|
//! | `agent` | the agent API, one file for each kind of call: `publish`, `publish_stream`, `subscribe`, `settle`, `read`, `lineage` |
//! | `subscription_admin`, `dead_letter_admin`, `session_admin`, `source_admin`, `quarantine_admin`, `webhook_admin`, `schema_admin`, `store_admin` | the admin API |
//! | [`convert`] | the contract and the domain |
//! | `page` | page tokens of lists |

mod agent;
pub mod convert;
mod dead_letter_admin;
mod lineage;
mod page;
mod publish;
mod publish_stream;
mod quarantine_admin;
mod read;
mod routes;
mod schema_admin;
mod session_admin;
mod settle;
mod source_admin;
mod store_admin;
mod subscribe;
mod subscription_admin;
mod webhook_admin;

pub use agent::Agent;
pub use dead_letter_admin::DeadLetterAdmin;
pub use quarantine_admin::QuarantineAdmin;
pub use routes::{ADMIN_SERVICES, AGENT_SERVICES, admin_routes, agent_routes};
pub use schema_admin::SchemaAdmin;
pub use session_admin::SessionAdmin;
pub use source_admin::SourceAdmin;
pub use store_admin::StoreAdmin;
pub use subscription_admin::SubscriptionAdmin;
pub use webhook_admin::WebhookAdmin;
