//! `waypost sessions`: which agents are connected, what they hold, and the end of one that hangs.

use waypost_proto::v1::{
    EndSessionRequest, EndSessionResponse, ListSessionsRequest, Session, session_admin_service_client::SessionAdminServiceClient,
};

use super::call::{AdminArgs, Call, ListArgs, word};
use crate::cli::{connection::refused, failure::Failure, table::Table, tail::time};

/// What to do.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum SessionsCommand {
    /// List the sessions that have a stream, and what they hold
    #[command(after_help = "\
A session that holds deliveries for long may hang: compare its oldest delivery with the ack deadline of its subscription.

Examples:
  waypost sessions list
  waypost sessions list --subscription routing
  waypost sessions list --json | jq -r .peerAddress")]
    List {
        /// Only of this subscription
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        subscription: String,
        /// How much.
        #[command(flatten)]
        list: ListArgs,
    },
    /// End a session that hangs: what it holds goes to others at once
    #[command(after_help = "\
Its stream closes, and its deliveries are given back without counting as an attempt or a loss. It is no ban: an agent that is well
connects again by itself. To keep it out, revoke its token (`waypost token revoke`) or stop its process first.

Examples:
  waypost sessions end 0192f7a1-5f0e-7c3a-9d2e-3f1c6a7b8c9d
  waypost sessions list --json | jq -r 'select(.client == \"router-3\").id' | xargs -n1 waypost sessions end")]
    End {
        /// Its id, as `waypost sessions list` shows it
        #[arg(value_name = "SESSION")]
        id: String,
        /// Only on this subscription; without it, on each that has a session of this id
        #[arg(long, value_name = "NAME", default_value = "", hide_default_value = true)]
        subscription: String,
    },
}

/// Does it.
///
/// # Errors
/// What the broker refuses.
pub async fn run(args: AdminArgs, command: SessionsCommand) -> Result<(), Failure> {
    let call = Call::open(&args).await?;
    let mut client = SessionAdminServiceClient::new(call.channel.clone());
    let (subscription, list) = match command {
        SessionsCommand::List { subscription, list } => (subscription, list),
        SessionsCommand::End { id, subscription } => {
            let ended = client.end_session(EndSessionRequest { session_id: id, subscription }).await.map_err(refused)?.into_inner();
            return call.show(&ended, ended_text);
        }
    };
    let page = async |size, page_token| {
        let request = ListSessionsRequest { page_size: Some(size), page_token, subscription: subscription.clone() };
        let page = client.list_sessions(request).await.map_err(refused)?.into_inner();
        Ok((page.sessions, page.next_page_token))
    };
    call.list(&list, page, table).await
}

fn ended_text(ended: &EndSessionResponse) -> String {
    let one = |session: &Session| {
        let name = if session.subscription.is_empty() { "an ephemeral subscription" } else { &session.subscription };
        format!("{} of {name} is ended; {} deliveries were given back", session.id, session.outstanding)
    };
    ended.sessions.iter().map(one).collect::<Vec<_>>().join("\n")
}

fn table(sessions: &[Session]) -> String {
    if sessions.is_empty() {
        return "no session is connected".to_owned();
    }
    let mut table =
        Table::with_head(&["subscription", "session", "state", "client", "principal", "peer", "holds", "oldest delivery", "connected"]);
    for session in sessions {
        let room = session.limits.and_then(|limits| limits.max_outstanding).unwrap_or(0);
        table.row([
            session.subscription.clone(),
            session.id.clone(),
            word(session.state().as_str_name(), "SESSION_STATE"),
            session.client.clone(),
            session.principal.clone(),
            session.peer_address.clone(),
            format!("{} of {room}", session.outstanding),
            time(session.oldest_delivery_at),
            time(session.connected_at),
        ]);
    }
    table.to_string()
}
