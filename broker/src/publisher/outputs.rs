//! Events that are published with an ack, in one step (P9).
//!
//! Constraint: what is said of them depends on the completion alone, so that repeating it says the same.

use waypost_proto::v1::ErrorReason;
use waypost_store::{NewEvent, Offset};

use crate::{
    error::{Fault, Violation},
    limits,
};

/// The id of an output that came without one: the same for the same completion, made however often (P9).
#[must_use]
pub fn output_id(incarnation: u64, input: Offset, position: usize) -> String {
    let mut name = [0; 24];
    name[..8].copy_from_slice(&incarnation.to_be_bytes());
    name[8..16].copy_from_slice(&input.to_be_bytes());
    name[16..].copy_from_slice(&(position as u64).to_be_bytes());
    uuid::Builder::from_custom_bytes(xxhash_rust::xxh3::xxh3_128(&name).to_be_bytes()).into_uuid().to_string()
}

/// The most bytes of the outputs of one ack, as they would be stored.
///
/// # Errors
/// When there are more than one commit can hold.
pub fn check_output_bytes(outputs: &[NewEvent]) -> Result<u64, Fault> {
    let bytes: usize = outputs.iter().map(|event| event.head.encoded().len() + event.body.len()).sum();
    if bytes > limits::MAX_OUTPUT_BYTES_PER_ACK {
        let max = limits::MAX_OUTPUT_BYTES_PER_ACK;
        let text = format!("the outputs have {bytes} bytes together, at most {max} fit into one step; publish large ones before");
        return Err(Fault::fields(ErrorReason::EventTooLarge, vec![Violation::new("outputs", text)]));
    }
    Ok(bytes as u64)
}
