//! Messages to JSON and back, for people.
//!
//! Constraint: built-in types need no broker; others are asked for once, by name, from the broker's admin listener; a type that nobody knows
//! is shown by its size and published as plain JSON.

use std::collections::BTreeSet;

use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, SerializeOptions};
use prost_types::Any;
use serde_json::{Value, json};
use tracing::debug;
use waypost_proto::{
    FILE_DESCRIPTOR_SET, TYPE_URL_PREFIX, full_name,
    v1::{GetSchemaRequest, JsonPayload, StoredEvent, schema_admin_service_client::SchemaAdminServiceClient},
};

use super::{args::BrokerArgs, connection, failure::Failure};

/// The message types known so far.
pub struct Types {
    pool: DescriptorPool,
    /// Where others are asked for.
    broker: BrokerArgs,
    asked: BTreeSet<String>,
}

impl Types {
    /// The built-in ones.
    ///
    /// # Errors
    /// When the built-in descriptors cannot be read, which a test rules out.
    pub fn built_in(broker: &BrokerArgs) -> Result<Self, Failure> {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).map_err(Failure::failed)?;
        Ok(Self { pool, broker: broker.clone(), asked: BTreeSet::new() })
    }

    /// The data of an event as JSON.
    pub async fn to_json(&mut self, data: &Any) -> Value {
        let name = full_name(&data.type_url);
        if name == JsonPayload::full_name() {
            let payload = JsonPayload::decode(data.value.as_slice()).unwrap_or_default();
            return serde_json::from_slice(&payload.json).unwrap_or_else(|_| json!({ "@type": name, "bytes": payload.json.len() }));
        }
        let message = match self.find(name).await {
            Some(descriptor) => DynamicMessage::decode(descriptor, data.value.as_slice()).ok(),
            None => None,
        };
        let known = message.and_then(|message| serde_json::to_value(message).ok());
        known.unwrap_or_else(|| json!({ "@type": name, "bytes": data.value.len() }))
    }

    /// JSON as the message that the event's type names, or as a [`JsonPayload`] if nobody knows it.
    ///
    /// # Errors
    /// When it is no JSON, or not of the type.
    pub async fn from_json(&mut self, event_type: &str, text: &str) -> Result<Any, Failure> {
        let wrong = |error: &dyn std::fmt::Display| Failure::Failed(format!("the data is not a {event_type}: {error}"));
        let Some(descriptor) = self.find(event_type).await else {
            let check: Result<serde::de::IgnoredAny, _> = serde_json::from_str(text);
            check.map_err(|error| Failure::Failed(format!("the data is not JSON: {error}")))?;
            let payload = JsonPayload { json: text.to_owned().into() };
            return Ok(Any { type_url: format!("{TYPE_URL_PREFIX}/{}", JsonPayload::full_name()), value: payload.encode_to_vec() });
        };
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize(descriptor, &mut deserializer).map_err(|error| wrong(&error))?;
        deserializer.end().map_err(|error| wrong(&error))?;
        Ok(Any { type_url: format!("{TYPE_URL_PREFIX}/{event_type}"), value: message.encode_to_vec() })
    }

    /// A message of the contract as the protobuf JSON mapping has it, every field included. It holds no `Any`.
    ///
    /// # Errors
    /// When the built-in descriptors lack it, which a test rules out.
    pub fn mapped<M: Message + Name>(&self, message: &M) -> Result<Value, Failure> {
        let descriptor = self.built_in_type(&M::full_name())?;
        let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice()).map_err(Failure::failed)?;
        let options = SerializeOptions::new().skip_default_fields(false);
        message.serialize_with_options(serde_json::value::Serializer, &options).map_err(Failure::failed)
    }

    /// A stored event likewise; its data is the JSON of its message.
    ///
    /// # Errors
    /// As [`mapped`](Self::mapped).
    pub async fn event(&mut self, mut stored: StoredEvent) -> Result<Value, Failure> {
        let data = match stored.event.as_mut().and_then(|event| event.data.take()) {
            Some(data) => self.to_json(&data).await,
            None => Value::Null,
        };
        let mut shown = self.mapped(&stored)?;
        if let Some(event) = shown.get_mut("event").and_then(Value::as_object_mut) {
            event.insert("data".to_owned(), data);
        }
        Ok(shown)
    }

    /// A message of the contract from its JSON.
    ///
    /// # Errors
    /// When it is no JSON of the message.
    pub fn parse<M: Message + Name + Default>(&self, text: &str) -> Result<M, Failure> {
        let descriptor = self.built_in_type(&M::full_name())?;
        let wrong = |error: &dyn std::fmt::Display| Failure::Usage(format!("this is no {} in JSON: {error}", M::NAME));
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let message = DynamicMessage::deserialize(descriptor, &mut deserializer).map_err(|error| wrong(&error))?;
        deserializer.end().map_err(|error| wrong(&error))?;
        message.transcode_to().map_err(Failure::failed)
    }

    fn built_in_type(&self, name: &str) -> Result<MessageDescriptor, Failure> {
        self.pool.get_message_by_name(name).ok_or_else(|| Failure::Failed(format!("this program does not know {name}")))
    }

    async fn find(&mut self, name: &str) -> Option<MessageDescriptor> {
        if let Some(found) = self.pool.get_message_by_name(name) {
            return Some(found);
        }
        if self.asked.insert(name.to_owned())
            && let Err(error) = self.ask(name).await
        {
            debug!(name, %error, "the type is not known");
        }
        self.pool.get_message_by_name(name)
    }

    async fn ask(&mut self, name: &str) -> Result<(), Failure> {
        let mut client = SchemaAdminServiceClient::new(connection::admin(&self.broker).await?);
        let answer = client.get_schema(GetSchemaRequest { name: name.to_owned() }).await.map_err(connection::refused)?;
        // Files that are known already are passed over.
        self.pool.decode_file_descriptor_set(answer.into_inner().file_descriptor_set).map_err(Failure::failed)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may panic")]

    use super::*;

    fn types() -> Types {
        // Nobody listens there, as if the broker were of another version.
        let nobody = "http://127.0.0.1:1".to_owned();
        Types::built_in(&BrokerArgs { agents: nobody.clone(), admin: nobody, token: None, ca: None, identity: None }).unwrap()
    }

    #[tokio::test]
    async fn a_known_type_is_typed_and_comes_back() {
        let data = types().from_json("tasks.v1.TaskFailed", r#"{"taskId":"T-1"}"#).await.unwrap();
        assert_eq!(full_name(&data.type_url), "tasks.v1.TaskFailed");
        assert_eq!(types().to_json(&data).await, json!({ "taskId": "T-1" }));
    }

    #[tokio::test]
    async fn a_typo_in_a_field_is_refused() {
        let error = types().from_json("tasks.v1.TaskFailed", r#"{"taskIdd":"T-1"}"#).await.unwrap_err();
        assert!(error.to_string().contains("taskIdd"), "{error}");
    }

    #[tokio::test]
    async fn an_unknown_type_stays_json() {
        let data = types().from_json("com.example.counted", r#"{"n":12345678901234567890123}"#).await.unwrap();
        assert_eq!(JsonPayload::decode(data.value.as_slice()).unwrap().json, r#"{"n":12345678901234567890123}"#);
        assert!(types().from_json("com.example.counted", "{").await.is_err());
    }
}
