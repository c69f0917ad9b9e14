//! What becomes of an event that an agent fails to do: it comes again, and in the end it is set aside, never dropped.
//!
//! ```sh
//! cargo run -p waypost-examples --bin redelivery
//! ```
//!
//! It needs a broker: `cargo run -p waypost-broker -- serve`.

use std::error::Error;
use std::time::Duration;

use agent_client::{Client, Filter};
use waypost_proto::v1::Event;

const SOURCE: &str = "examples/redelivery";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let client = Client::connect(waypost_examples::agents())?;
    let mut tasks = client
        .subscribe("redelivery")
        .filter(Filter::new().source(SOURCE))
        .backoff(Duration::from_millis(200), Duration::from_secs(2))
        .max_attempts(4)
        .open()
        .await?;
    for task in ["flaky", "hopeless"] {
        client.publish(Event::of_json(SOURCE, "com.example.task", format!("{task:?}"))).await?;
    }

    let mut open = 2;
    while let (1.., Some(delivery)) = (open, tasks.try_next().await?) {
        let task = delivery.json().unwrap_or_default();
        let attempt = delivery.attempt();
        print!("{}, attempt {attempt}: ", String::from_utf8_lossy(&task));
        if task == "\"hopeless\"" {
            println!("rejected; it is a dead letter now");
            delivery.reject("nobody can do this").await?;
            open -= 1;
        } else if attempt == 1 {
            println!("failed; again after the backoff");
            delivery.nack("the other side was busy").await?;
        } else if attempt == 2 {
            println!("forgotten, as by a bug; dropping it counts as failing");
            drop(delivery);
        } else {
            println!("done");
            delivery.ack().await?;
            open -= 1;
        }
    }
    tasks.drain().await;
    Ok(())
}
