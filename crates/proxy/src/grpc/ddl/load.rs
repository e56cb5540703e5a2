//! Load and release.

use redkite_catalog::{CollectionRecord, LoadProgress, LoadScope, load_progress};
use redkite_proto::common::{LoadState, Status};
use redkite_proto::milvus::{
    GetLoadStateRequest, GetLoadStateResponse, GetLoadingProgressRequest, GetLoadingProgressResponse,
    LoadCollectionRequest, LoadPartitionsRequest, ReleaseCollectionRequest, ReleasePartitionsRequest,
};
use redkite_service::{Error, NewLoad};
use redkite_types::PartitionId;

use super::partition::refuse_with_key;
use crate::define::{self, name};
use crate::{Proxy, RequestContext, refuse, status};

impl Proxy {
    pub(in crate::grpc) async fn load_collection(
        &self,
        context: RequestContext,
        request: LoadCollectionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        self.check_load(&collection, &request.load_fields, request.skip_load_dynamic_field)?;
        if request.refresh {
            return self.refresh(&collection);
        }
        let load = NewLoad {
            replicas: define::load::replicas(request.replica_number),
            resource_groups: request.resource_groups,
            ..NewLoad::new(collection.id, LoadScope::Collection)
        };
        self.load(load).await
    }

    pub(in crate::grpc) async fn load_partitions(
        &self,
        context: RequestContext,
        request: LoadPartitionsRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        refuse_with_key(&collection, "load partitions")?;
        self.check_load(&collection, &request.load_fields, request.skip_load_dynamic_field)?;
        if request.refresh {
            return self.refresh(&collection);
        }
        let partitions = self.partitions(&collection, &request.partition_names).await?;
        if partitions.is_empty() {
            return Err(refuse::invalid("failed to load partition, due to no partition specified"));
        }
        let scope = LoadScope::Partitions(partitions.into_iter().collect());
        let load = NewLoad {
            replicas: define::load::replicas(request.replica_number),
            resource_groups: request.resource_groups,
            ..NewLoad::new(collection.id, scope)
        };
        self.load(load).await
    }

    fn check_load(
        &self,
        collection: &CollectionRecord,
        fields: &[String],
        skip_dynamic: bool,
    ) -> Result<(), Error> {
        define::load::fields(collection, fields, skip_dynamic)?;
        define::load::indexes(collection, self.indexes_of(collection.id).as_deref(), fields)
    }

    /// What is loaded is kept up to date by itself; what is not, or not yet, cannot be refreshed.
    fn refresh(&self, collection: &CollectionRecord) -> Result<Status, Error> {
        let progress = self.parts.metadata.read(|metadata| load_progress(metadata, collection.id, &[]));
        match progress {
            Some(LoadProgress { percent: 100, .. }) => Ok(status::success()),
            _ => Err(Error::CollectionNotLoaded { collection: collection.name.clone() }),
        }
    }

    async fn load(&self, load: NewLoad) -> Result<Status, Error> {
        let id = self.request_id().await?;
        self.acknowledge(self.parts.query.load(id, load).await?).await
    }

    pub(in crate::grpc) async fn release_collection(
        &self,
        context: RequestContext,
        request: ReleaseCollectionRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        self.release(&collection, Vec::new()).await
    }

    pub(in crate::grpc) async fn release_partitions(
        &self,
        context: RequestContext,
        request: ReleasePartitionsRequest,
    ) -> Result<Status, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        refuse_with_key(&collection, "release partitions")?;
        let partitions = self.partitions(&collection, &request.partition_names).await?;
        if partitions.is_empty() {
            return Err(Error::invalid(
                "invalid parameter[expected=any partition][actual=empty partition list]",
            ));
        }
        self.release(&collection, partitions).await
    }

    async fn release(
        &self,
        collection: &CollectionRecord,
        partitions: Vec<PartitionId>,
    ) -> Result<Status, Error> {
        if self.load_of(collection.id).is_none() {
            return Ok(status::success());
        }
        let id = self.request_id().await?;
        self.acknowledge(self.parts.query.release(id, collection.id, partitions).await?).await
    }

    /// The partitions of these names.
    async fn partitions(
        &self,
        collection: &CollectionRecord,
        names: &[String],
    ) -> Result<Vec<PartitionId>, Error> {
        let mut ids = Vec::with_capacity(names.len());
        for name in names {
            let partition = self.partition(collection, name).await?;
            ids.push(partition.ok_or_else(|| Error::PartitionNotFound { partition: name.clone() })?.id);
        }
        Ok(ids)
    }

    pub(in crate::grpc) async fn get_loading_progress(
        &self,
        context: RequestContext,
        request: GetLoadingProgressRequest,
    ) -> Result<GetLoadingProgressResponse, Error> {
        name::collection(&request.collection_name)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let progress = self.load_progress(&collection, &request.partition_names).await?;
        let Some(progress) = progress else {
            return Err(match request.partition_names.as_slice() {
                [] => Error::CollectionNotLoaded { collection: collection.name.clone() },
                names => Error::PartitionNotLoaded { partition: names.join(",") },
            });
        };
        if let Some(reason) = progress.failure {
            return Err(Error::Unexpected { reason });
        }
        let percent = i64::from(progress.percent);
        Ok(GetLoadingProgressResponse {
            progress: percent,
            refresh_progress: percent,
            ..GetLoadingProgressResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_load_state(
        &self,
        context: RequestContext,
        request: GetLoadStateRequest,
    ) -> Result<GetLoadStateResponse, Error> {
        name::collection(&request.collection_name)?;
        let state = match self.collection(&context, &request.db_name, &request.collection_name).await {
            Err(Error::CollectionNotFound { .. } | Error::DatabaseNotFound { .. }) => LoadState::NotExist,
            Err(error) => return Err(error),
            Ok(collection) => match self.load_progress(&collection, &request.partition_names).await? {
                None => LoadState::NotLoad,
                Some(LoadProgress { percent: 100, .. }) => LoadState::Loaded,
                Some(_) => LoadState::Loading,
            },
        };
        Ok(GetLoadStateResponse { state: state.into(), ..GetLoadStateResponse::default() })
    }

    async fn load_progress(
        &self,
        collection: &CollectionRecord,
        partitions: &[String],
    ) -> Result<Option<LoadProgress>, Error> {
        let partitions = self.partitions(collection, partitions).await?;
        Ok(self.parts.metadata.read(|metadata| load_progress(metadata, collection.id, &partitions)))
    }
}
