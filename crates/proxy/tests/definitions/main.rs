//! What clients define reaches the coordinators, checked; what is defined is shown.

#![allow(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod world;

use prost::Message;
use redkite_catalog::{IndexMethod, IndexSpec, NameRecord, ResourceGroupConfig};
use redkite_proto::common::{ErrorCode, KeyValuePair, LoadState};
use redkite_proto::milvus::milvus_service_server::MilvusService;
use redkite_proto::milvus::*;
use redkite_proto::rg;
use redkite_proto::schema::{CollectionSchema, DataType, FieldSchema};
use redkite_service::{Ddl, PlacementCommand};
use redkite_types::{CollectionId, Metric};
use tonic::Request;
use world::{Asked, World};

fn pair(key: &str, value: &str) -> KeyValuePair {
    KeyValuePair { key: key.to_owned(), value: value.to_owned() }
}

fn schema() -> CollectionSchema {
    let id = FieldSchema {
        name: "id".to_owned(),
        data_type: DataType::Int64.into(),
        is_primary_key: true,
        ..FieldSchema::default()
    };
    let vector = FieldSchema {
        name: "vector".to_owned(),
        data_type: DataType::FloatVector.into(),
        type_params: vec![pair("dim", "4")],
        ..FieldSchema::default()
    };
    CollectionSchema {
        name: "c".to_owned(),
        fields: vec![id, vector],
        enable_dynamic_field: true,
        ..CollectionSchema::default()
    }
}

async fn create(world: &World) {
    let request = CreateCollectionRequest {
        collection_name: "c".to_owned(),
        schema: schema().encode_to_vec().into(),
        consistency_level: 2,
        ..CreateCollectionRequest::default()
    };
    let status = world.grpc.create_collection(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(status.code, 0, "{}", status.reason);
}

async fn describe(world: &World, name: &str) -> DescribeCollectionResponse {
    let request = DescribeCollectionRequest { collection_name: name.to_owned(), ..Default::default() };
    world.grpc.describe_collection(Request::new(request)).await.unwrap().into_inner()
}

#[tokio::test]
async fn a_collection_is_created_and_described() {
    let world = World::new().await;
    create(&world).await;
    let asked = world.asked();
    let [Asked::Root(Ddl::CreateCollection(new))] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!((new.database.as_str(), new.shards), ("default", 1));
    assert_eq!(new.partitions, ["_default"]);
    assert_eq!(new.properties["timezone"], "UTC");
    // The answer came when the proxy's own view had the collection.
    let described = describe(&world, "c").await;
    let shown = described.schema.unwrap();
    let names: Vec<_> = shown.fields.iter().map(|field| field.name.as_str()).collect();
    assert_eq!(names, ["id", "vector"]);
    assert_eq!((described.consistency_level, described.num_partitions), (2, 1));
}

#[tokio::test]
#[allow(deprecated, reason = "old clients read error_code")]
async fn a_missing_collection_is_refused_as_clients_expect() {
    let world = World::new().await;
    let status = describe(&world, "x").await.status.unwrap();
    assert_eq!((status.code, status.error_code), (100, ErrorCode::UnexpectedError.into()));
    assert_eq!(status.reason, "can't find collection[database=default][collection=x]");
    let request = LoadCollectionRequest { collection_name: "x".to_owned(), ..Default::default() };
    let status = world.grpc.load_collection(Request::new(request)).await.unwrap().into_inner();
    assert_eq!((status.code, status.error_code), (100, ErrorCode::CollectionNotExists.into()));
    let request = GetLoadStateRequest { collection_name: "x".to_owned(), ..Default::default() };
    let state = world.grpc.get_load_state(Request::new(request)).await.unwrap().into_inner();
    assert_eq!(state.state(), LoadState::NotExist);
}

#[tokio::test]
async fn what_the_view_misses_is_looked_up() {
    let world = World::new().await;
    create(&world).await;
    // Another proxy's client has made this alias; nobody waited for this proxy's view.
    let alias = (redkite_catalog::DEFAULT_DATABASE_ID, "a".to_owned());
    world.put(&alias, &NameRecord::Alias(CollectionId(7))).await;
    assert_eq!(describe(&world, "a").await.collection_name, "c");
}

#[tokio::test]
async fn an_index_is_defined_with_its_defaults() {
    let world = World::new().await;
    create(&world).await;
    world.asked();
    let request = CreateIndexRequest {
        collection_name: "c".to_owned(),
        field_name: "vector".to_owned(),
        extra_params: vec![pair("index_type", "AUTOINDEX"), pair("metric_type", "IP")],
        ..CreateIndexRequest::default()
    };
    let status = world.grpc.create_index(Request::new(request.clone())).await.unwrap().into_inner();
    assert_eq!(status.code, 0);
    let asked = world.asked();
    let [Asked::CreateIndex(new)] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    let method = IndexMethod::Hnsw { m: 18, ef_construction: 240 };
    assert_eq!(new.spec, IndexSpec { method, metric: Some(Metric::Ip) });
    assert_eq!(new.name, "vector");
    let nowhere =
        CreateIndexRequest { field_name: "k".to_owned(), extra_params: Vec::new(), ..request.clone() };
    let status = world.grpc.create_index(Request::new(nowhere)).await.unwrap().into_inner();
    assert_eq!(status.reason, "json index must specify cast type: missing parameter");
    let path = CreateIndexRequest {
        field_name: "k".to_owned(),
        extra_params: vec![
            pair("index_type", "INVERTED"),
            pair("json_cast_type", "DOUBLE"),
            pair("json_path", "k['a']"),
        ],
        ..request
    };
    world.grpc.create_index(Request::new(path)).await.unwrap();
    let asked = world.asked();
    let [Asked::CreateIndex(new)] = asked.as_slice() else {
        panic!("{asked:?}");
    };
    assert_eq!(new.name, "$meta/k/a");
    assert!(new.spec.is_json_path());
}

#[tokio::test]
async fn loading_needs_an_index() {
    let world = World::new().await;
    create(&world).await;
    let request = LoadCollectionRequest { collection_name: "c".to_owned(), ..Default::default() };
    let status = world.grpc.load_collection(Request::new(request)).await.unwrap().into_inner();
    assert_eq!((status.code, status.reason.as_str()), (700, "index not found[collection=c]"));
    assert!(!world.asked().iter().any(|asked| matches!(asked, Asked::Load(_))));
}

#[tokio::test]
async fn commands_about_resource_groups_go_to_the_coordinator() {
    let world = World::new().await;
    let limit = |node_num| Some(rg::ResourceGroupLimit { node_num });
    let config = rg::ResourceGroupConfig { requests: limit(1), limits: limit(2), ..Default::default() };
    let create = |name: &str| CreateResourceGroupRequest {
        resource_group: name.to_owned(),
        config: Some(config.clone()),
        ..Default::default()
    };
    let refused = world.grpc.create_resource_group(Request::new(create("1"))).await.unwrap().into_inner();
    assert_eq!(refused.code, 1100);
    assert!(refused.reason.starts_with("Invalid resource group name 1."), "{}", refused.reason);
    let status = world.grpc.create_resource_group(Request::new(create("g"))).await.unwrap().into_inner();
    assert_eq!(status.code, 0);
    let wanted = ResourceGroupConfig { requests: 1, limits: 2, ..Default::default() };
    let command = PlacementCommand::CreateResourceGroup { name: "g".to_owned(), config: wanted };
    assert_eq!(world.asked(), [Asked::Place(command)]);
    let transfer = TransferNodeRequest {
        source_resource_group: "g".to_owned(),
        target_resource_group: "h".to_owned(),
        num_node: -1,
        ..Default::default()
    };
    let status = world.grpc.transfer_node(Request::new(transfer)).await.unwrap().into_inner();
    assert_eq!(status.reason, "invalid parameter[expected=NumNode > 0][actual=invalid NumNode -1]");
    let describe = DescribeResourceGroupRequest { resource_group: "h".to_owned(), ..Default::default() };
    let answer = world.grpc.describe_resource_group(Request::new(describe)).await.unwrap().into_inner();
    assert_eq!(answer.status.unwrap().reason, "resource group not found[rg=h]");
    let list = Request::new(ListResourceGroupsRequest::default());
    let answer = world.grpc.list_resource_groups(list).await.unwrap().into_inner();
    assert_eq!(answer.resource_groups, ["__default_resource_group"]);
}

#[tokio::test]
async fn unknown_requests_are_unimplemented() {
    let world = World::new().await;
    let refused = world.grpc.create_role(Request::new(CreateRoleRequest::default())).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn the_database_comes_with_the_connection() {
    let world = World::new().await;
    let mut request = Request::new(ConnectRequest::default());
    request.metadata_mut().insert("dbname", "nowhere".parse().unwrap());
    let response = world.grpc.connect(request).await.unwrap().into_inner();
    let status = response.status.unwrap();
    assert_eq!((status.code, status.reason.as_str()), (800, "database not found[database=nowhere]"));
    let response = world.grpc.connect(Request::new(ConnectRequest::default())).await.unwrap().into_inner();
    assert!(response.identifier > 0);
}
