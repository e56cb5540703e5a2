//! Listing and counting rows.

use std::cmp::Reverse;

use redkite_query::RetrievePart;
use redkite_types::DataView;

use super::gather::{Gathered, gather};
use super::select::{Selection, select};
use super::{Piece, Snapshot};
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

/// Rows lie in the order of writing: the smallest keys are found first, then sorted.
fn first_of_unsorted(snapshot: &Snapshot<'_>, selections: &[Selection], limit: usize) -> Result<Vec<u32>> {
    let ints = snapshot.keys.iter().map(|keys| match keys {
        DataView::Int64(keys) => Some(*keys),
        _ => None,
    });
    if let Some(keys) = ints.collect::<Option<Vec<_>>>() {
        return first_versions(snapshot, selections, limit, |piece, row| keys[piece][row]);
    }
    first_versions(snapshot, selections, limit, |piece, row| snapshot.keys[piece].primary_key(row))
}

fn first_versions<K: Ord + Copy>(
    snapshot: &Snapshot<'_>,
    selections: &[Selection],
    limit: usize,
    key: impl Fn(usize, usize) -> K,
) -> Result<Vec<u32>> {
    let written = snapshot.pieces.iter().map(|piece| piece.columns.timestamps());
    let written = written.collect::<Result<Vec<_>>>()?;
    // Enough that repeated keys rarely leave fewer than the limit.
    let mut enough = limit.saturating_mul(2).saturating_add(64);
    loop {
        let mut smallest = Smallest { kept: Vec::new(), enough, bound: None };
        for (piece, selection) in selections.iter().enumerate() {
            let Piece { first_row, rows, .. } = snapshot.pieces[piece];
            for row in selection.iter(rows) {
                let at = row as usize;
                // Sorts the versions of a key from the latest to the oldest.
                smallest.offer((key(piece, at), Reverse(written[piece][at]), Reverse(first_row + row)));
            }
        }
        let whole = smallest.bound.is_none();
        let mut first = smallest.kept;
        first.sort_unstable();
        first.dedup_by_key(|version| version.0);
        // Later versions come first, so what was left out is only larger keys and older versions.
        if whole || first.len() >= limit {
            return Ok(first.into_iter().take(limit).map(|(_, _, Reverse(row))| row).collect());
        }
        enough = enough.saturating_mul(4);
    }
}

/// Keeps at least the `enough` smallest of what it is offered.
struct Smallest<V> {
    kept: Vec<V>,
    enough: usize,
    /// What is larger has been left out.
    bound: Option<V>,
}

impl<V: Ord + Copy> Smallest<V> {
    fn offer(&mut self, value: V) {
        if self.bound.is_some_and(|bound| value > bound) {
            return;
        }
        self.kept.push(value);
        if self.kept.len() > self.enough.saturating_mul(2) {
            let (_, bound, _) = self.kept.select_nth_unstable(self.enough);
            self.bound = Some(*bound);
            self.kept.truncate(self.enough);
        }
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
