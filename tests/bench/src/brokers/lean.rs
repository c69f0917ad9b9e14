//! The messages of the hot path with everything as bytes: compatible on the wire with `waypost.v1`, and decoded without a
//! copy.
//!
//! Constraint: as much is decoded as the NATS driver decodes of its messages, so that the servers are compared and not the
//! clients. What agents pay for full decoding is measured through agent-client.

use bytes::Bytes;
use prost::Message;

/// Of `waypost.v1.Event`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) source: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub(crate) event_type: Bytes,
    #[prost(message, optional, tag = "6")]
    pub(crate) data: Option<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) type_url: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub(crate) value: Bytes,
}

/// `waypost.v1.PublishStreamRequest`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PublishStreamRequest {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(message, repeated, tag = "2")]
    pub(crate) items: Vec<PublishItem>,
}

/// `waypost.v1.PublishItem`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PublishItem {
    #[prost(message, optional, tag = "1")]
    pub(crate) event: Option<Event>,
}

/// Of `waypost.v1.SubscribeResponse`: what is not a delivery is counted by its bytes alone.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct SubscribeResponse {
    #[prost(bytes = "bytes", optional, tag = "1")]
    pub(crate) opened: Option<Bytes>,
    #[prost(message, optional, tag = "2")]
    pub(crate) deliveries: Option<Deliveries>,
    #[prost(bytes = "bytes", optional, tag = "3")]
    pub(crate) revoked: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "4")]
    pub(crate) gap: Option<Bytes>,
}

/// `waypost.v1.Deliveries`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Deliveries {
    #[prost(message, repeated, tag = "1")]
    pub(crate) deliveries: Vec<Delivery>,
}

/// Of `waypost.v1.Delivery`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Delivery {
    #[prost(bytes = "bytes", tag = "1")]
    pub(crate) token: Bytes,
    #[prost(uint64, tag = "2")]
    pub(crate) offset: u64,
    #[prost(uint32, tag = "4")]
    pub(crate) attempt: u32,
    #[prost(message, optional, tag = "8")]
    pub(crate) event: Option<Event>,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use waypost_proto::v1;

    use super::*;

    #[test]
    fn the_lean_messages_are_those_of_the_contract() {
        let data = Any { type_url: "t/x".into(), value: "v".into() };
        let event = Event { source: "s".into(), event_type: "x".into(), data: Some(data) };
        let lean = PublishStreamRequest { sequence: 7, items: vec![PublishItem { event: Some(event.clone()) }] };
        let full = v1::PublishStreamRequest::decode(lean.encode_to_vec().as_slice()).unwrap();
        assert_eq!((full.sequence, full.items[0].event.as_ref().unwrap().r#type.as_str()), (7, "x"));

        let delivery = v1::Delivery { token: "tok".into(), attempt: 2, event: full.items[0].event.clone(), ..Default::default() };
        let deliveries = v1::Deliveries { deliveries: vec![delivery] };
        let response = v1::SubscribeResponse { response: Some(v1::subscribe_response::Response::Deliveries(deliveries)) };
        let lean = SubscribeResponse::decode(response.encode_to_vec().as_slice()).unwrap().deliveries.unwrap();
        assert_eq!((lean.deliveries[0].attempt, &lean.deliveries[0].token), (2, &Bytes::from("tok")));
        assert_eq!(lean.deliveries[0].event, Some(event));
    }
}
