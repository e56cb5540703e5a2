//! Merging the hits of vector searches.

use std::cmp::Ordering;

use hashbrown::HashSet;
use redkite_types::{Column, DataType, PrimaryKeyRef, PrimaryKeys, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Place, ReduceError, Rows, empty_keys, gather_columns};

/// Hits of some queries: all hits of the first query best first, then those of the second, …
///
/// `ids`, `scores`, `timestamps` and every column have one entry per hit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchPart {
    /// Number of queries.
    pub nq: u32,
    /// Hits of each query; `nq` entries.
    #[serde(with = "redkite_types::bulk")]
    pub topks: Vec<u32>,
    /// Primary key of each hit.
    pub ids: PrimaryKeys,
    /// Raw metric value of each hit.
    #[serde(with = "redkite_types::bulk")]
    pub scores: Vec<f32>,
    /// When the row of each hit was written.
    #[serde(with = "redkite_types::bulk")]
    pub timestamps: Vec<Timestamp>,
    /// Output fields of each hit.
    pub columns: Vec<Column>,
}

impl SearchPart {
    /// No hits for `nq` queries; keys of the type of the primary key field.
    #[must_use]
    pub fn empty(nq: u32, key_type: DataType) -> Self {
        Self {
            nq,
            topks: vec![0; nq as usize],
            ids: PrimaryKeys::empty(key_type),
            scores: Vec::new(),
            timestamps: Vec::new(),
            columns: Vec::new(),
        }
    }

    /// Number of hits over all queries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether no query has a hit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    fn rows(&self) -> Rows<'_> {
        Rows { ids: &self.ids, columns: &self.columns }
    }

    fn check(&self, nq: u32) -> Result<(), ReduceError> {
        if self.nq != nq || self.topks.len() != nq as usize {
            return Err(ReduceError::Queries { left: nq, right: self.nq });
        }
        self.rows().check(self.timestamps.len())?;
        let expected = self.ids.len();
        let hits = self.topks.iter().map(|hits| *hits as usize).sum();
        for (what, found) in [("scores", self.scores.len()), ("hits", hits)] {
            if found != expected {
                return Err(ReduceError::Length { what, found, expected });
            }
        }
        Ok(())
    }
}

/// The best hits of all parts: for each query the hits `offset..offset + limit` in the order of
/// (score, primary key), each key once with its best score.
///
/// The result does not depend on how hits were spread over parts, as long as every part holds its
/// own best `offset + limit` hits in that same order.
///
/// # Errors
/// Parts that do not belong together.
pub fn merge_search(
    mut parts: Vec<SearchPart>,
    larger_is_nearer: bool,
    offset: usize,
    limit: usize,
) -> Result<SearchPart, ReduceError> {
    let Some(nq) = parts.first().map(|part| part.nq) else {
        return Ok(SearchPart::empty(0, DataType::Int64));
    };
    parts.iter().try_for_each(|part| part.check(nq))?;
    let rows: Vec<Rows<'_>> = parts.iter().map(SearchPart::rows).collect();
    let mut ids = empty_keys(&rows)?;

    let mut chooser = Chooser { parts: &parts, larger_is_nearer, starts: vec![0; parts.len()] };
    let mut topks = Vec::with_capacity(nq as usize);
    let mut chosen = Vec::new();
    for query in 0..nq as usize {
        let before = chosen.len();
        chooser.choose(query, offset, limit, &mut chosen);
        topks.push(u32::try_from(chosen.len() - before).expect("no more hits than in the parts"));
    }

    let whole = chosen.iter().enumerate().all(|(row, place)| *place == Place::new(0, row));
    if parts.len() == 1 && whole && chosen.len() == parts[0].len() {
        return Ok(parts.swap_remove(0));
    }
    let columns = gather_columns(&rows, &chosen)?;
    chosen.iter().for_each(|place| ids.push(parts[place.part()].ids.get(place.row())));
    let scores = chosen.iter().map(|place| parts[place.part()].scores[place.row()]).collect();
    let timestamps = chosen.iter().map(|place| parts[place.part()].timestamps[place.row()]).collect();
    Ok(SearchPart { nq, topks, ids, scores, timestamps, columns })
}

/// Picks hits query by query; `starts` is where the next query begins in each part.
struct Chooser<'a> {
    parts: &'a [SearchPart],
    larger_is_nearer: bool,
    starts: Vec<usize>,
}

impl Chooser<'_> {
    fn choose(&mut self, query: usize, offset: usize, limit: usize, chosen: &mut Vec<Place>) {
        let mut hits = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            let end = self.starts[index] + part.topks[query] as usize;
            hits.extend(
                (self.starts[index]..end)
                    .map(|row| (distance(part.scores[row], self.larger_is_nearer), Place::new(index, row))),
            );
            self.starts[index] = end;
        }
        // The stable sort finds the parts' own order and merges runs: O(n log parts).
        hits.sort_by(|(left, a), (right, b)| left.cmp(right).then_with(|| self.tie(*a, *b)));
        let mut seen = HashSet::with_capacity(hits.len().min(offset.saturating_add(limit)));
        let distinct = hits.into_iter().map(|(_, place)| place).filter(|place| seen.insert(self.key(*place)));
        chosen.extend(distinct.skip(offset).take(limit));
    }

    /// Equal scores: the smaller key first; for one key the latest version.
    fn tie(&self, a: Place, b: Place) -> Ordering {
        let written = |place: Place| self.parts[place.part()].timestamps[place.row()];
        self.key(a).cmp(&self.key(b)).then_with(|| written(b).cmp(&written(a)))
    }

    fn key(&self, place: Place) -> PrimaryKeyRef<'_> {
        self.parts[place.part()].ids.get(place.row())
    }
}

/// A number that is smaller the nearer the hit; NaN is the farthest.
fn distance(score: f32, larger_is_nearer: bool) -> u32 {
    if score.is_nan() {
        return u32::MAX;
    }
    // Adding zero makes -0.0 and 0.0 one score.
    let bits = if larger_is_nearer { -score + 0.0 } else { score + 0.0 }.to_bits();
    if bits >> 31 == 1 { !bits } else { bits | 1 << 31 }
}

/// Rounds scores to a number of decimals; Milvus: `round_decimal`. A negative number leaves them alone.
pub fn round_decimal(scores: &mut [f32], decimals: i32) {
    if decimals < 0 {
        return;
    }
    let factor = 10_f64.powi(decimals);
    for score in scores {
        let rounded = (f64::from(*score) * factor).round() / factor;
        #[expect(clippy::cast_possible_truncation, reason = "scores are single precision")]
        if rounded.is_finite() {
            *score = rounded as f32;
        }
    }
}
