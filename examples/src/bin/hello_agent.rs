//! The smallest agent: it shows shipping delays, until Ctrl-C.
//!
//! ```sh
//! cargo run -p waypost-examples --bin hello_agent
//! ```
//!
//! It needs a broker (`cargo run -p waypost-broker -- serve`), and something that tells of delays: the example
//! `send_webhook`, or `agent_to_agent`.

use agent_client::Client;
use tokio::signal::ctrl_c;
use waypost_proto::logistics::v1::ShippingDelayed;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = waypost_examples::agents();
    println!("connecting to {address}");
    let client = Client::builder().agent("hello-agent/1.0").connect(address)?;
    let mut delays = client.subscribe("hello-agent").of::<ShippingDelayed>().open().await?;
    println!("waiting for shipping delays; stop with Ctrl-C");
    loop {
        let delivery = tokio::select! {
            next = delays.try_next() => match next? {
                Some(delivery) => delivery,
                None => break,
            },
            _ = ctrl_c() => break,
        };
        let delay = delivery.data();
        println!("{} will be late (attempt {}): {}", delay.shipment_id, delivery.attempt(), delay.reason);
        // Returns when the broker has recorded it: this delay never comes again.
        delivery.ack().await?;
    }
    // What is still queued goes back at once, instead of after the resume grace.
    delays.drain().await;
    Ok(())
}
