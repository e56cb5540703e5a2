//! Resource groups, and what is moved between them.

use std::collections::BTreeMap;

use redkite_catalog::{Record, ResourceGroupConfig, ResourceGroupRecord};
use redkite_proto::common::Status;
use redkite_proto::milvus::{
    CreateResourceGroupRequest, DescribeResourceGroupRequest, DescribeResourceGroupResponse,
    DropResourceGroupRequest, ListResourceGroupsRequest, ListResourceGroupsResponse, TransferNodeRequest,
    TransferReplicaRequest, UpdateResourceGroupsRequest,
};
use redkite_service::{Error, PlacementCommand};

use crate::define::{self, name};
use crate::{Proxy, RequestContext, describe};

impl Proxy {
    async fn place(&self, command: PlacementCommand) -> Result<Status, Error> {
        let id = self.request_id().await?;
        self.acknowledge(self.parts.query.place(id, command).await?).await
    }

    pub(in crate::grpc) async fn create_resource_group(
        &self,
        _: RequestContext,
        request: CreateResourceGroupRequest,
    ) -> Result<Status, Error> {
        let name = request.resource_group;
        name::resource_group(&name)?;
        // Without a configuration it is empty, and gets its nodes by transfer.
        let config =
            request.config.map(|config| define::resource_group::config(&name, &config)).transpose()?;
        let config = config.unwrap_or_else(ResourceGroupConfig::default);
        self.place(PlacementCommand::CreateResourceGroup { name, config }).await
    }

    pub(in crate::grpc) async fn update_resource_groups(
        &self,
        _: RequestContext,
        request: UpdateResourceGroupsRequest,
    ) -> Result<Status, Error> {
        let mut configs = BTreeMap::new();
        for (name, config) in request.resource_groups {
            name::resource_group(&name)?;
            let config = define::resource_group::config(&name, &config)?;
            configs.insert(name, config);
        }
        self.place(PlacementCommand::UpdateResourceGroups { configs }).await
    }

    pub(in crate::grpc) async fn drop_resource_group(
        &self,
        _: RequestContext,
        request: DropResourceGroupRequest,
    ) -> Result<Status, Error> {
        self.place(PlacementCommand::DropResourceGroup { name: request.resource_group }).await
    }

    pub(in crate::grpc) async fn transfer_node(
        &self,
        _: RequestContext,
        request: TransferNodeRequest,
    ) -> Result<Status, Error> {
        let (source, target) = (request.source_resource_group, request.target_resource_group);
        name::resource_group(&source)?;
        name::resource_group(&target)?;
        let nodes = positive("NumNode", request.num_node.into())?;
        self.place(PlacementCommand::TransferNodes { source, target, nodes }).await
    }

    pub(in crate::grpc) async fn transfer_replica(
        &self,
        context: RequestContext,
        request: TransferReplicaRequest,
    ) -> Result<Status, Error> {
        let (source, target) = (request.source_resource_group, request.target_resource_group);
        name::resource_group(&source)?;
        name::resource_group(&target)?;
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?.id;
        let replicas = positive("NumReplica", request.num_replica)?;
        self.place(PlacementCommand::TransferReplicas { collection, source, target, replicas }).await
    }

    pub(in crate::grpc) async fn list_resource_groups(
        &self,
        _: RequestContext,
        _: ListResourceGroupsRequest,
    ) -> Result<ListResourceGroupsResponse, Error> {
        let configs = self.parts.metadata.read(redkite_catalog::Metadata::resource_group_configs);
        let resource_groups = configs.into_keys().collect();
        Ok(ListResourceGroupsResponse { resource_groups, ..ListResourceGroupsResponse::default() })
    }

    pub(in crate::grpc) async fn describe_resource_group(
        &self,
        _: RequestContext,
        request: DescribeResourceGroupRequest,
    ) -> Result<DescribeResourceGroupResponse, Error> {
        let name = request.resource_group;
        let nodes = &*self.parts.nodes;
        let look = |metadata: &_| describe::resource_group::describe(metadata, &name, nodes);
        let found = self.find(ResourceGroupRecord::PREFIX, look).await?;
        match found {
            Some(group) => {
                let resource_group = Some(group);
                Ok(DescribeResourceGroupResponse { resource_group, ..Default::default() })
            }
            None => Err(Error::ResourceGroupNotFound { group: name }),
        }
    }
}

/// A number to move.
fn positive(what: &str, number: i64) -> Result<u32, Error> {
    u32::try_from(number).ok().filter(|number| *number > 0).ok_or_else(|| {
        Error::invalid(format!("invalid parameter[expected={what} > 0][actual=invalid {what} {number}]"))
    })
}
