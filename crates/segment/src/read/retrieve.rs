//! Listing and counting rows.

use std::cmp::Reverse;

use redkite_query::RetrievePart;
use redkite_types::{PrimaryKeyRef, Timestamp};

use super::Snapshot;
use super::gather::{Gathered, gather};
use super::select::{Selection, select};
use crate::{Result, RetrieveTask};

/// How many rows are wanted.
pub(crate) fn count(snapshot: &Snapshot<'_>, task: &RetrieveTask<'_>) -> Result<u64> {
    let selections = select(snapshot, task.schema, task.filter)?;
    Ok(snapshot.pieces.iter().zip(&selections).map(|(piece, rows)| rows.len(piece.rows) as u64).sum())
}

/// The first wanted rows by primary key, each key in its latest version.
pub(crate) fn retrieve(snapshot: &Snapshot<'_>, task: &RetrieveTask<'_>) -> Result<RetrievePart> {
    let selections = select(snapshot, task.schema, task.filter)?;
    let limit = task.limit.unwrap_or(usize::MAX);
    let rows = if snapshot.lookup.sorted() {
        first_of_sorted(snapshot, &selections, limit)
    } else {
        first_of_unsorted(snapshot, &selections, limit)?
    };
    let Gathered { ids, timestamps, columns } = gather(snapshot, task.schema, &rows, task.output)?;
    Ok(RetrievePart { ids, timestamps, columns })
}

/// Rows lie in the order of (key, timestamp): the last one of a run of equal keys is the latest.
fn first_of_sorted(snapshot: &Snapshot<'_>, selections: &[Selection], limit: usize) -> Vec<u32> {
    let wanted = wanted_rows(snapshot, selections);
    if !snapshot.lookup.repeated() {
        return wanted.take(limit).collect();
    }
    let mut rows: Vec<u32> = Vec::new();
    for row in wanted {
        let full = rows.len() == limit;
        match rows.last_mut() {
            Some(last) if snapshot.key(*last) == snapshot.key(row) => *last = row,
            _ if full => break,
            _ => rows.push(row),
        }
    }
    rows
}

type Version<'a> = (PrimaryKeyRef<'a>, Reverse<Timestamp>, Reverse<u32>);

/// Rows lie in the order of writing: the smallest keys are found first, then sorted.
fn first_of_unsorted(snapshot: &Snapshot<'_>, selections: &[Selection], limit: usize) -> Result<Vec<u32>> {
    let mut versions: Vec<Version<'_>> = wanted_rows(snapshot, selections)
        .map(|row| Ok((snapshot.key(row), Reverse(snapshot.timestamp(row)?), Reverse(row))))
        .collect::<Result<_>>()?;
    // Enough that repeated keys rarely leave fewer than the limit.
    let mut enough = limit.saturating_mul(2).saturating_add(16);
    loop {
        let whole = enough >= versions.len();
        if !whole {
            versions.select_nth_unstable(enough);
        }
        let mut first = versions[..enough.min(versions.len())].to_vec();
        first.sort_unstable();
        first.dedup_by_key(|version| version.0);
        // Later versions come first, so what was left out is only larger keys and older versions.
        if whole || first.len() >= limit {
            first.truncate(limit);
            return Ok(first.into_iter().map(|(_, _, Reverse(row))| row).collect());
        }
        enough = enough.saturating_mul(4);
    }
}

fn wanted_rows<'s>(
    snapshot: &'s Snapshot<'_>,
    selections: &'s [Selection],
) -> impl Iterator<Item = u32> + use<'s> {
    snapshot.pieces.iter().zip(selections).flat_map(|(piece, selection)| {
        let first = piece.first_row;
        selection.iter(piece.rows).map(move |row| first + row)
    })
}
