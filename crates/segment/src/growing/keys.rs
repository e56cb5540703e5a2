//! In which rows is a primary key?

use hashbrown::HashMap;
use redkite_types::{DataType, DataView, PrimaryKeyRef};

/// The rows of every key, newest first.
#[derive(Debug)]
pub(crate) struct KeyRows {
    newest: Newest,
    /// The row before this one that has the same key. Keys are rarely written twice.
    older: HashMap<u32, u32>,
}

#[derive(Debug)]
enum Newest {
    Int64(HashMap<i64, u32>),
    VarChar(HashMap<Box<str>, u32>),
}

impl KeyRows {
    pub(crate) fn empty(key_type: DataType) -> Self {
        let newest = match key_type {
            DataType::Int64 => Newest::Int64(HashMap::new()),
            _ => Newest::VarChar(HashMap::new()),
        };
        Self { newest, older: HashMap::new() }
    }

    /// Adds the keys of rows `first_row`, `first_row + 1`, …
    pub(crate) fn insert(&mut self, keys: DataView<'_>, first_row: u32) {
        match (&mut self.newest, keys) {
            (Newest::Int64(newest), DataView::Int64(keys)) => {
                newest.reserve(keys.len());
                for (row, key) in (first_row..).zip(keys) {
                    if let Some(before) = newest.insert(*key, row) {
                        self.older.insert(row, before);
                    }
                }
            }
            (Newest::VarChar(newest), DataView::VarChar(keys)) => {
                newest.reserve(keys.len());
                for (row, position) in (first_row..).zip(0..keys.len()) {
                    if let Some(before) = newest.insert(keys.str(position).into(), row) {
                        self.older.insert(row, before);
                    }
                }
            }
            // Types are checked before rows are accepted.
            _ => unreachable!("keys of another type"),
        }
    }

    /// The rows with a key.
    pub(crate) fn newest_first(&self, key: PrimaryKeyRef<'_>) -> impl Iterator<Item = u32> {
        let newest = match (&self.newest, key) {
            (Newest::Int64(newest), PrimaryKeyRef::Int64(key)) => newest.get(&key),
            (Newest::VarChar(newest), PrimaryKeyRef::VarChar(key)) => newest.get(key),
            _ => None,
        };
        std::iter::successors(newest.copied(), |row| self.older.get(row).copied())
    }

    /// Whether a key is in more than one row.
    pub(crate) fn repeated(&self) -> bool {
        !self.older.is_empty()
    }
}
