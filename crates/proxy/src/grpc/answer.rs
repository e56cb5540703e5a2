//! Where does a response carry its status?

use redkite_proto::common::Status;
use redkite_proto::milvus;
use redkite_service::Error;

use crate::status;

/// A response message, which says in itself whether the request succeeded.
pub(crate) trait Answer: Default + Send {
    /// The status, made if there is none yet: some clients read it without asking whether it is there.
    fn status(&mut self) -> &mut Status;

    /// The answer to a request that succeeded.
    fn success(mut self) -> Self {
        self.status();
        self
    }

    /// The answer to a request that failed.
    fn refusal(error: &Error) -> Self {
        let mut answer = Self::default();
        *answer.status() = status::of(error);
        answer
    }
}

impl Answer for Status {
    fn status(&mut self) -> &mut Status {
        self
    }
}

impl Answer for milvus::AlterCollectionSchemaResponse {
    fn status(&mut self) -> &mut Status {
        self.alter_status.get_or_insert_default()
    }
}

impl Answer for milvus::DescribeCollectionResponse {
    fn status(&mut self) -> &mut Status {
        self.status.get_or_insert_default()
    }

    fn refusal(error: &Error) -> Self {
        Self { status: Some(status::of_describe(error)), ..Self::default() }
    }
}

macro_rules! answers {
    ($($message:ident),* $(,)?) => { $(
        impl Answer for milvus::$message {
            fn status(&mut self) -> &mut Status {
                self.status.get_or_insert_default()
            }
        }
    )* };
}

answers!(
    AllocTimestampResponse,
    BatchDescribeCollectionResponse,
    BoolResponse,
    CheckHealthResponse,
    ComponentStates,
    ConnectResponse,
    DescribeAliasResponse,
    DescribeDatabaseResponse,
    DescribeIndexResponse,
    DescribeResourceGroupResponse,
    FlushAllResponse,
    FlushResponse,
    GetCollectionStatisticsResponse,
    GetCompactionPlansResponse,
    GetCompactionStateResponse,
    GetFlushAllStateResponse,
    GetFlushStateResponse,
    GetIndexBuildProgressResponse,
    GetIndexStateResponse,
    GetIndexStatisticsResponse,
    GetLoadStateResponse,
    GetLoadingProgressResponse,
    GetMetricsResponse,
    GetPartitionStatisticsResponse,
    GetPersistentSegmentInfoResponse,
    GetQuerySegmentInfoResponse,
    GetReplicasResponse,
    GetVersionResponse,
    ListAliasesResponse,
    ListDatabasesResponse,
    ListResourceGroupsResponse,
    ManualCompactionResponse,
    MutationResult,
    QueryResults,
    SearchResults,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
    TruncateCollectionResponse,
);
