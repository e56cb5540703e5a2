//! Collections.

use std::sync::Arc;
use std::time::Duration;

use prost::Message;
use redkite_catalog::{CollectionRecord, DatabaseRecord, Properties, load_progress};
use redkite_proto::common::Status;
use redkite_proto::milvus::{
    BatchDescribeCollectionRequest, BatchDescribeCollectionResponse, BoolResponse, CreateCollectionRequest,
    DescribeCollectionRequest, DescribeCollectionResponse, DropCollectionRequest, HasCollectionRequest,
    RenameCollectionRequest, ShowCollectionsRequest, ShowCollectionsResponse, ShowType,
    TruncateCollectionRequest, TruncateCollectionResponse,
};
use redkite_proto::schema::CollectionSchema;
use redkite_service::{Ddl, Error, NewCollection};
use redkite_types::ConsistencyLevel;
use tokio::time::timeout;
use tracing::warn;

use crate::convert;
use crate::define::property::TIMEZONE;
use crate::define::{name, schema};
use crate::grpc::answer::Answer;
use crate::{Proxy, RequestContext, describe, refuse, status};

/// Milvus: `common.defaultTimezone`.
const DEFAULT_TIMEZONE: &str = "UTC";
/// How long the creation of a collection waits for the leaders of its shards.
const LEADERS_PATIENCE: Duration = Duration::from_secs(5);
/// A property that stands for the level the message has a field for as well.
const CONSISTENCY: &str = "consistency_level";

impl Proxy {
    pub(in crate::grpc) async fn create_collection(
        &self,
        context: RequestContext,
        request: CreateCollectionRequest,
    ) -> Result<Status, Error> {
        let wire = CollectionSchema::decode(request.schema.clone())
            .map_err(|error| refuse::invalid(format_args!("the schema cannot be decoded: {error}")))?;
        let partitions = schema::check(&request, &wire)?;
        let database = self.database(&context, &request.db_name).await?;
        let mut properties = convert::schema::properties(&request.properties);
        let consistency = consistency(&request, &mut properties)?;
        let timezone = database.properties.get(TIMEZONE).map_or(DEFAULT_TIMEZONE, String::as_str);
        properties.entry(TIMEZONE.to_owned()).or_insert_with(|| timezone.to_owned());
        let new = NewCollection {
            database: database.name.clone(),
            name: request.collection_name,
            schema: convert::schema::from_wire(&wire),
            partitions,
            shards: u16::try_from(request.shards_num).unwrap_or_default().max(1),
            consistency,
            properties,
        };
        let name = new.name.clone();
        let status = self.define(Ddl::CreateCollection(Box::new(new))).await?;
        let created = self.collection(&context, &request.db_name, &name).await?;
        self.await_leaders(&created).await;
        Ok(status)
    }

    /// Waits until the shards have leaders, so that the first write does not meet an empty seat. Not
    /// for long: the collection exists anyway.
    async fn await_leaders(&self, collection: &CollectionRecord) {
        let mut changes = self.parts.metadata.changes();
        let are_led = || {
            let mut shards = collection.shard_ids();
            self.parts.metadata.read(|metadata| shards.all(|shard| metadata.shards.contains_key(&shard)))
        };
        let led = async {
            while !are_led() {
                changes.any().await;
            }
        };
        if timeout(LEADERS_PATIENCE, led).await.is_err() {
            warn!(collection = collection.id.0, "a new collection has shards without leaders");
        }
    }

    pub(in crate::grpc) async fn drop_collection(
        &self,
        context: RequestContext,
        request: DropCollectionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let database = context.database(&request.db_name).to_owned();
        self.define(Ddl::DropCollection { database, collection: request.collection_name }).await
    }

    pub(in crate::grpc) async fn truncate_collection(
        &self,
        context: RequestContext,
        request: TruncateCollectionRequest,
    ) -> Result<TruncateCollectionResponse, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let database = context.database(&request.db_name).to_owned();
        self.define(Ddl::TruncateCollection { database, collection: collection.name.clone() }).await?;
        Ok(TruncateCollectionResponse::default())
    }

    pub(in crate::grpc) async fn rename_collection(
        &self,
        context: RequestContext,
        request: RenameCollectionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.new_name)?;
        let database = context.database(&request.db_name).to_owned();
        let new_database = match request.new_db_name.as_str() {
            "" => database.clone(),
            other => other.to_owned(),
        };
        self.define(Ddl::RenameCollection {
            database,
            collection: request.old_name,
            new_database,
            new_name: request.new_name,
        })
        .await
    }

    pub(in crate::grpc) async fn has_collection(
        &self,
        context: RequestContext,
        request: HasCollectionRequest,
    ) -> Result<BoolResponse, Error> {
        name::collection(&request.collection_name)?;
        let value = match self.collection(&context, &request.db_name, &request.collection_name).await {
            Ok(_) => true,
            Err(Error::CollectionNotFound { .. }) => false,
            Err(error) => return Err(error),
        };
        Ok(BoolResponse { value, ..BoolResponse::default() })
    }

    pub(in crate::grpc) async fn describe_collection(
        &self,
        context: RequestContext,
        request: DescribeCollectionRequest,
    ) -> Result<DescribeCollectionResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        if request.collection_id == 0 || !name.is_empty() {
            crate::define::name::collection(name)?;
        }
        let collection = self.named_or_numbered(&context, database, name, request.collection_id).await?;
        self.described(&collection)
    }

    fn described(&self, collection: &CollectionRecord) -> Result<DescribeCollectionResponse, Error> {
        self.parts.metadata.read(|metadata| {
            let database = metadata
                .databases
                .get(&collection.database)
                .ok_or_else(|| Error::DatabaseNotFound { database: collection.database.to_string() })?;
            Ok(describe::collection::describe(metadata, database, collection))
        })
    }

    pub(in crate::grpc) async fn batch_describe_collection(
        &self,
        context: RequestContext,
        request: BatchDescribeCollectionRequest,
    ) -> Result<BatchDescribeCollectionResponse, Error> {
        if request.collection_name.is_empty() && request.collection_id.is_empty() {
            return Err(refuse::missing("collection names cannot be empty"));
        }
        let database = &request.db_name;
        let names = request.collection_name.iter().map(|name| (name.as_str(), 0));
        let ids = request.collection_id.iter().map(|id| ("", *id));
        let mut responses = Vec::with_capacity(names.len() + ids.len());
        for (name, id) in names.chain(ids) {
            let found = self.named_or_numbered(&context, database, name, id).await;
            responses.push(match found.and_then(|collection| self.described(&collection)) {
                Ok(described) => DescribeCollectionResponse { status: Some(status::success()), ..described },
                Err(error) => DescribeCollectionResponse {
                    collection_name: name.to_owned(),
                    ..DescribeCollectionResponse::refusal(&error)
                },
            });
        }
        Ok(BatchDescribeCollectionResponse { responses, ..BatchDescribeCollectionResponse::default() })
    }

    #[allow(deprecated, reason = "old clients poll the loading of named collections")]
    pub(in crate::grpc) async fn show_collections(
        &self,
        context: RequestContext,
        request: ShowCollectionsRequest,
    ) -> Result<ShowCollectionsResponse, Error> {
        let database = self.database(&context, &request.db_name).await?;
        let mut named = Vec::with_capacity(request.collection_names.len());
        for name in &request.collection_names {
            named.push(self.collection(&context, &request.db_name, name).await?);
        }
        let in_memory = request.r#type() == ShowType::InMemory;
        self.shown(&database, &named, in_memory)
    }

    #[allow(deprecated, reason = "old clients poll the loading of named collections")]
    fn shown(
        &self,
        database: &DatabaseRecord,
        named: &[Arc<CollectionRecord>],
        in_memory: bool,
    ) -> Result<ShowCollectionsResponse, Error> {
        self.parts.metadata.read(|metadata| {
            let mut response = ShowCollectionsResponse::default();
            let collections =
                metadata.collections.values().filter(|collection| collection.database == database.id).filter(
                    |collection| named.is_empty() || named.iter().any(|name| name.id == collection.id),
                );
            for collection in collections {
                if in_memory {
                    match load_progress(metadata, collection.id, &[]) {
                        Some(progress) => {
                            response.in_memory_percentages.push(i64::from(progress.percent));
                            response.query_service_available.push(progress.percent == 100);
                        }
                        None if named.is_empty() => continue,
                        None => {
                            let collection = collection.name.clone();
                            return Err(Error::CollectionNotLoaded { collection });
                        }
                    }
                }
                response.collection_names.push(collection.name.clone());
                response.collection_ids.push(collection.id.0);
                response.created_timestamps.push(collection.created_at.0);
                response.created_utc_timestamps.push(collection.created_at.physical());
                response.shards_num.push(i32::from(collection.shards));
            }
            Ok(response)
        })
    }
}

fn consistency(
    request: &CreateCollectionRequest,
    properties: &mut Properties,
) -> Result<ConsistencyLevel, Error> {
    let number = match properties.remove(CONSISTENCY) {
        Some(text) => {
            text.parse().map_err(|_| refuse::invalid(format_args!("invalid consistency level: {text}")))?
        }
        None => request.consistency_level,
    };
    ConsistencyLevel::from_wire(number)
        .ok_or_else(|| refuse::invalid(format_args!("invalid consistency level: {number}")))
}
