//! Insert, upsert, delete, flush.

use redkite_catalog::{CollectionRecord, ShardCheckpoint};
use redkite_proto::milvus::{
    DeleteRequest, FlushRequest, GetFlushStateRequest, InsertRequest, UpsertRequest,
};
use redkite_proto::schema::field_data::Field;
use redkite_proto::schema::i_ds::IdField;
use redkite_proto::schema::scalar_field::Data as ScalarData;
use redkite_proto::schema::vector_field::Data as VectorData;
use redkite_proto::schema::{FieldData, IDs, LongArray, ScalarField, StringArray, VectorField};
use redkite_proxy::RequestContext;
use redkite_query::reduce::RetrievePart;
use redkite_service::{Consistency, Error, WriteOp};
use redkite_types::{Column, ColumnData, FieldId, Lsn, PrimaryKeyRef, PrimaryKeys, ShardId, Timestamp};

use crate::world::{COLLECTION, PARTITION, World, collection, timestamp};

fn context() -> RequestContext {
    RequestContext::default()
}

fn scalars(name: &str, data: ScalarData) -> FieldData {
    let field = Some(Field::Scalars(ScalarField { data: Some(data), valid_data: Vec::new() }));
    FieldData { field_name: name.to_owned(), field, ..FieldData::default() }
}

/// Rows with these keys; `text` is the key as text, `vector` holds it twice.
fn rows(keys: &[i64]) -> Vec<FieldData> {
    let texts = keys.iter().map(i64::to_string).collect();
    #[expect(clippy::cast_precision_loss, reason = "small keys")]
    let elements: Vec<f32> = keys.iter().flat_map(|key| [*key as f32, *key as f32]).collect();
    let vectors =
        VectorField { dim: 2, data: Some(VectorData::FloatVector(elements.into())), valid_data: Vec::new() };
    vec![
        scalars("id", ScalarData::LongData(LongArray { data: keys.to_vec() })),
        scalars("text", ScalarData::StringData(StringArray { data: texts })),
        FieldData {
            field_name: "vector".to_owned(),
            field: Some(Field::Vectors(vectors)),
            ..FieldData::default()
        },
    ]
}

fn insert(keys: &[i64]) -> InsertRequest {
    InsertRequest {
        collection_name: "c".to_owned(),
        fields_data: rows(keys),
        num_rows: u32::try_from(keys.len()).unwrap(),
        ..InsertRequest::default()
    }
}

fn upsert(keys: &[i64]) -> UpsertRequest {
    UpsertRequest {
        collection_name: "c".to_owned(),
        fields_data: rows(keys),
        num_rows: u32::try_from(keys.len()).unwrap(),
        ..UpsertRequest::default()
    }
}

fn delete(expr: &str) -> DeleteRequest {
    DeleteRequest { collection_name: "c".to_owned(), expr: expr.to_owned(), ..DeleteRequest::default() }
}

fn int_ids(ids: Option<IDs>) -> Vec<i64> {
    match ids.and_then(|ids| ids.id_field) {
        Some(IdField::IntId(ids)) => ids.data,
        other => panic!("no int ids: {other:?}"),
    }
}

#[tokio::test]
async fn rows_go_to_the_shards_of_their_keys() {
    let world = World::new(2).await;
    let keys: Vec<i64> = (0..50).collect();
    let result = world.proxy.insert(context(), insert(&keys)).await.unwrap();
    assert_eq!(int_ids(result.i_ds), keys);
    assert_eq!((result.insert_cnt, result.succ_index.len()), (50, 50));
    assert_eq!(result.timestamp, timestamp(1).0, "the latest of the shards");

    let written = world.shards.written();
    assert_eq!(written.len(), 2);
    let mut rows = 0;
    for (ordinal, op) in written {
        let WriteOp::Insert(batches) = op else { panic!("an insert") };
        let [(PARTITION, batch)] = batches.as_slice() else { panic!("one batch for the partition") };
        let keys = batch.primary_keys(FieldId(100)).unwrap();
        assert!(keys.iter().all(|key| key.shard(2) == ordinal));
        let texts = &batch.column(FieldId(101)).unwrap().data;
        let ColumnData::VarChar(texts) = texts else { panic!("texts") };
        for (row, key) in keys.iter().enumerate() {
            let PrimaryKeyRef::Int64(key) = key else { panic!("int keys") };
            assert_eq!(texts.str(row), key.to_string());
        }
        rows += batch.rows;
    }
    assert_eq!(rows, 50);
    assert!(world.shards.writes.lock().iter().all(|write| write.schema_version == 3));
}

#[tokio::test]
async fn a_stale_client_is_told_so() {
    let world = World::new(1).await;
    let seen = |schema_timestamp| InsertRequest { schema_timestamp, ..insert(&[1]) };
    assert!(world.proxy.insert(context(), seen(5)).await.is_ok());
    let refused = world.proxy.insert(context(), seen(4)).await.unwrap_err();
    assert_eq!(refused, Error::SchemaMismatch { collection: "c".to_owned() });
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let world = World::new(1).await;
    let other = InsertRequest { collection_name: "other".to_owned(), ..insert(&[1]) };
    assert_eq!(
        world.proxy.insert(context(), other).await.unwrap_err().to_string(),
        "collection not found[database=default][collection=other]"
    );
    let elsewhere = InsertRequest { db_name: "elsewhere".to_owned(), ..insert(&[1]) };
    let refused = world.proxy.insert(context(), elsewhere).await.unwrap_err();
    assert_eq!(refused, Error::DatabaseNotFound { database: "elsewhere".to_owned() });
    let partition = InsertRequest { partition_name: "p".to_owned(), ..insert(&[1]) };
    let refused = world.proxy.insert(context(), partition).await.unwrap_err();
    assert_eq!(refused.to_string(), "partition not found[partition=p]");
    assert!(world.shards.written().is_empty());
}

#[tokio::test]
async fn upserts_replace_rows() {
    let world = World::new(1).await;
    let result = world.proxy.upsert(context(), upsert(&[3, 1])).await.unwrap();
    assert_eq!((result.upsert_cnt, int_ids(result.i_ds)), (2, vec![3, 1]));
    assert!(
        matches!(world.shards.written().as_slice(), [(0, WriteOp::Upsert(batches))] if batches[0].1.rows == 2)
    );
    let refused = world.proxy.upsert(context(), upsert(&[3, 3])).await.unwrap_err().to_string();
    assert_eq!(refused, "duplicate primary keys are not allowed in the same batch: invalid parameter");
}

#[tokio::test]
async fn partial_upserts_keep_what_was_not_sent() {
    let world = World::new(1).await;
    let partial = |keys: &[i64], fields: &[&str]| {
        let mut request = UpsertRequest { partial_update: true, ..upsert(keys) };
        request.fields_data.retain(|field| fields.contains(&field.field_name.as_str()));
        request
    };
    let send = async |request| world.proxy.upsert(context(), request).await;
    let refused = send(partial(&[3], &["id", "text"])).await.unwrap_err();
    assert_eq!(refused, Error::CollectionNotLoaded { collection: "c".to_owned() });

    world.load().await;
    let current = |keys: &[i64]| RetrievePart {
        ids: PrimaryKeys::Int64(keys.to_vec()),
        timestamps: vec![Timestamp::ZERO; keys.len()],
        columns: vec![Column::new(
            FieldId(102),
            ColumnData::FloatVector { dim: 2, values: vec![0.5; 2 * keys.len()] },
        )],
    };
    world.shards.retrieve_answers.lock().extend([current(&[1, 3]), current(&[1])]);
    send(partial(&[3, 1], &["id", "text"])).await.unwrap();
    let written = world.shards.written();
    let [(0, WriteOp::Upsert(batches))] = written.as_slice() else { panic!("an upsert: {written:?}") };
    let batch = &batches[0].1;
    assert_eq!(batch.columns[0].data, ColumnData::Int64(vec![3, 1]));
    assert_eq!(batch.columns[1].data, ColumnData::VarChar(["3", "1"].into_iter().collect()));
    assert_eq!(batch.columns[2].data, ColumnData::FloatVector { dim: 2, values: vec![0.5; 4] });
    let asked = world.shards.retrieves.lock()[0].clone();
    assert_eq!(
        (asked.output.as_slice(), asked.consistency),
        ([FieldId(102)].as_slice(), Consistency::Strong)
    );
    assert_eq!(asked.filter.as_ref().unwrap().primary_keys(), Some(PrimaryKeys::Int64(vec![1, 3])));

    let refused = send(partial(&[3, 1], &["id", "text"])).await.unwrap_err().to_string();
    assert_eq!(refused, "fieldSchema(vector) has no corresponding fieldData pass in: invalid parameter");
}

#[tokio::test]
async fn upserts_of_generated_keys_make_new_ones() {
    let mut record: CollectionRecord = collection();
    record.schema.fields[0].auto_id = true;
    let world = World::with(record).await;
    let result = world.proxy.upsert(context(), upsert(&[3, 1])).await.unwrap();
    assert_eq!(int_ids(result.i_ds), [1000, 1001]);
    let written: Vec<WriteOp> = world.shards.writes.lock().iter().map(|write| write.op.clone()).collect();
    let [WriteOp::Insert(batches), WriteOp::Delete { partition, keys }] = written.as_slice() else {
        panic!("an insert, then a delete: {written:?}")
    };
    assert_eq!(*partition, Some(batches[0].0));
    assert_eq!(batches[0].1.primary_keys(FieldId(100)), Some(PrimaryKeys::Int64(vec![1000, 1001])));
    assert_eq!(*keys, PrimaryKeys::Int64(vec![3, 1]));
}

#[tokio::test]
async fn keys_are_deleted_without_looking() {
    let world = World::new(1).await;
    let result = world.proxy.delete(context(), delete("id in [5, 9]")).await.unwrap();
    assert_eq!((result.delete_cnt, result.i_ds), (2, Some(IDs { id_field: None })));
    let keys = PrimaryKeys::Int64(vec![5, 9]);
    assert_eq!(world.shards.written(), [(0, WriteOp::Delete { partition: None, keys })]);

    let in_partition = DeleteRequest { partition_name: "_default".to_owned(), ..delete("id == 5") };
    world.proxy.delete(context(), in_partition).await.unwrap();
    let keys = PrimaryKeys::Int64(vec![5]);
    let last = world.shards.writes.lock().pop().unwrap();
    assert_eq!(last.op, WriteOp::Delete { partition: Some(PARTITION), keys });
}

#[tokio::test]
async fn other_filters_are_looked_up_first() {
    let world = World::new(2).await;
    let by_text = || delete("text like 'a%'");
    let refused = world.proxy.delete(context(), by_text()).await.unwrap_err();
    assert_eq!(refused, Error::CollectionNotLoaded { collection: "c".to_owned() });

    world.load().await;
    let found = |keys: &[i64]| RetrievePart {
        ids: PrimaryKeys::Int64(keys.to_vec()),
        timestamps: vec![Timestamp::ZERO; keys.len()],
        columns: Vec::new(),
    };
    world.shards.retrieve_answers.lock().extend([found(&[1, 2, 3]), found(&[])]);
    let result = world.proxy.delete(context(), by_text()).await.unwrap();
    assert_eq!(result.delete_cnt, 3);
    let written = world.shards.written();
    let [(_, WriteOp::Delete { keys, .. })] = written.as_slice() else { panic!("one delete: {written:?}") };
    assert_eq!(*keys, PrimaryKeys::Int64(vec![1, 2, 3]));
    let asked = world.shards.retrieves.lock();
    assert!(
        asked.iter().all(|request| request.consistency == Consistency::Strong && request.limit.is_none())
    );
}

#[tokio::test]
async fn everything_is_not_deleted_by_accident() {
    let world = World::new(1).await;
    for expr in ["", "  ", "id not in []"] {
        let refused = world.proxy.delete(context(), delete(expr)).await.unwrap_err().to_string();
        assert!(refused.starts_with("delete plan can't be empty or always true"), "{refused}");
    }
}

#[tokio::test]
async fn a_flush_is_done_when_every_shard_has_reached_its_own_point() {
    let world = World::new(2).await;
    let request = FlushRequest { collection_names: vec!["c".to_owned()], ..FlushRequest::default() };
    let begun = world.proxy.flush(context(), request).await.unwrap();
    assert_eq!(begun.coll_seg_i_ds["c"].data, [500, 501]);
    let flush_ts = begun.coll_flush_ts["c"];

    let state = || GetFlushStateRequest {
        flush_ts,
        collection_name: "c".to_owned(),
        segment_i_ds: begun.coll_seg_i_ds["c"].data.clone(),
        ..GetFlushStateRequest::default()
    };
    let reach = async |ordinal| {
        let shard = ShardId { collection: COLLECTION, ordinal };
        let checkpoint =
            ShardCheckpoint { lsn: Lsn(1), timestamp: timestamp(ordinal), ..ShardCheckpoint::default() };
        world.put(&shard, &checkpoint).await;
    };
    let flushed = async || world.proxy.get_flush_state(context(), state()).await.unwrap().flushed;
    assert!(!flushed().await);
    reach(1).await;
    assert!(!flushed().await);
    reach(0).await;
    assert!(flushed().await);
}

#[tokio::test]
async fn a_shard_without_writes_is_flushed() {
    let world = World::new(1).await;
    *world.shards.flushed_through.lock() = Some(Timestamp::ZERO);
    let request = FlushRequest { collection_names: vec!["c".to_owned()], ..FlushRequest::default() };
    let begun = world.proxy.flush(context(), request).await.unwrap();
    let state = GetFlushStateRequest {
        flush_ts: begun.coll_flush_ts["c"],
        collection_name: "c".to_owned(),
        ..GetFlushStateRequest::default()
    };
    assert!(world.proxy.get_flush_state(context(), state).await.unwrap().flushed);
}
