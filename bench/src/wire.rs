//! The few calls a benchmark makes.

use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use prost::Message;
use redkite_proto::common::{
    ConsistencyLevel, DslType, KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue, Status,
};
use redkite_proto::milvus::milvus_service_client::MilvusServiceClient;
use redkite_proto::milvus::{
    CreateCollectionRequest, CreateIndexRequest, DeleteRequest, DescribeIndexRequest, DropCollectionRequest,
    FlushRequest, GetFlushStateRequest, GetLoadingProgressRequest, InsertRequest, LoadCollectionRequest,
    SearchRequest, search_request,
};
use redkite_proto::schema::{
    CollectionSchema, DataType, FieldData, FieldSchema, LongArray, ScalarField, VectorField, field_data,
    i_ds, scalar_field, vector_field,
};
use redkite_proto::wire::FloatArray;
use tonic::transport::{Channel, Endpoint};

use crate::data::{Dataset, K};

const COLLECTION: &str = "redkite_bench";

/// One connection.
#[derive(Clone)]
pub(crate) struct Connection(MilvusServiceClient<Channel>);

fn check(status: Option<&Status>) -> anyhow::Result<()> {
    let status = status.context("answer without status")?;
    ensure!(status.code == 0 && status.reason.is_empty(), "code {}: {}", status.code, status.reason);
    Ok(())
}

fn pairs<const N: usize>(pairs: [(&str, String); N]) -> Vec<KeyValuePair> {
    pairs.into_iter().map(|(key, value)| KeyValuePair { key: key.to_owned(), value }).collect()
}

impl Connection {
    pub(crate) async fn open(address: &str) -> anyhow::Result<Self> {
        let endpoint = Endpoint::from_shared(address.to_owned())?.tcp_nodelay(true);
        let channel = endpoint.connect().await.with_context(|| format!("connect to {address}"))?;
        Ok(Self(MilvusServiceClient::new(channel).max_decoding_message_size(256 << 20)))
    }

    /// Replaces the collection by an empty one: `id` (primary key), `bucket`, `vector`.
    pub(crate) async fn recreate(&mut self, dim: usize) -> anyhow::Result<()> {
        let drop = DropCollectionRequest { collection_name: COLLECTION.into(), ..Default::default() };
        // Servers differ in whether dropping what is not there is an error; creating tells.
        let _ = self.0.drop_collection(drop).await?;
        let field = |name: &str, data_type: DataType, params| FieldSchema {
            name: name.into(),
            data_type: data_type.into(),
            is_primary_key: name == "id",
            type_params: params,
            ..Default::default()
        };
        let schema = CollectionSchema {
            name: COLLECTION.into(),
            fields: vec![
                field("id", DataType::Int64, vec![]),
                field("bucket", DataType::Int64, vec![]),
                field("vector", DataType::FloatVector, pairs([("dim", dim.to_string())])),
            ],
            ..Default::default()
        };
        let request = CreateCollectionRequest {
            collection_name: COLLECTION.into(),
            schema: schema.encode_to_vec().into(),
            shards_num: 1,
            consistency_level: ConsistencyLevel::Bounded.into(),
            ..Default::default()
        };
        check(Some(&self.0.create_collection(request).await?.into_inner()))
    }

    /// Inserts rows of the data; their ids are their places in it, counted from `first_id`.
    pub(crate) async fn insert(
        &mut self,
        data: &Dataset,
        rows: std::ops::Range<usize>,
        first_id: usize,
    ) -> anyhow::Result<()> {
        let long = |name: &str, values: Vec<i64>| FieldData {
            field_name: name.into(),
            r#type: DataType::Int64.into(),
            field: Some(field_data::Field::Scalars(ScalarField {
                data: Some(scalar_field::Data::LongData(LongArray { data: values })),
                ..Default::default()
            })),
            ..Default::default()
        };
        let vectors = data.vectors[rows.start * data.dim..rows.end * data.dim].to_vec();
        let vector = FieldData {
            field_name: "vector".into(),
            r#type: DataType::FloatVector.into(),
            field: Some(field_data::Field::Vectors(VectorField {
                dim: i64::try_from(data.dim)?,
                data: Some(vector_field::Data::FloatVector(FloatArray { data: vectors })),
                ..Default::default()
            })),
            ..Default::default()
        };
        let request = InsertRequest {
            collection_name: COLLECTION.into(),
            num_rows: u32::try_from(rows.len())?,
            fields_data: vec![
                long("id", rows.clone().map(|row| (first_id + row) as i64).collect()),
                long("bucket", rows.map(Dataset::bucket).collect()),
                vector,
            ],
            ..Default::default()
        };
        check(self.0.insert(request).await?.into_inner().status.as_ref())
    }

    pub(crate) async fn delete(&mut self, filter: &str) -> anyhow::Result<()> {
        let request =
            DeleteRequest { collection_name: COLLECTION.into(), expr: filter.into(), ..Default::default() };
        check(self.0.delete(request).await?.into_inner().status.as_ref())
    }

    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        let request = FlushRequest { collection_names: vec![COLLECTION.into()], ..Default::default() };
        let answer = self.0.flush(request).await?.into_inner();
        check(answer.status.as_ref())?;
        let segments = answer.coll_seg_i_ds.get(COLLECTION).map(|ids| ids.data.clone()).unwrap_or_default();
        let flush_ts = answer.coll_flush_ts.get(COLLECTION).copied().unwrap_or_default();
        loop {
            let request = GetFlushStateRequest {
                segment_i_ds: segments.clone(),
                flush_ts,
                collection_name: COLLECTION.into(),
                ..Default::default()
            };
            if self.0.get_flush_state(request).await?.into_inner().flushed {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn create_index(
        &mut self,
        metric: &str,
        m: u32,
        ef_construction: u32,
    ) -> anyhow::Result<()> {
        let request = CreateIndexRequest {
            collection_name: COLLECTION.into(),
            field_name: "vector".into(),
            extra_params: pairs([
                ("index_type", "HNSW".to_owned()),
                ("metric_type", metric.to_owned()),
                ("params", format!(r#"{{"M": {m}, "efConstruction": {ef_construction}}}"#)),
            ]),
            ..Default::default()
        };
        check(Some(&self.0.create_index(request).await?.into_inner()))
    }

    /// Waits until the index covers every one of `rows`.
    pub(crate) async fn wait_for_index(&mut self, rows: usize) -> anyhow::Result<()> {
        loop {
            let request = DescribeIndexRequest { collection_name: COLLECTION.into(), ..Default::default() };
            let answer = self.0.describe_index(request).await?.into_inner();
            check(answer.status.as_ref())?;
            let index = answer.index_descriptions.first().context("no index")?;
            ensure!(index.state != 4, "index failed: {}", index.index_state_fail_reason);
            if index.state == 3 && index.indexed_rows >= i64::try_from(rows)? {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub(crate) async fn load(&mut self) -> anyhow::Result<()> {
        let request = LoadCollectionRequest {
            collection_name: COLLECTION.into(),
            replica_number: 1,
            ..Default::default()
        };
        check(Some(&self.0.load_collection(request).await?.into_inner()))?;
        loop {
            let request =
                GetLoadingProgressRequest { collection_name: COLLECTION.into(), ..Default::default() };
            if self.0.get_loading_progress(request).await?.into_inner().progress >= 100 {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ids of the rows found.
    pub(crate) async fn search(&mut self, search: SearchRequest) -> anyhow::Result<Vec<i64>> {
        let answer = self.0.search(search).await?.into_inner();
        check(answer.status.as_ref())?;
        Ok(match answer.results.and_then(|results| results.ids).and_then(|ids| ids.id_field) {
            Some(i_ds::IdField::IntId(ids)) => ids.data,
            _ => Vec::new(),
        })
    }
}

/// A search as a Milvus client sends it.
pub(crate) fn search(
    vector: &[f32],
    metric: &str,
    ef: u32,
    filter: &str,
    level: ConsistencyLevel,
) -> SearchRequest {
    let bytes: Vec<u8> = vector.iter().flat_map(|value| value.to_le_bytes()).collect();
    let placeholder = PlaceholderValue {
        tag: "$0".into(),
        r#type: PlaceholderType::FloatVector.into(),
        values: vec![Bytes::from(bytes)],
        ..Default::default()
    };
    let group = PlaceholderGroup { placeholders: vec![placeholder] };
    SearchRequest {
        collection_name: COLLECTION.into(),
        dsl: filter.into(),
        dsl_type: DslType::BoolExprV1.into(),
        search_input: Some(search_request::SearchInput::PlaceholderGroup(group.encode_to_vec().into())),
        nq: 1,
        search_params: pairs([
            ("anns_field", "vector".to_owned()),
            ("topk", K.to_string()),
            ("metric_type", metric.to_owned()),
            ("params", format!(r#"{{"ef": {ef}}}"#)),
            ("round_decimal", "-1".to_owned()),
        ]),
        // Bounded reads carry 2, strong ones 0: what Milvus's own clients send.
        guarantee_timestamp: if level == ConsistencyLevel::Strong { 0 } else { 2 },
        consistency_level: level.into(),
        ..Default::default()
    }
}
