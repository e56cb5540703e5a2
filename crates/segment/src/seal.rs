//! Growing rows become a file.

use redkite_storage::ObjectWriter;
use redkite_storage::format::{RowAt, RowSource, SegmentStats, write_segment};
use redkite_types::{CollectionSchema, DataView, PrimaryKeyRef, Timestamp};

use crate::growing::Chunk;
use crate::{GrowingSegment, Result};

/// Writes the rows of a growing segment, sorted by (primary key, timestamp), without those deleted at
/// or before `deletes_through`. Later deletes stay in force through the shard's delta files.
///
/// The segment should take no more rows: those that come while this runs are not in the file.
///
/// # Errors
/// If the rows do not fit the schema, or the disk refuses.
pub fn seal(
    segment: &GrowingSegment,
    schema: &CollectionSchema,
    deletes_through: Timestamp,
    out: &mut ObjectWriter,
) -> Result<SegmentStats> {
    let slots = segment.slots();
    let sources: Vec<RowSource<'_>> = slots.iter().map(|(chunk, _)| source(chunk)).collect();
    let keys: Vec<Option<DataView<'_>>> = sources
        .iter()
        .map(|source| source.columns.get(&segment.key_field()).map(|column| column.data))
        .collect();
    let mut rows: Vec<(PrimaryKeyRef<'_>, Timestamp, RowAt)> = Vec::with_capacity(segment.rows());
    for (number, ((chunk, deleted), keys)) in (0_u32..).zip(slots.iter().zip(&keys)) {
        let keys = keys.expect("rows are accepted with keys only");
        for (row, written) in (0_u32..).zip(chunk.timestamps()) {
            let since = deleted.as_ref().and_then(|deleted| deleted.since(row));
            if since.is_none_or(|since| since > deletes_through) {
                rows.push((keys.primary_key(row as usize), *written, RowAt { source: number, row }));
            }
        }
    }
    // Stable: rows of one key and timestamp stay in the order they were written.
    rows.sort_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)));
    let order: Vec<RowAt> = rows.into_iter().map(|(_, _, at)| at).collect();
    Ok(write_segment(out, schema, &sources, &order)?)
}

fn source(chunk: &Chunk) -> RowSource<'_> {
    let columns = chunk.columns().iter().map(|column| (column.field, column.view())).collect();
    RowSource { timestamps: chunk.timestamps(), columns }
}
