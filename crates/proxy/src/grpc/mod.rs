//! How do requests come in? `MilvusService` over gRPC.
//!
//! Every RPC is one line through [`Grpc::handle`], which finds out the context, measures, and turns an
//! error into the status inside the response. RPCs that are not listed stay UNIMPLEMENTED, which
//! clients know how to take.

mod answer;
mod ddl;

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures::FutureExt;
use redkite_proto::common;
use redkite_proto::milvus::milvus_service_server::MilvusService;
use redkite_proto::milvus::*;
use redkite_service::Error;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response};
use tracing::{Instrument, debug, debug_span, error};

use crate::{Proxy, RequestContext, metrics};
use answer::Answer;

/// Result of an RPC: failures of the request are inside the response.
type Reply<A> = Result<Response<A>, tonic::Status>;

/// The gRPC face of a proxy.
#[derive(Clone, Debug)]
pub struct Grpc(Arc<Proxy>);

impl Grpc {
    /// Serves this proxy.
    #[must_use]
    pub fn new(proxy: Arc<Proxy>) -> Self {
        Self(proxy)
    }

    async fn handle<Q, A, F>(
        &self,
        function: &'static str,
        request: Request<Q>,
        work: impl FnOnce(Arc<Proxy>, RequestContext, Q) -> F,
    ) -> Reply<A>
    where
        A: Answer,
        F: Future<Output = Result<A, Error>> + Send,
    {
        metrics::received(function);
        let started = Instant::now();
        let span = debug_span!("rpc", function, request = text(request.metadata(), "client-request-id"));
        let context = RequestContext { database: text(request.metadata(), "dbname").to_owned() };
        let work = work(self.0.clone(), context, request.into_inner());
        // A panic must cost one request, not the connection that carries many.
        let outcome = AssertUnwindSafe(work).catch_unwind().instrument(span.clone()).await;
        let outcome = outcome.unwrap_or_else(|_| {
            error!(function, "request handler panicked");
            Err(Error::Internal { reason: format!("{function} panicked") })
        });
        metrics::answered(function, outcome.is_ok(), started.elapsed());
        Ok(Response::new(match outcome {
            Ok(answer) => answer.success(),
            Err(error) => {
                debug!(parent: &span, %error, "request failed");
                A::refusal(&error)
            }
        }))
    }
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> &'a str {
    metadata.get(key).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

macro_rules! handle {
    ($grpc:ident, $function:literal, $request:ident, $method:ident) => {
        $grpc
            .handle($function, $request, |proxy, context, request| async move {
                proxy.$method(context, request).await
            })
            .await
    };
}

#[tonic::async_trait]
impl MilvusService for Grpc {
    async fn connect(&self, request: Request<ConnectRequest>) -> Reply<ConnectResponse> {
        handle!(self, "Connect", request, connect)
    }
    async fn get_version(&self, request: Request<GetVersionRequest>) -> Reply<GetVersionResponse> {
        handle!(self, "GetVersion", request, get_version)
    }
    async fn alloc_timestamp(
        &self,
        request: Request<AllocTimestampRequest>,
    ) -> Reply<AllocTimestampResponse> {
        handle!(self, "AllocTimestamp", request, alloc_timestamp)
    }
    async fn check_health(&self, request: Request<CheckHealthRequest>) -> Reply<CheckHealthResponse> {
        handle!(self, "CheckHealth", request, check_health)
    }
    async fn get_component_states(
        &self,
        request: Request<GetComponentStatesRequest>,
    ) -> Reply<ComponentStates> {
        handle!(self, "GetComponentStates", request, get_component_states)
    }
    async fn get_metrics(&self, request: Request<GetMetricsRequest>) -> Reply<GetMetricsResponse> {
        handle!(self, "GetMetrics", request, get_metrics)
    }

    async fn create_database(&self, request: Request<CreateDatabaseRequest>) -> Reply<common::Status> {
        handle!(self, "CreateDatabase", request, create_database)
    }
    async fn drop_database(&self, request: Request<DropDatabaseRequest>) -> Reply<common::Status> {
        handle!(self, "DropDatabase", request, drop_database)
    }
    async fn list_databases(&self, request: Request<ListDatabasesRequest>) -> Reply<ListDatabasesResponse> {
        handle!(self, "ListDatabases", request, list_databases)
    }
    async fn alter_database(&self, request: Request<AlterDatabaseRequest>) -> Reply<common::Status> {
        handle!(self, "AlterDatabase", request, alter_database)
    }
    async fn describe_database(
        &self,
        request: Request<DescribeDatabaseRequest>,
    ) -> Reply<DescribeDatabaseResponse> {
        handle!(self, "DescribeDatabase", request, describe_database)
    }

    async fn create_collection(&self, request: Request<CreateCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "CreateCollection", request, create_collection)
    }
    async fn drop_collection(&self, request: Request<DropCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "DropCollection", request, drop_collection)
    }
    async fn truncate_collection(
        &self,
        request: Request<TruncateCollectionRequest>,
    ) -> Reply<TruncateCollectionResponse> {
        handle!(self, "TruncateCollection", request, truncate_collection)
    }
    async fn has_collection(&self, request: Request<HasCollectionRequest>) -> Reply<BoolResponse> {
        handle!(self, "HasCollection", request, has_collection)
    }
    async fn describe_collection(
        &self,
        request: Request<DescribeCollectionRequest>,
    ) -> Reply<DescribeCollectionResponse> {
        handle!(self, "DescribeCollection", request, describe_collection)
    }
    async fn batch_describe_collection(
        &self,
        request: Request<BatchDescribeCollectionRequest>,
    ) -> Reply<BatchDescribeCollectionResponse> {
        handle!(self, "BatchDescribeCollection", request, batch_describe_collection)
    }
    async fn show_collections(
        &self,
        request: Request<ShowCollectionsRequest>,
    ) -> Reply<ShowCollectionsResponse> {
        handle!(self, "ShowCollections", request, show_collections)
    }
    async fn rename_collection(&self, request: Request<RenameCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "RenameCollection", request, rename_collection)
    }
    async fn alter_collection(&self, request: Request<AlterCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "AlterCollection", request, alter_collection)
    }
    async fn alter_collection_field(
        &self,
        request: Request<AlterCollectionFieldRequest>,
    ) -> Reply<common::Status> {
        handle!(self, "AlterCollectionField", request, alter_collection_field)
    }
    async fn add_collection_field(
        &self,
        request: Request<AddCollectionFieldRequest>,
    ) -> Reply<common::Status> {
        handle!(self, "AddCollectionField", request, add_collection_field)
    }
    async fn get_collection_statistics(
        &self,
        request: Request<GetCollectionStatisticsRequest>,
    ) -> Reply<GetCollectionStatisticsResponse> {
        handle!(self, "GetCollectionStatistics", request, get_collection_statistics)
    }

    async fn create_partition(&self, request: Request<CreatePartitionRequest>) -> Reply<common::Status> {
        handle!(self, "CreatePartition", request, create_partition)
    }
    async fn drop_partition(&self, request: Request<DropPartitionRequest>) -> Reply<common::Status> {
        handle!(self, "DropPartition", request, drop_partition)
    }
    async fn has_partition(&self, request: Request<HasPartitionRequest>) -> Reply<BoolResponse> {
        handle!(self, "HasPartition", request, has_partition)
    }
    async fn show_partitions(
        &self,
        request: Request<ShowPartitionsRequest>,
    ) -> Reply<ShowPartitionsResponse> {
        handle!(self, "ShowPartitions", request, show_partitions)
    }
    async fn get_partition_statistics(
        &self,
        request: Request<GetPartitionStatisticsRequest>,
    ) -> Reply<GetPartitionStatisticsResponse> {
        handle!(self, "GetPartitionStatistics", request, get_partition_statistics)
    }

    async fn create_alias(&self, request: Request<CreateAliasRequest>) -> Reply<common::Status> {
        handle!(self, "CreateAlias", request, create_alias)
    }
    async fn drop_alias(&self, request: Request<DropAliasRequest>) -> Reply<common::Status> {
        handle!(self, "DropAlias", request, drop_alias)
    }
    async fn alter_alias(&self, request: Request<AlterAliasRequest>) -> Reply<common::Status> {
        handle!(self, "AlterAlias", request, alter_alias)
    }
    async fn describe_alias(&self, request: Request<DescribeAliasRequest>) -> Reply<DescribeAliasResponse> {
        handle!(self, "DescribeAlias", request, describe_alias)
    }
    async fn list_aliases(&self, request: Request<ListAliasesRequest>) -> Reply<ListAliasesResponse> {
        handle!(self, "ListAliases", request, list_aliases)
    }

    async fn create_index(&self, request: Request<CreateIndexRequest>) -> Reply<common::Status> {
        handle!(self, "CreateIndex", request, create_index)
    }
    async fn alter_index(&self, request: Request<AlterIndexRequest>) -> Reply<common::Status> {
        handle!(self, "AlterIndex", request, alter_index)
    }
    async fn drop_index(&self, request: Request<DropIndexRequest>) -> Reply<common::Status> {
        handle!(self, "DropIndex", request, drop_index)
    }
    async fn describe_index(&self, request: Request<DescribeIndexRequest>) -> Reply<DescribeIndexResponse> {
        handle!(self, "DescribeIndex", request, describe_index)
    }
    async fn get_index_statistics(
        &self,
        request: Request<GetIndexStatisticsRequest>,
    ) -> Reply<GetIndexStatisticsResponse> {
        handle!(self, "GetIndexStatistics", request, get_index_statistics)
    }
    async fn get_index_state(&self, request: Request<GetIndexStateRequest>) -> Reply<GetIndexStateResponse> {
        handle!(self, "GetIndexState", request, get_index_state)
    }
    async fn get_index_build_progress(
        &self,
        request: Request<GetIndexBuildProgressRequest>,
    ) -> Reply<GetIndexBuildProgressResponse> {
        handle!(self, "GetIndexBuildProgress", request, get_index_build_progress)
    }

    async fn load_collection(&self, request: Request<LoadCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "LoadCollection", request, load_collection)
    }
    async fn release_collection(&self, request: Request<ReleaseCollectionRequest>) -> Reply<common::Status> {
        handle!(self, "ReleaseCollection", request, release_collection)
    }
    async fn load_partitions(&self, request: Request<LoadPartitionsRequest>) -> Reply<common::Status> {
        handle!(self, "LoadPartitions", request, load_partitions)
    }
    async fn release_partitions(&self, request: Request<ReleasePartitionsRequest>) -> Reply<common::Status> {
        handle!(self, "ReleasePartitions", request, release_partitions)
    }
    async fn get_loading_progress(
        &self,
        request: Request<GetLoadingProgressRequest>,
    ) -> Reply<GetLoadingProgressResponse> {
        handle!(self, "GetLoadingProgress", request, get_loading_progress)
    }
    async fn get_load_state(&self, request: Request<GetLoadStateRequest>) -> Reply<GetLoadStateResponse> {
        handle!(self, "GetLoadState", request, get_load_state)
    }
    async fn get_replicas(&self, request: Request<GetReplicasRequest>) -> Reply<GetReplicasResponse> {
        handle!(self, "GetReplicas", request, get_replicas)
    }

    async fn create_resource_group(
        &self,
        request: Request<CreateResourceGroupRequest>,
    ) -> Reply<common::Status> {
        handle!(self, "CreateResourceGroup", request, create_resource_group)
    }
    async fn update_resource_groups(
        &self,
        request: Request<UpdateResourceGroupsRequest>,
    ) -> Reply<common::Status> {
        handle!(self, "UpdateResourceGroups", request, update_resource_groups)
    }
    async fn drop_resource_group(&self, request: Request<DropResourceGroupRequest>) -> Reply<common::Status> {
        handle!(self, "DropResourceGroup", request, drop_resource_group)
    }
    async fn describe_resource_group(
        &self,
        request: Request<DescribeResourceGroupRequest>,
    ) -> Reply<DescribeResourceGroupResponse> {
        handle!(self, "DescribeResourceGroup", request, describe_resource_group)
    }
    async fn list_resource_groups(
        &self,
        request: Request<ListResourceGroupsRequest>,
    ) -> Reply<ListResourceGroupsResponse> {
        handle!(self, "ListResourceGroups", request, list_resource_groups)
    }
    async fn transfer_node(&self, request: Request<TransferNodeRequest>) -> Reply<common::Status> {
        handle!(self, "TransferNode", request, transfer_node)
    }
    async fn transfer_replica(&self, request: Request<TransferReplicaRequest>) -> Reply<common::Status> {
        handle!(self, "TransferReplica", request, transfer_replica)
    }

    async fn load_balance(&self, request: Request<LoadBalanceRequest>) -> Reply<common::Status> {
        handle!(self, "LoadBalance", request, load_balance)
    }

    async fn flush(&self, request: Request<FlushRequest>) -> Reply<FlushResponse> {
        handle!(self, "Flush", request, flush)
    }
    async fn flush_all(&self, request: Request<FlushAllRequest>) -> Reply<FlushAllResponse> {
        handle!(self, "FlushAll", request, flush_all)
    }
    async fn get_flush_state(&self, request: Request<GetFlushStateRequest>) -> Reply<GetFlushStateResponse> {
        handle!(self, "GetFlushState", request, get_flush_state)
    }
    async fn get_flush_all_state(
        &self,
        request: Request<GetFlushAllStateRequest>,
    ) -> Reply<GetFlushAllStateResponse> {
        handle!(self, "GetFlushAllState", request, get_flush_all_state)
    }
    async fn get_persistent_segment_info(
        &self,
        request: Request<GetPersistentSegmentInfoRequest>,
    ) -> Reply<GetPersistentSegmentInfoResponse> {
        handle!(self, "GetPersistentSegmentInfo", request, get_persistent_segment_info)
    }
    async fn get_query_segment_info(
        &self,
        request: Request<GetQuerySegmentInfoRequest>,
    ) -> Reply<GetQuerySegmentInfoResponse> {
        handle!(self, "GetQuerySegmentInfo", request, get_query_segment_info)
    }
    async fn manual_compaction(
        &self,
        request: Request<ManualCompactionRequest>,
    ) -> Reply<ManualCompactionResponse> {
        handle!(self, "ManualCompaction", request, manual_compaction)
    }
    async fn get_compaction_state(
        &self,
        request: Request<GetCompactionStateRequest>,
    ) -> Reply<GetCompactionStateResponse> {
        handle!(self, "GetCompactionState", request, get_compaction_state)
    }
    async fn get_compaction_state_with_plans(
        &self,
        request: Request<GetCompactionPlansRequest>,
    ) -> Reply<GetCompactionPlansResponse> {
        handle!(self, "GetCompactionStateWithPlans", request, get_compaction_state_with_plans)
    }

    async fn insert(&self, request: Request<InsertRequest>) -> Reply<MutationResult> {
        handle!(self, "Insert", request, insert)
    }
    async fn upsert(&self, request: Request<UpsertRequest>) -> Reply<MutationResult> {
        handle!(self, "Upsert", request, upsert)
    }
    async fn delete(&self, request: Request<DeleteRequest>) -> Reply<MutationResult> {
        handle!(self, "Delete", request, delete)
    }
    async fn search(&self, request: Request<SearchRequest>) -> Reply<SearchResults> {
        handle!(self, "Search", request, search)
    }
    async fn hybrid_search(&self, request: Request<HybridSearchRequest>) -> Reply<SearchResults> {
        handle!(self, "HybridSearch", request, hybrid_search)
    }
    async fn query(&self, request: Request<QueryRequest>) -> Reply<QueryResults> {
        handle!(self, "Query", request, query)
    }
}
