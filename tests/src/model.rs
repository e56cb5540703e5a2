//! What must a read answer? An exact model of one writer's rows, crashes included.
//!
//! The model knows nothing of shards, logs or segments. Each writer owns a range of primary keys, so
//! its model is exact although others write too. A write that was acknowledged has happened; one
//! that was refused has not; one whose answer was lost happened wholly or not at all, and the first
//! read after it settles which.

use std::collections::BTreeMap;
use std::fmt;

use crate::client::{CallError, Row};

/// A write, as its effect on rows: `None` for a row that is gone afterwards.
pub type Effect = BTreeMap<i64, Option<Row>>;

/// The rows of one writer.
#[derive(Clone, Debug, Default)]
pub struct Model {
    rows: BTreeMap<i64, Row>,
    /// A write whose answer was lost.
    unsettled: Option<Effect>,
    /// Whether all rows are in one shard, so that every write is atomic.
    atomic: bool,
}

/// A read that no sequence of acknowledged writes explains.
#[derive(Debug, thiserror::Error)]
pub struct Difference {
    lines: Vec<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} differences from the model", self.lines.len())?;
        self.lines.iter().take(20).try_for_each(|line| write!(f, "\n  {line}"))
    }
}

impl Model {
    /// No rows; `shards` is that of the collection.
    #[must_use]
    pub fn new(shards: i32) -> Self {
        Self { atomic: shards == 1, ..Self::default() }
    }

    /// The rows that must be there, by primary key. Meaningless while a write is unsettled.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<i64, Row> {
        &self.rows
    }

    /// Notes how a write ended; gives back an error that means the connection is gone.
    ///
    /// # Errors
    /// If the answer was lost.
    pub fn ended<T>(&mut self, effect: Effect, outcome: Result<T, CallError>) -> Result<(), CallError> {
        assert!(self.unsettled.is_none(), "a writer settles before it writes on");
        match outcome {
            Ok(_) => {
                self.apply(effect);
                Ok(())
            }
            Err(CallError::Refused { .. }) => Ok(()),
            Err(lost) => {
                self.unknown(effect);
                Err(lost)
            }
        }
    }

    /// Notes a write of which nobody knows how it ended.
    pub fn unknown(&mut self, effect: Effect) {
        self.unsettled = Some(effect);
    }

    /// Compares with everything a strong read found of this writer's rows, and settles a lost write.
    ///
    /// # Errors
    /// If no outcome of the lost write explains the read.
    pub fn compare(&mut self, found: &[Row]) -> Result<(), Difference> {
        let mut lines = Vec::new();
        let mut seen = BTreeMap::new();
        for row in found {
            if seen.insert(row.id, row.clone()).is_some() {
                lines.push(format!("row {} found twice", row.id));
            }
        }
        let effect = self.unsettled.take().unwrap_or_default();
        let mut happened = Vec::new();
        for id in self.rows.keys().chain(seen.keys()).chain(effect.keys()) {
            let (before, got) = (self.rows.get(id), seen.get(id));
            let after = effect.get(id).map_or(before, Option::as_ref);
            if got != before && got != after {
                lines.push(format!("row {id}: found {got:?}, expected {before:?} or {after:?}"));
            } else if before != after {
                happened.push(got == after);
            }
        }
        if self.atomic && happened.contains(&true) && happened.contains(&false) {
            lines.push("a lost write happened in part".to_owned());
        }
        lines.dedup();
        if lines.is_empty() {
            self.rows = seen;
            Ok(())
        } else {
            Err(Difference { lines })
        }
    }

    fn apply(&mut self, effect: Effect) {
        for (id, row) in effect {
            match row {
                Some(row) => self.rows.insert(id, row),
                None => self.rows.remove(&id),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, version: i64) -> Row {
        Row { id, version, tag: String::new() }
    }

    fn effect(rows: &[Row]) -> Effect {
        rows.iter().map(|row| (row.id, Some(row.clone()))).collect()
    }

    fn lost() -> Result<(), CallError> {
        Err(CallError::Lost(tonic::Status::unavailable("killed")))
    }

    #[test]
    fn an_acknowledged_row_must_be_there() {
        let mut model = Model::new(1);
        model.ended(effect(&[row(1, 0)]), Ok(())).unwrap();
        assert!(model.clone().compare(&[]).is_err());
        assert!(model.clone().compare(&[row(1, 0), row(1, 0)]).is_err());
        assert!(model.clone().compare(&[row(1, 0), row(2, 0)]).is_err());
        model.compare(&[row(1, 0)]).unwrap();
    }

    #[test]
    fn a_lost_write_happened_wholly_or_not_at_all() {
        let mut model = Model::new(1);
        model.ended(effect(&[row(1, 0)]), Ok(())).unwrap();
        model.ended(effect(&[row(1, 1), row(2, 1)]), lost()).unwrap_err();
        model.clone().compare(&[row(1, 0)]).unwrap();
        assert!(model.clone().compare(&[row(1, 1)]).is_err());
        assert!(model.clone().compare(&[row(1, 0), row(2, 1)]).is_err());
        model.compare(&[row(1, 1), row(2, 1)]).unwrap();
        assert!(model.compare(&[row(1, 0)]).is_err(), "settled for good");
    }

    #[test]
    fn a_refused_write_has_not_happened() {
        let mut model = Model::new(1);
        let refused: Result<(), _> = Err(CallError::Refused { code: 7, reason: "disk full".into() });
        model.ended(effect(&[row(1, 0)]), refused).unwrap();
        assert!(model.compare(&[row(1, 0)]).is_err());
    }
}
