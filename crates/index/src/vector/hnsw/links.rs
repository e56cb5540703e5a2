//! Who is linked with whom, while the graph grows and after it was stored.

use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::kernel::prefetch;

/// Marks unused places in lists of neighbours, and rows that are on level 0 only.
pub(crate) const NONE: u32 = u32::MAX;

/// Most levels above 0; with `M >= 2` and 2³¹ rows more are never drawn.
pub(crate) const MOST_LEVELS: usize = 31;

/// A layered graph that can be walked.
pub(crate) trait Links {
    /// Visits the neighbours of a row on a level; none if the row is not on it.
    fn each(&self, row: u32, level: usize, visit: impl FnMut(u32));

    /// Starts fetching the neighbours on level 0.
    fn prefetch(&self, row: u32);
}

/// Where the lists of each row are: level 0 in one array, `2M` places a row; higher levels in another, `M`
/// places a list.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) m: usize,
    /// Number of the row's first list above level 0, or [`NONE`].
    pub(crate) upper_starts: Vec<u32>,
    pub(crate) upper_lists: usize,
}

/// A graph that many threads add to. Readers take no locks: a list that is just being rewritten may look
/// shorter or hold a row twice, which costs a little recall in one step of one insertion.
#[derive(Debug)]
pub(crate) struct GrowingGraph {
    pub(crate) layout: Layout,
    base: Vec<AtomicU32>,
    upper: Vec<AtomicU32>,
    writers: Vec<Mutex<()>>,
}

impl GrowingGraph {
    pub(crate) fn new(layout: Layout, rows: usize) -> Self {
        let places = |count: usize| (0..count).map(|_| AtomicU32::new(NONE)).collect();
        Self {
            base: places(rows * 2 * layout.m),
            upper: places(layout.upper_lists * layout.m),
            writers: (0..rows).map(|_| Mutex::new(())).collect(),
            layout,
        }
    }

    #[inline]
    fn list(&self, row: u32, level: usize) -> &[AtomicU32] {
        let m = self.layout.m;
        if level == 0 {
            let start = row as usize * 2 * m;
            &self.base[start..start + 2 * m]
        } else {
            let start = (self.layout.upper_starts[row as usize] as usize + level - 1) * m;
            &self.upper[start..start + m]
        }
    }

    /// Replaces the neighbours of a row; there are at most as many as places.
    pub(crate) fn set(&self, row: u32, level: usize, neighbours: &[u32]) {
        let _writer = self.writers[row as usize].lock();
        Self::write(self.list(row, level), neighbours);
    }

    fn write(list: &[AtomicU32], neighbours: &[u32]) {
        let padded = neighbours.iter().copied().chain(std::iter::repeat(NONE));
        list.iter().zip(padded).for_each(|(place, row)| place.store(row, Ordering::Relaxed));
    }

    /// Adds a neighbour. If there is no place left, `choose` gets all candidates and leaves those that stay.
    pub(crate) fn connect(&self, row: u32, level: usize, neighbour: u32, choose: impl FnOnce(&mut Vec<u32>)) {
        let _writer = self.writers[row as usize].lock();
        let list = self.list(row, level);
        for place in list {
            let held = place.load(Ordering::Relaxed);
            if held == neighbour {
                return;
            }
            if held == NONE {
                return place.store(neighbour, Ordering::Relaxed);
            }
        }
        let mut candidates: Vec<u32> = list.iter().map(|place| place.load(Ordering::Relaxed)).collect();
        candidates.push(neighbour);
        choose(&mut candidates);
        Self::write(list, &candidates);
    }

    /// The finished arrays: level 0, starts of the upper lists, upper lists.
    pub(crate) fn into_parts(self) -> (Vec<u32>, Vec<u32>, Vec<u32>) {
        let plain = |places: Vec<AtomicU32>| places.into_iter().map(AtomicU32::into_inner).collect();
        (plain(self.base), self.layout.upper_starts, plain(self.upper))
    }
}

impl Links for GrowingGraph {
    #[inline(always)]
    fn each(&self, row: u32, level: usize, mut visit: impl FnMut(u32)) {
        for place in self.list(row, level) {
            let neighbour = place.load(Ordering::Relaxed);
            if neighbour == NONE {
                return;
            }
            visit(neighbour);
        }
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        let places = 2 * self.layout.m;
        prefetch(&self.base, row as usize * places, places);
    }
}

/// A graph in an opened file. Row numbers and starts in it are not trusted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StoredGraph<'a> {
    pub(crate) m: usize,
    pub(crate) base: &'a [u32],
    pub(crate) upper_starts: &'a [u32],
    pub(crate) upper: &'a [u32],
}

impl<'a> StoredGraph<'a> {
    /// The places of a row on level 0.
    #[inline]
    pub(crate) fn places(&self, row: u32) -> &'a [u32] {
        let start = row as usize * 2 * self.m;
        self.base.get(start..start + 2 * self.m).unwrap_or_default()
    }

    #[inline]
    fn list(&self, row: u32, level: usize) -> Option<&'a [u32]> {
        if level == 0 {
            return Some(self.places(row));
        }
        let first = *self.upper_starts.get(row as usize)?;
        let start = (first as usize).checked_add(level - 1)?.checked_mul(self.m)?;
        self.upper.get(start..start.checked_add(self.m)?)
    }
}

impl Links for StoredGraph<'_> {
    #[inline(always)]
    fn each(&self, row: u32, level: usize, mut visit: impl FnMut(u32)) {
        for neighbour in self.list(row, level).unwrap_or_default() {
            if *neighbour == NONE {
                return;
            }
            visit(*neighbour);
        }
    }

    #[inline]
    fn prefetch(&self, row: u32) {
        let places = 2 * self.m;
        prefetch(self.base, row as usize * places, places);
    }
}
