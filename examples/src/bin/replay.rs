//! Reads everything that the broker keeps, from the beginning, without touching any subscription.
//!
//! ```sh
//! cargo run -p waypost-examples --bin replay                    # every event
//! cargo run -p waypost-examples --bin replay -- 'logistics.v1.*' # of some types
//! ```
//!
//! It needs a broker: `cargo run -p waypost-broker -- serve`.

use std::error::Error;

use agent_client::{Client, Filter, Start};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(waypost_examples::agents())?;
    let filter = std::env::args().skip(1).fold(Filter::new(), Filter::event_type);
    // A broken connection is no end: the reader goes on where it was.
    let mut events = client.read().start_at(Start::Earliest).filter(filter).open();
    let mut count = 0;
    while let Some(stored) = events.try_next().await? {
        let event = stored.event.unwrap_or_default();
        let accepted = stored.accepted_at.unwrap_or_default();
        println!("{:>8}  {accepted}  {}  from {}, id {}", stored.offset, event.r#type, event.source, event.id);
        count += 1;
    }
    println!("{count} events");
    Ok(())
}
