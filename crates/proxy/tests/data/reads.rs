//! Search, query, iterators.

use std::collections::BTreeSet;

use prost::Message;
use redkite_catalog::{CollectionRecord, LoadRecord, LoadScope, PartitionRecord};
use redkite_proto::common::{KeyValuePair, PlaceholderGroup, PlaceholderType, PlaceholderValue};
use redkite_proto::milvus::search_request::SearchInput;
use redkite_proto::milvus::{QueryRequest, SearchRequest, SearchResults};
use redkite_proto::schema::i_ds::IdField;
use redkite_proxy::RequestContext;
use redkite_query::reduce::{RetrievePart, SearchPart};
use redkite_service::{Consistency, Error};
use redkite_types::{Column, ColumnData, FieldId, Metric, PartitionId, PrimaryKeys, Timestamp, VarColumn};

use crate::world::{NOW_MILLIS, World, collection, timestamp};

fn pairs(params: &[(&str, &str)]) -> Vec<KeyValuePair> {
    params
        .iter()
        .map(|(key, value)| KeyValuePair { key: (*key).to_owned(), value: (*value).to_owned() })
        .collect()
}

pub(crate) fn search(params: &[(&str, &str)]) -> SearchRequest {
    let vector: Vec<u8> = [1.0_f32, 2.0].iter().flat_map(|value| value.to_le_bytes()).collect();
    let placeholder = PlaceholderValue {
        tag: "$0".to_owned(),
        r#type: PlaceholderType::FloatVector.into(),
        values: vec![vector.into()],
        element_level: false,
    };
    let group = PlaceholderGroup { placeholders: vec![placeholder] }.encode_to_vec();
    SearchRequest {
        collection_name: "c".to_owned(),
        search_input: Some(SearchInput::PlaceholderGroup(group.into())),
        search_params: pairs(params),
        nq: 1,
        use_default_consistency: true,
        output_fields: vec!["text".to_owned()],
        ..SearchRequest::default()
    }
}

fn query(expr: &str, params: &[(&str, &str)]) -> QueryRequest {
    QueryRequest {
        collection_name: "c".to_owned(),
        expr: expr.to_owned(),
        query_params: pairs(params),
        output_fields: vec!["text".to_owned()],
        ..QueryRequest::default()
    }
}

fn texts(keys: &[i64]) -> Vec<Column> {
    let texts: VarColumn = keys.iter().map(i64::to_string).collect();
    vec![Column::new(FieldId(101), ColumnData::VarChar(texts))]
}

pub(crate) fn hits(hits: &[(i64, f32)]) -> SearchPart {
    let keys: Vec<i64> = hits.iter().map(|hit| hit.0).collect();
    SearchPart {
        nq: 1,
        topks: vec![u32::try_from(hits.len()).unwrap()],
        columns: texts(&keys),
        timestamps: vec![Timestamp::ZERO; keys.len()],
        ids: PrimaryKeys::Int64(keys),
        scores: hits.iter().map(|hit| hit.1).collect(),
    }
}

fn rows(keys: &[i64]) -> RetrievePart {
    RetrievePart {
        ids: PrimaryKeys::Int64(keys.to_vec()),
        timestamps: vec![Timestamp::ZERO; keys.len()],
        columns: texts(keys),
    }
}

pub(crate) fn found(results: &SearchResults) -> Vec<i64> {
    match &results.results.as_ref().unwrap().ids.as_ref().unwrap().id_field {
        Some(IdField::IntId(ids)) => ids.data.clone(),
        other => panic!("no int ids: {other:?}"),
    }
}

pub(crate) async fn run(world: &World, request: SearchRequest) -> Result<SearchResults, Error> {
    world.proxy.search(RequestContext::default(), request).await
}

#[tokio::test]
async fn the_parts_of_shards_are_merged() {
    let world = World::new(2).await;
    world.load().await;
    let answers = [Ok(hits(&[(1, 0.1), (3, 0.3)])), Ok(hits(&[(2, 0.2), (4, 0.4)]))];
    world.shards.search_answers.lock().extend(answers);
    let results = run(&world, search(&[("topk", "2"), ("offset", "1")])).await.unwrap();
    assert_eq!(found(&results), [2, 3]);
    let data = results.results.unwrap();
    assert_eq!((data.topks, data.scores, data.top_k), (vec![2], vec![0.2, 0.3], 2));
    assert_eq!(data.output_fields, ["text"]);
    assert_eq!(results.session_ts, 0);
    let asked = world.shards.searches.lock();
    assert_eq!((asked[0].limit, asked[0].metric, asked[0].field), (3, Metric::L2, FieldId(102)));
    assert_eq!(asked[0].queries.query(0), [1.0, 2.0]);
    let bounded = Timestamp::from_physical(NOW_MILLIS - 5000);
    assert_eq!(asked[0].consistency, Consistency::AtLeast(bounded));
}

#[tokio::test]
async fn a_moved_shard_is_asked_again() {
    let world = World::new(1).await;
    world.load().await;
    let moved = Error::ShardNotAvailable { shard: "7-0".to_owned() };
    world.shards.search_answers.lock().extend([Err(moved), Ok(hits(&[(1, 0.1)]))]);
    assert_eq!(found(&run(&world, search(&[("topk", "2")])).await.unwrap()), [1]);
    let internal = Error::internal("broken");
    world.shards.search_answers.lock().extend([Err(internal.clone())]);
    assert_eq!(run(&world, search(&[("topk", "2")])).await.unwrap_err(), internal);
}

#[tokio::test]
async fn only_loaded_data_is_read() {
    let mut record: CollectionRecord = collection();
    let partition = |id, name: &str, created_at| PartitionRecord {
        id: PartitionId(id),
        name: name.to_owned(),
        created_at: Timestamp(created_at),
    };
    record.partitions =
        vec![partition(70, "_default", 0), partition(71, "released", 0), partition(72, "pending", 0)];
    let world = World::with(record).await;
    let refused = |partition: &str| {
        let partition_names = [partition].into_iter().filter(|name| !name.is_empty()).map(str::to_owned);
        let request =
            SearchRequest { partition_names: partition_names.collect(), ..search(&[("topk", "1")]) };
        async { run(&world, request).await.unwrap_err() }
    };
    assert_eq!(refused("").await.to_string(), "collection not loaded[collection=c]");

    let scope = LoadScope::Partitions(BTreeSet::from([PartitionId(70), PartitionId(72)]));
    let loaded = BTreeSet::from([PartitionId(70)]);
    let load = LoadRecord { scope, replicas: 1, requested_at: Timestamp(10), loaded };
    world.put(&world.collection.id.clone(), &load).await;
    assert!(matches!(refused("released").await, Error::PartitionNotLoaded { .. }));
    assert!(matches!(refused("pending").await, Error::CollectionNotFullyLoaded { .. }));
    assert!(matches!(refused("").await, Error::CollectionNotFullyLoaded { .. }));
    assert!(refused("none").await.to_string().starts_with("partition name none not found"));

    world.shards.search_answers.lock().push_back(Ok(hits(&[])));
    let named = SearchRequest { partition_names: vec!["_default".to_owned()], ..search(&[("topk", "1")]) };
    run(&world, named).await.unwrap();
    assert_eq!(world.shards.searches.lock()[0].partitions, [PartitionId(70)]);
}

#[tokio::test]
async fn an_iterator_goes_on_where_it_stood() {
    let world = World::new(1).await;
    world.load().await;
    let page = |more: &[(&str, &str)]| {
        let mut params = vec![
            ("topk", "2"),
            ("iterator", "True"),
            ("search_iter_v2", "True"),
            ("search_iter_batch_size", "2"),
        ];
        params.extend(more);
        search(&params)
    };
    world.shards.search_answers.lock().push_back(Ok(hits(&[(1, 0.5), (2, 0.5)])));
    let first = run(&world, page(&[])).await.unwrap();
    assert_eq!(first.session_ts, timestamp(0).0);
    let cursor = first.results.unwrap().search_iterator_v2_results.unwrap();
    assert_eq!(cursor.last_bound, 0.5);

    world.shards.search_answers.lock().push_back(Ok(hits(&[(1, 0.5), (2, 0.5), (3, 0.5), (4, 0.7)])));
    let bound = cursor.last_bound.to_string();
    let more = [("search_iter_id", cursor.token.as_str()), ("search_iter_last_bound", bound.as_str())];
    let next = SearchRequest { guarantee_timestamp: first.session_ts, ..page(&more) };
    let second = run(&world, next).await.unwrap();
    assert_eq!(found(&second), [3, 4]);
    assert_eq!(second.session_ts, 0);
    let again = second.results.unwrap().search_iterator_v2_results.unwrap();
    assert_eq!((again.token, again.last_bound), (cursor.token, 0.7));
    let asked = world.shards.searches.lock();
    assert_eq!((asked[1].limit, asked[1].range.unwrap().range_filter), (4, Some(0.5)));
    assert_eq!(asked[1].consistency, Consistency::Snapshot(timestamp(0)));
}

#[tokio::test]
async fn what_is_not_implemented_is_refused() {
    let world = World::new(1).await;
    world.load().await;
    let grouped = search(&[("topk", "2"), ("group_by_field", "text")]);
    assert!(matches!(run(&world, grouped).await.unwrap_err(), Error::NotSupported { .. }));
    let ids = SearchRequest {
        search_input: Some(SearchInput::Ids(redkite_proto::schema::IDs::default())),
        ..search(&[("topk", "2")])
    };
    assert!(matches!(run(&world, ids).await.unwrap_err(), Error::NotSupported { .. }));
    let hybrid = redkite_proto::milvus::HybridSearchRequest::default();
    let refused = world.proxy.hybrid_search(RequestContext::default(), hybrid).await.unwrap_err();
    assert!(matches!(refused, Error::NotSupported { .. }));
}

#[tokio::test]
async fn rows_are_returned_in_key_order() {
    let world = World::new(2).await;
    world.load().await;
    world.shards.retrieve_answers.lock().extend([rows(&[1, 4, 5]), rows(&[2, 3])]);
    let request = query("id > 0", &[("limit", "2"), ("offset", "1"), ("iterator", "True")]);
    let results = world.proxy.query(RequestContext::default(), request).await.unwrap();
    let names: Vec<_> = results.fields_data.iter().map(|field| field.field_name.as_str()).collect();
    assert_eq!(names, ["id", "text"]);
    assert_eq!(
        (results.output_fields, results.primary_field_name),
        (vec!["text".to_owned()], "id".to_owned())
    );
    assert_eq!(results.session_ts, timestamp(1).0, "the latest of the shards");
    let keys = format!("{:?}", results.fields_data[0].field);
    assert!(keys.contains("[2, 3]"), "{keys}");
    let asked = world.shards.retrieves.lock();
    assert_eq!((asked[0].limit, asked[0].consistency), (Some(3), Consistency::Strong));
}

#[tokio::test]
async fn counts_of_shards_are_added() {
    let world = World::new(2).await;
    world.load().await;
    world.shards.counts.lock().extend([3, 4]);
    let request = QueryRequest { output_fields: vec!["count(*)".to_owned()], ..query("", &[]) };
    let results = world.proxy.query(RequestContext::default(), request).await.unwrap();
    assert_eq!(results.fields_data.len(), 1);
    assert!(format!("{:?}", results.fields_data[0].field).contains("[7]"));
    assert!(world.shards.retrieves.lock()[0].filter.is_none());
}
