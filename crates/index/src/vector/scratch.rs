//! Memory a search needs and gives back.

use parking_lot::Mutex;

/// Buffers of one search, reusable by any index of any size, one search at a time.
#[derive(Debug, Default)]
pub struct Scratch {
    pub(crate) visited: Visited,
    pub(crate) beam: super::hnsw::Beam,
    /// Rows whose distances are computed next, and those distances.
    pub(crate) batch: Vec<u32>,
    pub(crate) distances: Vec<f32>,
    pub(crate) products: Vec<i32>,
    pub(crate) query_codes: Vec<i8>,
    /// Rows between a node and its neighbours two hops away.
    pub(crate) bridges: Vec<u32>,
}

/// Which rows a search has seen. One byte per row holds the number of the last search that saw it, so that
/// nothing has to be cleared between searches.
#[derive(Debug, Default)]
pub(crate) struct Visited {
    marks: Vec<u8>,
    search: u8,
}

impl Visited {
    /// Forgets everything; afterwards `rows` rows can be seen.
    pub(crate) fn reset(&mut self, rows: usize) {
        // Exactly as many: rows that do not exist must not be seen.
        self.marks.resize(rows, 0);
        self.search = self.search.wrapping_add(1);
        if self.search == 0 {
            self.marks.fill(0);
            self.search = 1;
        }
    }

    /// Sees a row; whether it is new. Rows that do not exist are never new.
    #[inline(always)]
    pub(crate) fn see(&mut self, row: u32) -> bool {
        match self.marks.get_mut(row as usize) {
            Some(mark) if *mark != self.search => {
                *mark = self.search;
                true
            }
            _ => false,
        }
    }
}

/// Scratches that wait for the next search.
#[derive(Debug, Default)]
pub struct ScratchPool {
    idle: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// Runs a search with a scratch of the pool.
    pub fn with<T>(&self, search: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.idle.lock().pop().unwrap_or_default();
        let result = search(&mut scratch);
        self.idle.lock().push(scratch);
        result
    }
}
