//! `waypost publish`: one event, typed by the broker's schema.

use std::{fs, io};

use serde_json::json;
use waypost_proto::v1::{
    Event, Lineage, PublishItem, PublishRequest, agent_service_client::AgentServiceClient, publish_result::Result as Published,
};

use super::{args::BrokerArgs, connection, failure::Failure, output, types::Types};

/// What `publish` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct PublishArgs {
    /// Where the broker is.
    #[command(flatten)]
    pub broker: BrokerArgs,
    /// The type of the event, for example logistics.v1.ShippingDelayed
    pub event_type: String,
    /// The data as JSON; @FILE reads a file, - reads standard input
    #[arg(value_name = "JSON|@FILE|-")]
    pub data: String,
    /// Who says so
    #[arg(long, default_value = "cli")]
    pub source: String,
    /// What it is about
    #[arg(long, default_value = "", hide_default_value = true)]
    pub subject: String,
    /// Its id, by which a second copy is recognised; generated if not given
    #[arg(long, default_value = "", hide_default_value = true)]
    pub id: String,
    /// Events of one key are delivered in order
    #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
    pub ordering_key: String,
    /// The story that it belongs to
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    pub correlation_id: String,
    /// The answer as JSON
    #[arg(long)]
    pub json: bool,
}

/// Publishes and prints where it is.
///
/// # Errors
/// When the data cannot be read or is not of the type, and when the broker cannot be reached or refuses.
pub async fn run(args: PublishArgs) -> Result<(), Failure> {
    let text = read(&args.data)?;
    let channel = connection::agents(&args.broker).await?;
    let data = Types::built_in(&args.broker)?.from_json(&args.event_type, &text).await?;
    let lineage = (!args.correlation_id.is_empty()).then(|| Lineage { correlation_id: args.correlation_id, ..Lineage::default() });
    let event = Event {
        id: args.id,
        source: args.source,
        r#type: args.event_type,
        subject: args.subject,
        ordering_key: args.ordering_key,
        data: Some(data),
        lineage,
        ..Event::default()
    };
    let request = PublishRequest { items: vec![PublishItem { event: Some(event), ..PublishItem::default() }] };
    let answer = AgentServiceClient::new(channel).publish(request).await.map_err(connection::refused)?.into_inner();
    match answer.results.into_iter().next().and_then(|result| result.result) {
        Some(Published::Accepted(accepted)) => {
            if args.json {
                output::line(json!({ "id": accepted.id, "offset": accepted.offset, "duplicate": accepted.duplicate }));
            } else {
                let was = if accepted.duplicate { "was there already" } else { "is durable" };
                output::line(format_args!("event {} {was}, at offset {}", accepted.id, accepted.offset));
            }
            Ok(())
        }
        Some(Published::Refused(refused)) => {
            Err(Failure::of(refused.code.into(), format!("the broker refuses the event: {}", refused.message)))
        }
        None => Err(Failure::Failed("the broker's answer holds no result".to_owned())),
    }
}

/// What an argument says: itself, or what is in `@FILE`, or, for `-`, standard input.
///
/// # Errors
/// When that cannot be read.
pub(super) fn read(data: &str) -> Result<String, Failure> {
    match data.strip_prefix('@') {
        Some(path) => fs::read_to_string(path).map_err(|error| Failure::Failed(format!("{path} cannot be read: {error}"))),
        None if data == "-" => {
            io::read_to_string(io::stdin()).map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")))
        }
        None => Ok(data.to_owned()),
    }
}
