//! Partitions.

use redkite_catalog::{CollectionRecord, load_progress};
use redkite_proto::common::Status;
use redkite_proto::milvus::{
    BoolResponse, CreatePartitionRequest, DropPartitionRequest, HasPartitionRequest, ShowPartitionsRequest,
    ShowPartitionsResponse, ShowType,
};
use redkite_service::{Ddl, Error};

use crate::collection::check_partition_name;
use crate::define::name;
use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    pub(in crate::grpc) async fn create_partition(
        &self,
        context: RequestContext,
        request: CreatePartitionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        refuse_with_key(&collection, "create partition")?;
        check_partition_name(&request.partition_name, true)?;
        self.define(Ddl::CreatePartition {
            database: context.database(&request.db_name).to_owned(),
            collection: request.collection_name,
            partition: request.partition_name,
        })
        .await
    }

    pub(in crate::grpc) async fn drop_partition(
        &self,
        context: RequestContext,
        request: DropPartitionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        refuse_with_key(&collection, "drop partition")?;
        check_partition_name(&request.partition_name, true)?;
        self.define(Ddl::DropPartition {
            database: context.database(&request.db_name).to_owned(),
            collection: request.collection_name,
            partition: request.partition_name,
        })
        .await
    }

    pub(in crate::grpc) async fn has_partition(
        &self,
        context: RequestContext,
        request: HasPartitionRequest,
    ) -> Result<BoolResponse, Error> {
        name::collection(&request.collection_name)?;
        check_partition_name(&request.partition_name, true)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let value = self.partition(&collection, &request.partition_name).await?.is_some();
        Ok(BoolResponse { value, ..BoolResponse::default() })
    }

    pub(in crate::grpc) async fn show_partitions(
        &self,
        context: RequestContext,
        request: ShowPartitionsRequest,
    ) -> Result<ShowPartitionsResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        if request.collection_id == 0 || !name.is_empty() {
            crate::define::name::collection(name)?;
        }
        let collection = self.named_or_numbered(&context, database, name, request.collection_id).await?;
        for name in &request.partition_names {
            if self.partition(&collection, name).await?.is_none() {
                return Err(Error::PartitionNotFound { partition: name.clone() });
            }
        }
        let in_memory = request.r#type() == ShowType::InMemory;
        self.shown_partitions(&collection, &request.partition_names, in_memory)
    }

    #[allow(deprecated, reason = "old clients poll the loading of named partitions")]
    fn shown_partitions(
        &self,
        collection: &CollectionRecord,
        named: &[String],
        in_memory: bool,
    ) -> Result<ShowPartitionsResponse, Error> {
        self.parts.metadata.read(|metadata| {
            let mut response = ShowPartitionsResponse::default();
            for partition in &collection.partitions {
                if !named.is_empty() && !named.contains(&partition.name) {
                    continue;
                }
                if in_memory {
                    match load_progress(metadata, collection.id, &[partition.id]) {
                        Some(progress) => {
                            response.in_memory_percentages.push(i64::from(progress.percent));
                        }
                        None if named.is_empty() => continue,
                        None => {
                            return Err(Error::PartitionNotLoaded { partition: partition.name.clone() });
                        }
                    }
                }
                response.partition_names.push(partition.name.clone());
                response.partition_i_ds.push(partition.id.0);
                response.created_timestamps.push(partition.created_at.0);
                response.created_utc_timestamps.push(partition.created_at.physical());
            }
            Ok(response)
        })
    }
}

/// Partitions that a key chooses among are the server's own.
pub(super) fn refuse_with_key(collection: &CollectionRecord, what: &str) -> Result<(), Error> {
    if collection.schema.partition_key().is_some() {
        return Err(refuse::invalid(format_args!("disable {what} if partition key mode is used")));
    }
    Ok(())
}
