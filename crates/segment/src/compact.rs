//! Several files become one, without the rows that are gone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use redkite_storage::ObjectWriter;
use redkite_storage::format::{RowAt, RowSource, SegmentStats, write_segment};
use redkite_types::{CollectionSchema, DataView, PrimaryKeyRef, Timestamp};

use crate::read::Visibility;
use crate::{Result, SealedSegment};

/// Merges segments into one file, without rows deleted at or before `as_of`, and without rows from
/// before `expired_before`. Whatever deletes should count must have been applied to the segments.
///
/// Columns go from map to file in pieces: beside the maps this needs eight bytes a row.
///
/// # Errors
/// If a source is damaged (all of it is checked: damage must not be copied under a fresh checksum),
/// or the disk refuses.
pub fn compact(
    segments: &[&SealedSegment],
    schema: &CollectionSchema,
    as_of: Timestamp,
    expired_before: Option<Timestamp>,
    out: &mut ObjectWriter,
) -> Result<SegmentStats> {
    segments.iter().try_for_each(|segment| segment.file().verify())?;
    let sources = segments.iter().map(source).collect::<Result<Vec<_>>>()?;
    let visibility = Visibility { read: Timestamp::MAX, expired_before };
    let runs = (0..)
        .zip(segments)
        .map(|(number, segment)| Run::new(number, segment, as_of, visibility))
        .collect::<Result<Vec<_>>>()?;
    Ok(write_segment(out, schema, &sources, &merge(runs))?)
}

fn source<'a>(segment: &&'a SealedSegment) -> Result<RowSource<'a>> {
    let file = segment.file();
    let mut source = RowSource { timestamps: file.timestamps()?, ..RowSource::default() };
    for (field, _, _) in file.fields() {
        source.columns.extend(file.column(field)?.map(|column| (field, column)));
    }
    Ok(source)
}

/// The surviving rows of one segment, in order.
struct Run<'a> {
    source: u32,
    keys: DataView<'a>,
    timestamps: &'a [Timestamp],
    rows: Box<dyn Iterator<Item = u32> + 'a>,
}

type Head<'a> = (PrimaryKeyRef<'a>, Timestamp, u32, u32);

impl<'a> Run<'a> {
    fn new(
        source: u32,
        segment: &'a SealedSegment,
        as_of: Timestamp,
        visibility: Visibility,
    ) -> Result<Self> {
        let (keys, timestamps) = (segment.file().keys()?, segment.file().timestamps()?);
        let span = (segment.stats().min_timestamp, segment.stats().max_timestamp);
        let kept = visibility.restrict(segment.alive_at(as_of), span, || timestamps);
        let all = 0..u32::try_from(segment.rows()).expect("files have fewer than 2^32 rows");
        let rows = all.filter(move |row| kept.as_ref().is_none_or(|kept| kept.get(*row as usize)));
        Ok(Self { source, keys, timestamps, rows: Box::new(rows) })
    }

    fn next(&mut self) -> Option<Head<'a>> {
        let row = self.rows.next()?;
        Some((self.keys.primary_key(row as usize), self.timestamps[row as usize], self.source, row))
    }
}

fn merge(mut runs: Vec<Run<'_>>) -> Vec<RowAt> {
    let mut heads: BinaryHeap<Reverse<Head<'_>>> =
        runs.iter_mut().filter_map(Run::next).map(Reverse).collect();
    let mut order = Vec::new();
    while let Some(Reverse((_, _, source, row))) = heads.pop() {
        order.push(RowAt { source, row });
        heads.extend(runs[source as usize].next().map(Reverse));
    }
    order
}
