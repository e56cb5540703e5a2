//! A small client of Milvus's protocol over one collection shape: what the model test needs.
//!
//! Rows are `(id, version, tag)` with a vector derived from id and version, so that a read shows
//! which version of a row was found.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use prost::Message;
use redkite_proto::common::{
    ConsistencyLevel, DslType, KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue, Status,
};
use redkite_proto::milvus::milvus_service_client::MilvusServiceClient;
use redkite_proto::milvus::{
    CreateCollectionRequest, CreateIndexRequest, CreateResourceGroupRequest, DeleteRequest,
    DescribeCollectionRequest, DescribeIndexRequest, DropCollectionRequest, FlushRequest,
    GetFlushStateRequest, GetLoadingProgressRequest, GetPersistentSegmentInfoRequest, InsertRequest,
    LoadCollectionRequest, MutationResult, QueryRequest, ReleaseCollectionRequest, SearchRequest,
    ShowCollectionsRequest, UpdateResourceGroupsRequest, UpsertRequest, search_request,
};
use redkite_proto::rg::{ResourceGroupConfig, ResourceGroupLimit};
use redkite_proto::schema::{
    CollectionSchema, DataType, FieldData, FieldSchema, LongArray, ScalarField, StringArray, VectorField,
    field_data, i_ds, scalar_field, vector_field,
};
use redkite_proto::wire::FloatArray;
use tonic::body::Body;
use tonic::client::GrpcService;
use tonic::codegen::{Body as HttpBody, Bytes, StdError};
use tonic::transport::{Channel, Endpoint};

/// Dimension of the vectors.
pub const DIM: usize = 8;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// Primary key.
    pub id: i64,
    /// Grows with every upsert of the row.
    pub version: i64,
    /// Some text.
    pub tag: String,
}

impl Row {
    /// The row's vector: no two (id, version) pairs share one.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "test values are small")]
    pub fn vector(&self) -> [f32; DIM] {
        let mut vector = [0.0; DIM];
        vector[0] = self.id as f32;
        vector[1] = self.version as f32;
        for (position, value) in vector.iter_mut().enumerate().skip(2) {
            *value = ((self.id * 31 + position as i64 * 17) % 13) as f32;
        }
        vector
    }
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection broke or the server gave no answer: the call may have been applied.
    #[error("no answer: {0}")]
    Lost(#[from] tonic::Status),
    /// The server refused.
    #[error("refused with code {code}: {reason}")]
    Refused {
        /// Milvus's code.
        code: i32,
        /// Milvus's message.
        reason: String,
    },
}

impl CallError {
    /// Milvus's code, if the server answered.
    #[must_use]
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Lost(_) => None,
            Self::Refused { code, .. } => Some(*code),
        }
    }
}

/// Result of a call.
pub type CallResult<T> = Result<T, CallError>;

#[expect(deprecated, reason = "old clients read error_code, so it must agree with code")]
fn check(status: Option<&Status>) -> CallResult<()> {
    match status {
        Some(status) if status.code == 0 && status.error_code == 0 => Ok(()),
        Some(status) => Err(CallError::Refused { code: status.code, reason: status.reason.clone() }),
        None => Err(CallError::Refused { code: -1, reason: "answer without status".to_owned() }),
    }
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<KeyValuePair> {
    pairs.iter().map(|(key, value)| KeyValuePair { key: (*key).into(), value: (*value).into() }).collect()
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Client<T = Channel> {
    rpc: MilvusServiceClient<T>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// If nobody listens.
    pub async fn connect(address: SocketAddr) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?.timeout(Duration::from_secs(30));
        let channel = endpoint.connect().await.with_context(|| format!("connect to {address}"))?;
        Ok(Self::over(channel))
    }
}

impl<T> Client<T>
where
    T: GrpcService<Body>,
    T::Error: Into<StdError>,
    T::ResponseBody: HttpBody<Data = Bytes> + Send + 'static,
    <T::ResponseBody as HttpBody>::Error: Into<StdError> + Send,
{
    /// Speaks to whatever is at the end of a channel.
    pub fn over(channel: T) -> Self {
        Self { rpc: MilvusServiceClient::new(channel) }
    }

    /// Creates a collection of [`Row`]s.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn create_collection(&mut self, name: &str, shards: i32) -> CallResult<()> {
        let field = |name: &str, data_type: DataType, params: &[(&str, &str)]| FieldSchema {
            name: name.into(),
            data_type: data_type.into(),
            is_primary_key: name == "id",
            type_params: pairs(params),
            ..FieldSchema::default()
        };
        let schema = CollectionSchema {
            name: name.into(),
            fields: vec![
                field("id", DataType::Int64, &[]),
                field("version", DataType::Int64, &[]),
                field("tag", DataType::VarChar, &[("max_length", "1024")]),
                field("vector", DataType::FloatVector, &[("dim", "8")]),
            ],
            ..CollectionSchema::default()
        };
        let request = CreateCollectionRequest {
            collection_name: name.into(),
            schema: schema.encode_to_vec().into(),
            shards_num: shards,
            consistency_level: ConsistencyLevel::Strong.into(),
            ..CreateCollectionRequest::default()
        };
        check(Some(&self.rpc.create_collection(request).await?.into_inner()))
    }

    /// Drops a collection.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn drop_collection(&mut self, name: &str) -> CallResult<()> {
        let request =
            DropCollectionRequest { collection_name: name.into(), ..DropCollectionRequest::default() };
        check(Some(&self.rpc.drop_collection(request).await?.into_inner()))
    }

    /// Whether the collection exists.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn has_collection(&mut self, name: &str) -> CallResult<bool> {
        let request = DescribeCollectionRequest {
            collection_name: name.into(),
            ..DescribeCollectionRequest::default()
        };
        let answer = self.rpc.describe_collection(request).await?.into_inner();
        match check(answer.status.as_ref()) {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(100) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Names of all collections of the default database.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn collections(&mut self) -> CallResult<Vec<String>> {
        let answer = self.rpc.show_collections(ShowCollectionsRequest::default()).await?.into_inner();
        check(answer.status.as_ref())?;
        Ok(answer.collection_names)
    }

    /// Defines an HNSW index on the vectors.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn create_index(&mut self, collection: &str) -> CallResult<()> {
        let request = CreateIndexRequest {
            collection_name: collection.into(),
            field_name: "vector".into(),
            extra_params: pairs(&[
                ("index_type", "HNSW"),
                ("metric_type", "L2"),
                ("M", "16"),
                ("efConstruction", "100"),
            ]),
            ..CreateIndexRequest::default()
        };
        check(Some(&self.rpc.create_index(request).await?.into_inner()))
    }

    /// Rows that are indexed and rows in all.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn index_progress(&mut self, collection: &str) -> CallResult<(i64, i64)> {
        let request =
            DescribeIndexRequest { collection_name: collection.into(), ..DescribeIndexRequest::default() };
        let answer = self.rpc.describe_index(request).await?.into_inner();
        check(answer.status.as_ref())?;
        let index = answer.index_descriptions.first();
        Ok(index.map_or((0, 0), |index| (index.indexed_rows, index.total_rows)))
    }

    /// Loads a collection and waits until it is.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn load(&mut self, collection: &str) -> CallResult<()> {
        self.load_replicas(collection, 1).await
    }

    /// Loads so many replicas of a collection and waits until they are.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn load_replicas(&mut self, collection: &str, replicas: i32) -> CallResult<()> {
        self.begin_load(collection, replicas).await?;
        self.loaded(collection).await
    }

    /// Loads so many replicas of a collection on nodes of a resource group and waits until they are.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn load_in(&mut self, collection: &str, replicas: i32, group: &str) -> CallResult<()> {
        let request = LoadCollectionRequest {
            collection_name: collection.into(),
            replica_number: replicas,
            resource_groups: vec![group.into()],
            ..LoadCollectionRequest::default()
        };
        check(Some(&self.rpc.load_collection(request).await?.into_inner()))?;
        self.loaded(collection).await
    }

    /// Makes a resource group of so many query nodes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn create_resource_group(&mut self, name: &str, nodes: i32) -> CallResult<()> {
        let config = Some(of_nodes(nodes));
        let request =
            CreateResourceGroupRequest { resource_group: name.into(), config, ..Default::default() };
        check(Some(&self.rpc.create_resource_group(request).await?.into_inner()))
    }

    /// Gives resource groups other numbers of query nodes.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn resize_resource_groups(&mut self, groups: &[(&str, i32)]) -> CallResult<()> {
        let resource_groups = groups.iter().map(|(name, nodes)| ((*name).to_owned(), of_nodes(*nodes)));
        let request = UpdateResourceGroupsRequest {
            resource_groups: resource_groups.collect(),
            ..UpdateResourceGroupsRequest::default()
        };
        check(Some(&self.rpc.update_resource_groups(request).await?.into_inner()))
    }

    /// Asks for so many replicas of a collection to be loaded.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn begin_load(&mut self, collection: &str, replicas: i32) -> CallResult<()> {
        let request = LoadCollectionRequest {
            collection_name: collection.into(),
            replica_number: replicas,
            ..LoadCollectionRequest::default()
        };
        check(Some(&self.rpc.load_collection(request).await?.into_inner()))
    }

    /// Waits until a collection is loaded.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn loaded(&mut self, collection: &str) -> CallResult<()> {
        loop {
            let request = GetLoadingProgressRequest {
                collection_name: collection.into(),
                ..GetLoadingProgressRequest::default()
            };
            let answer = self.rpc.get_loading_progress(request).await?.into_inner();
            check(answer.status.as_ref())?;
            if answer.progress >= 100 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Releases a collection.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn release(&mut self, collection: &str) -> CallResult<()> {
        let request = ReleaseCollectionRequest {
            collection_name: collection.into(),
            ..ReleaseCollectionRequest::default()
        };
        check(Some(&self.rpc.release_collection(request).await?.into_inner()))
    }

    /// Inserts rows.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn insert(&mut self, collection: &str, rows: &[Row]) -> CallResult<MutationResult> {
        let request = InsertRequest {
            collection_name: collection.into(),
            fields_data: columns(rows),
            num_rows: row_count(rows),
            ..InsertRequest::default()
        };
        let answer = self.rpc.insert(request).await?.into_inner();
        check(answer.status.as_ref()).map(|()| answer)
    }

    /// Upserts rows.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn upsert(&mut self, collection: &str, rows: &[Row]) -> CallResult<MutationResult> {
        let request = UpsertRequest {
            collection_name: collection.into(),
            fields_data: columns(rows),
            num_rows: row_count(rows),
            ..UpsertRequest::default()
        };
        let answer = self.rpc.upsert(request).await?.into_inner();
        check(answer.status.as_ref()).map(|()| answer)
    }

    /// Deletes the rows that satisfy a filter.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn delete(&mut self, collection: &str, filter: &str) -> CallResult<i64> {
        let request = DeleteRequest {
            collection_name: collection.into(),
            expr: filter.into(),
            ..DeleteRequest::default()
        };
        let answer = self.rpc.delete(request).await?.into_inner();
        check(answer.status.as_ref()).map(|()| answer.delete_cnt)
    }

    /// Flushes a collection and waits until everything written before is in segment files.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn flush(&mut self, collection: &str) -> CallResult<()> {
        let request = FlushRequest { collection_names: vec![collection.into()], ..FlushRequest::default() };
        let answer = self.rpc.flush(request).await?.into_inner();
        check(answer.status.as_ref())?;
        let segments = answer.coll_seg_i_ds.get(collection).map(|ids| ids.data.clone()).unwrap_or_default();
        let flush_ts = answer.coll_flush_ts.get(collection).copied().unwrap_or_default();
        loop {
            let request = GetFlushStateRequest {
                segment_i_ds: segments.clone(),
                flush_ts,
                collection_name: collection.into(),
                ..GetFlushStateRequest::default()
            };
            let state = self.rpc.get_flush_state(request).await?.into_inner();
            check(state.status.as_ref())?;
            if state.flushed {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Ids of the segments whose files count.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn persistent_segments(&mut self, collection: &str) -> CallResult<Vec<i64>> {
        let request = GetPersistentSegmentInfoRequest {
            collection_name: collection.into(),
            ..GetPersistentSegmentInfoRequest::default()
        };
        let answer = self.rpc.get_persistent_segment_info(request).await?.into_inner();
        check(answer.status.as_ref())?;
        Ok(answer.infos.iter().map(|segment| segment.segment_id).collect())
    }

    /// The rows that satisfy a filter, by a strong read, in primary key order.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn query(&mut self, collection: &str, filter: &str) -> CallResult<Vec<Row>> {
        let answer = self.strong_query(collection, filter, &["id", "version", "tag"]).await?;
        let mut rows = rows_of(&answer);
        rows.sort();
        Ok(rows)
    }

    /// The rows that satisfy a filter, with their vectors as they are stored, in primary key order.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn query_with_vectors(
        &mut self,
        collection: &str,
        filter: &str,
    ) -> CallResult<Vec<(Row, Vec<f32>)>> {
        let answer = self.strong_query(collection, filter, &["id", "version", "tag", "vector"]).await?;
        let vectors = floats(answer.iter().find(|field| field.field_name == "vector"));
        let vectors = vectors.chunks(DIM).map(<[f32]>::to_vec);
        let mut rows: Vec<_> = rows_of(&answer).into_iter().zip(vectors).collect();
        rows.sort_by_key(|(row, _)| row.id);
        Ok(rows)
    }

    /// Number of rows that satisfy a filter, by a strong read.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn count(&mut self, collection: &str, filter: &str) -> CallResult<i64> {
        let answer = self.strong_query(collection, filter, &["count(*)"]).await?;
        Ok(longs(answer.first()).first().copied().unwrap_or(-1))
    }

    async fn strong_query(
        &mut self,
        collection: &str,
        filter: &str,
        output: &[&str],
    ) -> CallResult<Vec<FieldData>> {
        let request = QueryRequest {
            collection_name: collection.into(),
            expr: filter.into(),
            output_fields: output.iter().map(|name| (*name).into()).collect(),
            consistency_level: ConsistencyLevel::Strong.into(),
            ..QueryRequest::default()
        };
        let answer = self.rpc.query(request).await?.into_inner();
        check(answer.status.as_ref()).map(|()| answer.fields_data)
    }

    /// Ids and scores of the rows nearest to a row's vector, by a strong search.
    ///
    /// # Errors
    /// See [`CallError`].
    pub async fn search(
        &mut self,
        collection: &str,
        near: &Row,
        limit: usize,
    ) -> CallResult<Vec<(i64, f32)>> {
        let values =
            vec![near.vector().iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into()];
        let placeholder = PlaceholderValue {
            tag: "$0".into(),
            r#type: PlaceholderType::FloatVector.into(),
            values,
            ..Default::default()
        };
        let group = PlaceholderGroup { placeholders: vec![placeholder] };
        let limit = limit.to_string();
        let request = SearchRequest {
            collection_name: collection.into(),
            dsl_type: DslType::BoolExprV1.into(),
            search_input: Some(search_request::SearchInput::PlaceholderGroup(group.encode_to_vec().into())),
            nq: 1,
            search_params: pairs(&[
                ("anns_field", "vector"),
                ("topk", &limit),
                ("metric_type", "L2"),
                ("params", r#"{"ef": 128}"#),
            ]),
            consistency_level: ConsistencyLevel::Strong.into(),
            ..SearchRequest::default()
        };
        let answer = self.rpc.search(request).await?.into_inner();
        check(answer.status.as_ref())?;
        let results = answer.results.unwrap_or_default();
        let ids = match results.ids.and_then(|ids| ids.id_field) {
            Some(i_ds::IdField::IntId(ids)) => ids.data,
            _ => Vec::new(),
        };
        Ok(ids.into_iter().zip(results.scores).collect())
    }
}

fn row_count(rows: &[Row]) -> u32 {
    u32::try_from(rows.len()).expect("test batches are small")
}

fn columns(rows: &[Row]) -> Vec<FieldData> {
    let scalar = |name: &str, data_type: DataType, data: scalar_field::Data| FieldData {
        field_name: name.into(),
        r#type: data_type.into(),
        field: Some(field_data::Field::Scalars(ScalarField { data: Some(data), ..ScalarField::default() })),
        ..FieldData::default()
    };
    let long = |name, values: Vec<i64>| {
        scalar(name, DataType::Int64, scalar_field::Data::LongData(LongArray { data: values }))
    };
    let vectors = FloatArray { data: rows.iter().flat_map(Row::vector).collect() };
    vec![
        long("id", rows.iter().map(|row| row.id).collect()),
        long("version", rows.iter().map(|row| row.version).collect()),
        scalar(
            "tag",
            DataType::VarChar,
            scalar_field::Data::StringData(StringArray {
                data: rows.iter().map(|row| row.tag.clone()).collect(),
            }),
        ),
        FieldData {
            field_name: "vector".into(),
            r#type: DataType::FloatVector.into(),
            field: Some(field_data::Field::Vectors(VectorField {
                dim: DIM as i64,
                data: Some(vector_field::Data::FloatVector(vectors)),
                ..VectorField::default()
            })),
            ..FieldData::default()
        },
    ]
}

fn rows_of(fields: &[FieldData]) -> Vec<Row> {
    let column = |name: &str| fields.iter().find(|field| field.field_name == name);
    let keys = longs(column("id")).into_iter().zip(longs(column("version")));
    keys.zip(strings(column("tag"))).map(|((id, version), tag)| Row { id, version, tag }).collect()
}

fn scalar_data(field: Option<&FieldData>) -> Option<&scalar_field::Data> {
    match &field?.field {
        Some(field_data::Field::Scalars(scalars)) => scalars.data.as_ref(),
        _ => None,
    }
}

fn longs(field: Option<&FieldData>) -> Vec<i64> {
    match scalar_data(field) {
        Some(scalar_field::Data::LongData(values)) => values.data.clone(),
        _ => Vec::new(),
    }
}

fn strings(field: Option<&FieldData>) -> Vec<String> {
    match scalar_data(field) {
        Some(scalar_field::Data::StringData(values)) => values.data.clone(),
        _ => Vec::new(),
    }
}

fn floats(field: Option<&FieldData>) -> Vec<f32> {
    match field.and_then(|field| field.field.as_ref()) {
        Some(field_data::Field::Vectors(VectorField {
            data: Some(vector_field::Data::FloatVector(values)),
            ..
        })) => values.data.clone(),
        _ => Vec::new(),
    }
}

fn of_nodes(nodes: i32) -> ResourceGroupConfig {
    let number = Some(ResourceGroupLimit { node_num: nodes });
    ResourceGroupConfig { requests: number, limits: number, ..ResourceGroupConfig::default() }
}
