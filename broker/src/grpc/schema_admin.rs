//! Looking at registered message types.

use std::sync::Arc;

use tonic::{Request, Response, Status};
use waypost_proto::v1::{self, schema_admin_service_server::SchemaAdminService};

use super::page::Page;
use crate::{
    error::Fault,
    limits,
    schema::{Schema, SchemaOrigin, Schemas},
};

/// Shows the registered types.
#[derive(Debug)]
pub struct SchemaAdmin {
    schemas: Arc<Schemas>,
}

impl SchemaAdmin {
    /// Of these types.
    #[must_use]
    pub fn new(schemas: Arc<Schemas>) -> Self {
        Self { schemas }
    }

    fn show(&self, schema: &Schema) -> v1::Schema {
        let origin = match schema.origin {
            SchemaOrigin::BuiltIn => v1::SchemaOrigin::BuiltIn,
            SchemaOrigin::User => v1::SchemaOrigin::User,
        };
        v1::Schema {
            name: schema.name().to_owned(),
            origin: origin.into(),
            file: schema.file(),
            required_fields: self.schemas.required_fields(schema),
        }
    }
}

#[tonic::async_trait]
impl SchemaAdminService for SchemaAdmin {
    async fn list_schemas(&self, request: Request<v1::ListSchemasRequest>) -> Result<Response<v1::ListSchemasResponse>, Status> {
        let request = request.into_inner();
        let query = v1::ListSchemasRequest { name_prefix: request.name_prefix.clone(), ..Default::default() };
        let page = Page::new(request.page_size, limits::MAX_PAGE, &request.page_token, &query)?;
        let all = self.schemas.list(&request.name_prefix, "", usize::MAX);
        let (found, next_page_token) = page.take(all, |(name, _)| name.as_bytes().to_vec());
        let schemas = found.into_iter().map(|(_, schema)| self.show(schema)).collect();
        Ok(Response::new(v1::ListSchemasResponse { schemas, next_page_token }))
    }

    async fn get_schema(&self, request: Request<v1::GetSchemaRequest>) -> Result<Response<v1::GetSchemaResponse>, Status> {
        let name = request.into_inner().name;
        Fault::require("name", &name)?;
        let schema = self.schemas.get(&name).ok_or_else(|| Fault::not_found(format!("no type {name:?} is registered")))?;
        let file_descriptor_set = self.schemas.file_descriptor_set(schema).into();
        Ok(Response::new(v1::GetSchemaResponse { schema: Some(self.show(schema)), file_descriptor_set }))
    }
}
