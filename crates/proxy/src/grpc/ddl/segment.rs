//! Segments and replicas, as operators look at them.

use redkite_proto::milvus::{
    GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse, GetQuerySegmentInfoRequest,
    GetQuerySegmentInfoResponse, GetReplicasRequest, GetReplicasResponse,
};
use redkite_service::Error;

use crate::describe;
use crate::{Proxy, RequestContext};

impl Proxy {
    pub(in crate::grpc) async fn get_persistent_segment_info(
        &self,
        context: RequestContext,
        request: GetPersistentSegmentInfoRequest,
    ) -> Result<GetPersistentSegmentInfoResponse, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let infos = self.parts.metadata.read(|metadata| describe::segment::persistent(metadata, &collection));
        Ok(GetPersistentSegmentInfoResponse { infos, ..GetPersistentSegmentInfoResponse::default() })
    }

    pub(in crate::grpc) async fn get_query_segment_info(
        &self,
        context: RequestContext,
        request: GetQuerySegmentInfoRequest,
    ) -> Result<GetQuerySegmentInfoResponse, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?;
        let infos = self.parts.metadata.read(|metadata| describe::segment::served(metadata, &collection));
        Ok(GetQuerySegmentInfoResponse { infos, ..GetQuerySegmentInfoResponse::default() })
    }

    pub(in crate::grpc) async fn get_replicas(
        &self,
        context: RequestContext,
        request: GetReplicasRequest,
    ) -> Result<GetReplicasResponse, Error> {
        let (database, name) = (&request.db_name, &request.collection_name);
        let collection = self.named_or_numbered(&context, database, name, request.collection_id).await?;
        if self.load_of(collection.id).is_none() {
            return Err(Error::CollectionNotLoaded { collection: collection.name.clone() });
        }
        let nodes = &*self.parts.nodes;
        let replicas = self.parts.metadata.read(|metadata| {
            describe::replica::replicas(metadata, &collection, nodes, request.with_shard_nodes)
        });
        Ok(GetReplicasResponse { replicas, ..GetReplicasResponse::default() })
    }
}
