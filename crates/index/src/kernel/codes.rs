//! The loops over rows of 8-bit and 4-bit codes.
//!
//! A row of 4-bit codes is made of blocks of 64 bytes for 128 dimensions: byte `i` of a block holds
//! dimension `i` in its low half and dimension `i + 64` in its high half, so that a vector register splits
//! into two runs of consecutive dimensions by one mask and one shift.

/// Code rows are padded to a multiple of this many bytes, so that a row is whole cache lines and the loops
/// have no tail.
pub const CODE_ALIGN: usize = 64;

/// Dimensions in a block of 4-bit codes.
pub const NIBBLE_BLOCK: usize = 2 * CODE_ALIGN;

/// Inner products of codes on one instruction set.
///
/// # Safety
/// The processor has the instruction set; pointers are valid for `len` elements.
pub(super) trait CodeLanes {
    /// The products of one signed query with `ROWS` rows of unsigned codes.
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS];

    /// The products of one signed query of `2 * len` dimensions with `ROWS` rows of `len` bytes of 4-bit
    /// codes; `len` is a multiple of [`CODE_ALIGN`].
    unsafe fn dot_nibbles<const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS];
}

/// The products that a vector loop left over, added to what it summed.
///
/// # Safety
/// Pointers are valid for `len` elements.
#[inline(always)]
pub(super) unsafe fn add_tail<const ROWS: usize>(
    query: *const i8,
    rows: [*const u8; ROWS],
    done: usize,
    len: usize,
    sums: &mut [i32; ROWS],
) {
    for at in done..len {
        for (sum, row) in sums.iter_mut().zip(rows) {
            *sum += i32::from(*query.add(at)) * i32::from(*row.add(at));
        }
    }
}

/// A width of codes.
pub(super) trait Width {
    /// Bytes of a row for a query of `dims` dimensions.
    fn row_bytes(dims: usize) -> usize;
    /// # Safety
    /// As [`CodeLanes`].
    unsafe fn dot<L: CodeLanes, const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS];
}

/// 8-bit codes.
pub(super) struct Bytes;
/// 4-bit codes.
pub(super) struct Nibbles;

impl Width for Bytes {
    #[inline(always)]
    fn row_bytes(dims: usize) -> usize {
        dims
    }

    #[inline(always)]
    unsafe fn dot<L: CodeLanes, const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS] {
        L::dot(query, rows, len)
    }
}

impl Width for Nibbles {
    #[inline(always)]
    fn row_bytes(dims: usize) -> usize {
        assert!(dims.is_multiple_of(NIBBLE_BLOCK), "4-bit codes of {dims} dimensions");
        dims / 2
    }

    #[inline(always)]
    unsafe fn dot<L: CodeLanes, const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS] {
        L::dot_nibbles(query, rows, len)
    }
}

/// Products with `out.len()` rows, the n-th of which is row `row_of(n)` of `rows`.
///
/// Nothing is prefetched here: graph traversal asks for rows while it still sorts out which ones it needs,
/// and scans are sequential.
///
/// # Safety
/// As [`CodeLanes`].
///
/// # Panics
/// If a row lies outside `rows`.
#[inline(always)]
pub(super) unsafe fn many_codes<L: CodeLanes, W: Width>(
    query: &[i8],
    rows: &[u8],
    row_of: impl Fn(usize) -> usize,
    out: &mut [i32],
) {
    let len = W::row_bytes(query.len());
    let count = rows.len().checked_div(len).unwrap_or(0);
    let pointer_to = |number: usize| {
        let row = row_of(number);
        assert!(row < count, "row {row} of {count}");
        rows.as_ptr().add(row * len)
    };
    let total = out.len();
    let mut at = 0;
    while at + 4 <= total {
        let pointers = std::array::from_fn(|part| pointer_to(at + part));
        out[at..at + 4].copy_from_slice(&W::dot::<L, 4>(query.as_ptr(), pointers, len));
        at += 4;
    }
    for (number, sum) in out.iter_mut().enumerate().skip(at) {
        [*sum] = W::dot::<L, 1>(query.as_ptr(), [pointer_to(number)], len);
    }
}
