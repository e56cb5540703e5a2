//! Segments and replicas, as operators look at them.

use std::collections::BTreeSet;

use redkite_catalog::{CollectionRecord, Metadata};
use redkite_proto::milvus::{
    GetPersistentSegmentInfoRequest, GetPersistentSegmentInfoResponse, GetQuerySegmentInfoRequest,
    GetQuerySegmentInfoResponse, GetReplicasRequest, GetReplicasResponse, ReplicaInfo, ShardReplica,
};
use redkite_service::Error;
use redkite_types::NodeId;

use crate::describe;
use crate::{Proxy, RequestContext};

/// The one group of nodes there is. Milvus: resource group.
const RESOURCE_GROUP: &str = "__default_resource_group";

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
        let Some(load) = self.load_of(collection.id) else {
            return Err(Error::CollectionNotLoaded { collection: collection.name.clone() });
        };
        let replicas = self.parts.metadata.read(|metadata| {
            (0..load.replicas).map(|replica| replica_info(metadata, &collection, replica)).collect()
        });
        Ok(GetReplicasResponse { replicas, ..GetReplicasResponse::default() })
    }
}

fn replica_info(metadata: &Metadata, collection: &CollectionRecord, replica: u32) -> ReplicaInfo {
    let mut all = BTreeSet::new();
    let mut shard_replicas = Vec::new();
    for shard in collection.shard_ids() {
        let leader = metadata.shards.get(&shard).map(|status| status.node);
        let mut nodes: BTreeSet<NodeId> = leader.into_iter().collect();
        if let Some(view) = metadata.views.get(&(shard, replica)) {
            nodes.extend(view.segments.iter().map(|segment| segment.node));
        }
        shard_replicas.push(ShardReplica {
            leader_id: leader.unwrap_or_default().0,
            dm_channel_name: describe::collection::channel(shard),
            node_ids: nodes.iter().map(|node| node.0).collect(),
            ..ShardReplica::default()
        });
        all.extend(nodes);
    }
    let load = metadata.loads.get(&collection.id);
    let loaded = collection
        .partitions
        .iter()
        .map(|partition| partition.id)
        .filter(|id| load.is_some_and(|load| load.scope.contains(*id)));
    ReplicaInfo {
        // Unique over all collections, as clients expect: collection ids are far apart from each other.
        replica_id: collection.id.0.wrapping_add(i64::from(replica)),
        collection_id: collection.id.0,
        partition_ids: loaded.map(|id| id.0).collect(),
        shard_replicas,
        node_ids: all.iter().map(|node| node.0).collect(),
        resource_group_name: RESOURCE_GROUP.to_owned(),
        ..ReplicaInfo::default()
    }
}
