//! Indexes.

use std::sync::Arc;

use redkite_catalog::{CollectionRecord, IndexRecord, IndexesRecord};
use redkite_proto::common::Status;
use redkite_proto::milvus::{
    AlterIndexRequest, CreateIndexRequest, DescribeIndexRequest, DescribeIndexResponse, DropIndexRequest,
    GetIndexBuildProgressRequest, GetIndexBuildProgressResponse, GetIndexStateRequest, GetIndexStateResponse,
    GetIndexStatisticsRequest, GetIndexStatisticsResponse, IndexDescription,
};
use redkite_service::{Error, NewIndex};
use redkite_types::{CollectionId, DataType, FieldSchema};

use crate::convert::schema::properties;
use crate::define::index::JsonPath;
use crate::define::{self, name};
use crate::describe::index::{Progress, describe, rows};
use crate::{Proxy, RequestContext, refuse, status};

impl Proxy {
    pub(in crate::grpc) async fn create_index(
        &self,
        context: RequestContext,
        request: CreateIndexRequest,
    ) -> Result<Status, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        name::index(&request.index_name)?;
        let field = indexed_field(&collection, &request.field_name)?;
        let definition = define::index::define(field, &request.field_name, &request.extra_params)?;
        let existing = self.index_on(&collection, field, definition.path.as_ref());
        let path = definition.path.as_ref().map(JsonPath::to_string).unwrap_or_default();
        let name = match request.index_name.as_str() {
            "" => existing
                .as_ref()
                .map_or_else(|| format!("{}{path}", field.name), |existing| existing.name.clone()),
            name => name.to_owned(),
        };
        let params = definition.params;
        if let Some(existing) = existing {
            check_again(&existing, &name, field, &params)?;
        }
        let id = self.request_id().await?;
        let index =
            NewIndex { collection: collection.id, field: field.id, name, params, spec: definition.spec };
        self.acknowledge(self.parts.data.create_index(id, index).await?).await
    }

    /// The index that a field, or a path of a JSON field, has.
    fn index_on(
        &self,
        collection: &CollectionRecord,
        field: &FieldSchema,
        path: Option<&JsonPath>,
    ) -> Option<IndexRecord> {
        let indexes = self.indexes_of(collection.id)?;
        let mut on_field = indexes.indexes.iter().filter(|index| index.field == field.id);
        on_field.find(|index| define::index::path_of(field, index).as_ref() == path).cloned()
    }

    pub(in crate::grpc) async fn alter_index(
        &self,
        context: RequestContext,
        request: AlterIndexRequest,
    ) -> Result<Status, Error> {
        define::index::check_alter(&request.extra_params, &request.delete_keys)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        if request.index_name.is_empty() {
            return Err(refuse::invalid("index name is empty"));
        }
        if self.load_of(collection.id).is_some() {
            return Err(Error::CollectionLoaded {
                collection: request.collection_name,
                reason: "can't alter index on loaded collection, please release the collection first"
                    .to_owned(),
            });
        }
        let id = self.request_id().await?;
        let set = properties(&request.extra_params);
        let altered =
            self.parts.data.alter_index(id, collection.id, request.index_name, set, request.delete_keys);
        self.acknowledge(altered.await?).await
    }

    pub(in crate::grpc) async fn drop_index(
        &self,
        context: RequestContext,
        request: DropIndexRequest,
    ) -> Result<Status, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let indexes = self.indexes_of(collection.id);
        let indexes = indexes.as_ref().map(|indexes| chosen(indexes, &request.index_name));
        let Some(index) = indexes.as_deref().and_then(<[_]>::first) else {
            return Ok(status::success());
        };
        let loaded = self.load_of(collection.id).is_some();
        if loaded && indexes.iter().flatten().any(|index| index.spec.is_vector()) {
            return Err(refuse::invalid(format_args!(
                "vector index cannot be dropped on loaded collection: {}",
                collection.id
            )));
        }
        if indexes.as_ref().is_some_and(|indexes| indexes.len() > 1) {
            return Err(ambiguous(&request.index_name));
        }
        let id = self.request_id().await?;
        self.acknowledge(self.parts.data.drop_index(id, collection.id, index.id).await?).await
    }

    pub(in crate::grpc) async fn describe_index(
        &self,
        context: RequestContext,
        request: DescribeIndexRequest,
    ) -> Result<DescribeIndexResponse, Error> {
        name::collection(&request.collection_name)?;
        let (database, name) = (&request.db_name, &request.collection_name);
        let index_descriptions =
            self.described_indexes(&context, database, name, &request.index_name).await?;
        Ok(DescribeIndexResponse { index_descriptions, ..DescribeIndexResponse::default() })
    }

    pub(in crate::grpc) async fn get_index_statistics(
        &self,
        context: RequestContext,
        request: GetIndexStatisticsRequest,
    ) -> Result<GetIndexStatisticsResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        let index_descriptions =
            self.described_indexes(&context, database, name, &request.index_name).await?;
        Ok(GetIndexStatisticsResponse { index_descriptions, ..GetIndexStatisticsResponse::default() })
    }

    async fn described_indexes(
        &self,
        context: &RequestContext,
        database: &str,
        collection: &str,
        index: &str,
    ) -> Result<Vec<IndexDescription>, Error> {
        let collection = self.collection(context, database, collection).await?;
        let indexes = self.existing_indexes(&collection, index)?;
        Ok(self
            .parts
            .metadata
            .read(|metadata| indexes.iter().map(|index| describe(metadata, &collection, index)).collect()))
    }

    pub(in crate::grpc) async fn get_index_state(
        &self,
        context: RequestContext,
        request: GetIndexStateRequest,
    ) -> Result<GetIndexStateResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        let progress = self.progress(&context, database, name, &request.index_name).await?;
        Ok(GetIndexStateResponse {
            state: progress.state().into(),
            fail_reason: progress.failure,
            ..GetIndexStateResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_index_build_progress(
        &self,
        context: RequestContext,
        request: GetIndexBuildProgressRequest,
    ) -> Result<GetIndexBuildProgressResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        let progress = self.progress(&context, database, name, &request.index_name).await?;
        Ok(GetIndexBuildProgressResponse {
            indexed_rows: rows(progress.indexed),
            total_rows: rows(progress.total),
            ..GetIndexBuildProgressResponse::default()
        })
    }

    /// The progress of the one index that is meant.
    async fn progress(
        &self,
        context: &RequestContext,
        database: &str,
        collection: &str,
        index: &str,
    ) -> Result<Progress, Error> {
        let collection = self.collection(context, database, collection).await?;
        match self.existing_indexes(&collection, index)?.as_slice() {
            [only] => Ok(self.parts.metadata.read(|metadata| Progress::of(metadata, &collection, only.id))),
            _ => Err(ambiguous(index)),
        }
    }

    /// The index of this name, or all; at least one.
    fn existing_indexes(&self, collection: &CollectionRecord, name: &str) -> Result<Vec<IndexRecord>, Error> {
        let indexes = self.indexes_of(collection.id);
        let indexes = indexes.map(|indexes| chosen(&indexes, name)).unwrap_or_default();
        match (indexes.is_empty(), name) {
            (false, _) => Ok(indexes),
            (true, "") => Err(Error::NoIndexes { collection: collection.name.clone() }),
            (true, name) => Err(Error::IndexNotFound { index: name.to_owned() }),
        }
    }

    pub(super) fn indexes_of(&self, collection: CollectionId) -> Option<Arc<IndexesRecord>> {
        self.parts.metadata.read(|metadata| Some(metadata.indexes.get(&collection)?.record.clone()))
    }
}

/// Checks a definition for what has an index already; the coordinator compares what is built.
fn check_again(
    existing: &IndexRecord,
    name: &str,
    field: &FieldSchema,
    params: &[(String, String)],
) -> Result<(), Error> {
    if field.data_type == DataType::Json && existing.name != name {
        return Err(refuse::invalid(
            "CreateIndex failed: creating multiple indexes on same field is not supported",
        ));
    }
    // Milvus does not recognise an index again when a changeable parameter is given.
    let changeable = params.iter().any(|(key, _)| define::index::is_alterable(key));
    if changeable && existing.name == name {
        return Err(refuse::invalid("at most one distinct index is allowed per field"));
    }
    Ok(())
}

/// The index of this name; without a name all.
fn chosen(indexes: &IndexesRecord, name: &str) -> Vec<IndexRecord> {
    indexes.indexes.iter().filter(|index| name.is_empty() || index.name == name).cloned().collect()
}

fn ambiguous(name: &str) -> Error {
    Error::IndexDuplicate { index: name.to_owned(), reason: "there are multiple indexes".to_owned() }
}

/// The field to index; undeclared names are keys of the dynamic field.
fn indexed_field<'a>(collection: &'a CollectionRecord, name: &str) -> Result<&'a FieldSchema, Error> {
    let schema = &collection.schema;
    schema
        .field(name)
        .or_else(|| schema.dynamic_field())
        .ok_or_else(|| refuse::invalid(format_args!("cannot create index on non-exist field: {name}")))
}
