//! Changes of collections and their fields.

use prost::Message;
use redkite_proto::common::Status;
use redkite_proto::milvus::{AddCollectionFieldRequest, AlterCollectionFieldRequest, AlterCollectionRequest};
use redkite_proto::schema::FieldSchema;
use redkite_service::{Ddl, Error, NewField};
use redkite_types::FieldId;

use crate::convert::schema::{field_from_wire, properties};
use crate::define::{add_field, field, name, property};
use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    pub(in crate::grpc) async fn alter_collection(
        &self,
        context: RequestContext,
        request: AlterCollectionRequest,
    ) -> Result<Status, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let altered = property::Altered {
            collection: &request.collection_name,
            loaded: self.load_of(collection.id).is_some(),
            auto_id: collection.schema.primary_key().auto_id,
            has_partition_key: collection.schema.partition_key().is_some(),
        };
        altered.check(&request.properties, &request.delete_keys)?;
        self.define(Ddl::AlterCollection {
            database: context.database(&request.db_name).to_owned(),
            collection: request.collection_name,
            set: properties(&request.properties),
            delete: request.delete_keys,
        })
        .await
    }

    pub(in crate::grpc) async fn alter_collection_field(
        &self,
        context: RequestContext,
        request: AlterCollectionFieldRequest,
    ) -> Result<Status, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let altered = field::Altered {
            collection: &request.collection_name,
            loaded: self.load_of(collection.id).is_some(),
            field: collection.schema.field(&request.field_name),
        };
        let mut set = properties(&request.properties);
        set = set.into_iter().map(|(key, value)| (property::field_key(&key).to_owned(), value)).collect();
        for (key, value) in &set {
            altered.check_set(key, value)?;
        }
        let delete: Vec<String> =
            request.delete_keys.iter().map(|key| property::field_key(key).to_owned()).collect();
        for key in &delete {
            altered.check_delete(key)?;
        }
        if altered.field.is_none() {
            return Err(refuse::invalid(format_args!(
                "field {} does not exist in collection",
                request.field_name
            )));
        }
        self.define(Ddl::AlterField {
            database: context.database(&request.db_name).to_owned(),
            collection: request.collection_name,
            field: request.field_name,
            set,
            delete,
        })
        .await
    }

    pub(in crate::grpc) async fn add_collection_field(
        &self,
        context: RequestContext,
        request: AddCollectionFieldRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let wire = FieldSchema::decode(request.schema.clone())
            .map_err(|error| refuse::invalid(format_args!("the field cannot be decoded: {error}")))?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let data_type = add_field::check(&request.collection_name, &collection.schema, &wire)?;
        let field = field_from_wire(&wire, FieldId::default(), data_type);
        self.define(Ddl::AddField {
            database: context.database(&request.db_name).to_owned(),
            collection: request.collection_name,
            field: Box::new(NewField { field }),
        })
        .await
    }
}
