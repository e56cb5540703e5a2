//! Where does a response carry its status?

use redkite_proto::common::Status;
use redkite_proto::milvus;
use redkite_service::Error;

use crate::status;

/// A response message, which says in itself whether the request succeeded.
pub(crate) trait Answer: Default + Send {
    /// Puts the status where clients look for it.
    fn set_status(&mut self, status: Status);

    /// The answer to a request that failed.
    fn refusal(error: &Error) -> Self {
        let mut answer = Self::default();
        answer.set_status(status::of(error));
        answer
    }
}

impl Answer for Status {
    fn set_status(&mut self, status: Status) {
        *self = status;
    }
}

impl Answer for milvus::AlterCollectionSchemaResponse {
    fn set_status(&mut self, status: Status) {
        self.alter_status = Some(status);
    }
}

impl Answer for milvus::DescribeCollectionResponse {
    fn set_status(&mut self, status: Status) {
        self.status = Some(status);
    }

    fn refusal(error: &Error) -> Self {
        Self { status: Some(status::of_describe(error)), ..Self::default() }
    }
}

macro_rules! answers {
    ($($message:ident),* $(,)?) => { $(
        impl Answer for milvus::$message {
            fn set_status(&mut self, status: Status) {
                self.status = Some(status);
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
    ManualCompactionResponse,
    MutationResult,
    QueryResults,
    SearchResults,
    ShowCollectionsResponse,
    ShowPartitionsResponse,
    TruncateCollectionResponse,
);
