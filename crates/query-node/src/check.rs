//! Are the bytes of a held segment those that were written?
//!
//! Opening looks at directories, and scalar columns compare themselves with their checksums when they are
//! first read. Vectors and the graphs over them are too large for that: they are compared in the
//! background, one segment at a time, as soon as the segment can be read. Warming it reads the same
//! bytes anyhow.

use std::sync::Arc;

use redkite_runtime::blocking;
use redkite_types::IndexId;
use tracing::{error, info};

use crate::Environment;
use crate::error::Error;
use crate::holder::{Held, Holder, Place, Slot};

/// Checks everything. A damaged segment is not read any more, a damaged index not used any more.
pub(crate) async fn check(environment: &Environment, holder: &Holder, place: Place, held: &Arc<Held>) {
    let segment = place.segment;
    let checked = held.clone();
    if let Err(error) = blocking(move || checked.segment.verify()).await {
        let error = Error::from(error).chain();
        error!(%segment, error, "segment is damaged and not read any more");
        metrics::counter!("redkite_querynode_damaged_files_total").increment(1);
        holder.set(place, Slot::Damaged(error));
        return;
    }
    check_indexes(environment, held).await;
    info!(%segment, "segment checked");
}

/// Checks the attached indexes.
pub(crate) async fn check_indexes(environment: &Environment, held: &Arc<Held>) {
    let checked = held.clone();
    for (index, error) in blocking(move || checked.segment.damaged_indexes()).await {
        let file = index_file(environment, held, index);
        error!(segment = %held.segment.id(), file, %error, "index is damaged and not used any more");
        metrics::counter!("redkite_querynode_damaged_files_total").increment(1);
        held.distrust(index);
    }
}

fn index_file(environment: &Environment, held: &Held, index: IndexId) -> String {
    environment.view.read(|metadata| {
        let record = metadata.segments.get(&(held.collection, held.segment.id()));
        record.and_then(|record| Some(record.indexes.get(&index)?.path.clone())).unwrap_or_default()
    })
}
