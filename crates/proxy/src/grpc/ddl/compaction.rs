//! Manual compaction.

use redkite_proto::common::CompactionState;
use redkite_proto::milvus::{
    CompactionMergeInfo, GetCompactionPlansRequest, GetCompactionPlansResponse, GetCompactionStateRequest,
    GetCompactionStateResponse, ManualCompactionRequest, ManualCompactionResponse,
};
use redkite_service::{CompactionProgress, Error};
use redkite_types::TaskId;

use crate::{Proxy, RequestContext, refuse};

impl Proxy {
    pub(in crate::grpc) async fn manual_compaction(
        &self,
        context: RequestContext,
        request: ManualCompactionRequest,
    ) -> Result<ManualCompactionResponse, Error> {
        refuse_unsupported(&request)?;
        let (database, name) = (&request.db_name, &request.collection_name);
        let collection = self.named_or_numbered(&context, database, name, request.collection_id).await?;
        let id = self.request_id().await?;
        let (compaction, merges) = self.parts.data.compact(id, collection.id).await?;
        Ok(ManualCompactionResponse {
            compaction_id: compaction.0,
            compaction_plan_count: count(merges),
            ..ManualCompactionResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_compaction_state(
        &self,
        _: RequestContext,
        request: GetCompactionStateRequest,
    ) -> Result<GetCompactionStateResponse, Error> {
        let progress = self.compaction(request.compaction_id).await?;
        Ok(GetCompactionStateResponse {
            state: state(&progress).into(),
            executing_plan_no: count(progress.executing.len()),
            completed_plan_no: count(progress.completed.len()),
            failed_plan_no: count(progress.failed.len()),
            ..GetCompactionStateResponse::default()
        })
    }

    pub(in crate::grpc) async fn get_compaction_state_with_plans(
        &self,
        _: RequestContext,
        request: GetCompactionPlansRequest,
    ) -> Result<GetCompactionPlansResponse, Error> {
        let progress = self.compaction(request.compaction_id).await?;
        let merges = progress.executing.iter().chain(&progress.completed);
        let merge_infos = merges.map(|merge| CompactionMergeInfo {
            sources: merge.sources.iter().map(|id| id.0).collect(),
            target: merge.target.0,
            ..CompactionMergeInfo::default()
        });
        Ok(GetCompactionPlansResponse {
            state: state(&progress).into(),
            merge_infos: merge_infos.collect(),
            ..GetCompactionPlansResponse::default()
        })
    }

    async fn compaction(&self, id: i64) -> Result<CompactionProgress, Error> {
        // Milvus says -1 or 0 when there was nothing to compact, and clients ask for that too.
        if id <= 0 {
            return Ok(CompactionProgress::default());
        }
        self.parts.data.compaction(TaskId(id)).await
    }
}

/// A whole collection is compacted in one way: what asks for a part of it or another way is refused.
fn refuse_unsupported(request: &ManualCompactionRequest) -> Result<(), Error> {
    let asked = [
        (request.major_compaction, "clustering compaction"),
        (request.l0_compaction, "compaction of deletes alone"),
        (request.target_size != 0, "compaction to a target size"),
        (request.partition_id != 0, "compaction of one partition"),
        (!request.channel.is_empty(), "compaction of one channel"),
        (!request.segment_ids.is_empty(), "compaction of chosen segments"),
    ];
    match asked.iter().find(|(asked, _)| *asked) {
        None => Ok(()),
        Some((_, what)) => Err(refuse::unsupported(what)),
    }
}

fn state(progress: &CompactionProgress) -> CompactionState {
    if progress.executing.is_empty() { CompactionState::Completed } else { CompactionState::Executing }
}

fn count<T: TryFrom<usize> + Default>(items: usize) -> T {
    T::try_from(items).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_collections_are_compacted() {
        let plain = ManualCompactionRequest { collection_id: 7, ..ManualCompactionRequest::default() };
        refuse_unsupported(&plain).unwrap();
        let table = [
            (ManualCompactionRequest { major_compaction: true, ..plain.clone() }, "clustering compaction"),
            (ManualCompactionRequest { l0_compaction: true, ..plain.clone() }, "compaction of deletes alone"),
            (ManualCompactionRequest { target_size: 1, ..plain.clone() }, "compaction to a target size"),
            (ManualCompactionRequest { partition_id: 1, ..plain.clone() }, "compaction of one partition"),
            (
                ManualCompactionRequest { channel: "c".to_owned(), ..plain.clone() },
                "compaction of one channel",
            ),
            (ManualCompactionRequest { segment_ids: vec![1], ..plain }, "compaction of chosen segments"),
        ];
        for (request, what) in table {
            let refused = refuse_unsupported(&request).unwrap_err();
            assert_eq!(refused, Error::NotSupported { what: what.to_owned() });
        }
    }
}
