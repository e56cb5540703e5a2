//! Segments that a client wants on other query nodes.

use redkite_proto::common::Status;
use redkite_proto::milvus::LoadBalanceRequest;
use redkite_service::{BalanceCommand, Error, TransferRequest};
use redkite_types::{NodeId, SegmentId};

use crate::{Proxy, RequestContext};

impl Proxy {
    /// Answers when they have moved. They stay there: automatic balancing does not undo it.
    pub(in crate::grpc) async fn load_balance(
        &self,
        context: RequestContext,
        request: LoadBalanceRequest,
    ) -> Result<Status, Error> {
        let collection = self.collection(&context, &request.db_name, &request.collection_name).await?.id;
        let transfer = TransferRequest {
            collection: Some(collection),
            segments: request.sealed_segment_i_ds.into_iter().map(SegmentId).collect(),
            from: NodeId(request.src_node_id),
            to: request.dst_node_i_ds.into_iter().map(NodeId).collect(),
        };
        self.parts.query.balance(BalanceCommand::Transfer(transfer)).await?;
        Ok(Status::default())
    }
}
