//! How many rows are there, as far as they have become files?

use redkite_catalog::CollectionRecord;
use redkite_proto::common::{KeyValuePair, Status};
use redkite_proto::milvus::{
    GetCollectionStatisticsRequest, GetCollectionStatisticsResponse, GetPartitionStatisticsRequest,
    GetPartitionStatisticsResponse,
};
use redkite_service::Error;
use redkite_types::PartitionId;

use crate::{Proxy, RequestContext};

impl Proxy {
    /// Number of flushed rows of a collection, deleted ones included.
    ///
    /// # Errors
    /// If there is no such collection.
    pub async fn get_collection_statistics(
        &self,
        context: RequestContext,
        request: GetCollectionStatisticsRequest,
    ) -> Result<GetCollectionStatisticsResponse, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        Ok(GetCollectionStatisticsResponse {
            status: Some(Status::default()),
            stats: vec![row_count(self.flushed_rows(&collection, None))],
        })
    }

    /// Number of flushed rows of a partition, deleted ones included.
    ///
    /// # Errors
    /// If there is no such collection or partition.
    pub async fn get_partition_statistics(
        &self,
        context: RequestContext,
        request: GetPartitionStatisticsRequest,
    ) -> Result<GetPartitionStatisticsResponse, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let partition = collection
            .partition(&request.partition_name)
            .ok_or_else(|| Error::PartitionNotFound { partition: request.partition_name.clone() })?;
        Ok(GetPartitionStatisticsResponse {
            status: Some(Status::default()),
            stats: vec![row_count(self.flushed_rows(&collection, Some(partition.id)))],
        })
    }

    fn flushed_rows(&self, collection: &CollectionRecord, partition: Option<PartitionId>) -> u64 {
        self.parts.metadata.read(|metadata| {
            metadata
                .segments_of(collection.id)
                .filter(|segment| segment.is_flushed())
                // Segments of dropped partitions are given up a little later.
                .filter(|segment| collection.partition_by_id(segment.partition).is_some())
                .filter(|segment| partition.is_none_or(|partition| segment.partition == partition))
                .map(|segment| segment.rows)
                .sum()
        })
    }
}

fn row_count(rows: u64) -> KeyValuePair {
    KeyValuePair { key: "row_count".to_owned(), value: rows.to_string() }
}
