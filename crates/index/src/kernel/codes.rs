//! The loop over rows of 8-bit codes.

/// Code rows are padded to a multiple of this many bytes, so that a row is whole cache lines and the loops
/// have no tail.
pub const CODE_ALIGN: usize = 64;

/// Inner products of 8-bit codes on one instruction set.
///
/// # Safety
/// The processor has the instruction set; pointers are valid for `len` elements.
pub(super) trait CodeLanes {
    /// The products of one signed query with `ROWS` rows of unsigned codes.
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS];
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
pub(super) unsafe fn many_codes<L: CodeLanes>(
    query: &[i8],
    rows: &[u8],
    row_of: impl Fn(usize) -> usize,
    out: &mut [i32],
) {
    let len = query.len();
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
        out[at..at + 4].copy_from_slice(&L::dot::<4>(query.as_ptr(), pointers, len));
        at += 4;
    }
    for (number, sum) in out.iter_mut().enumerate().skip(at) {
        [*sum] = L::dot(query.as_ptr(), [pointer_to(number)], len);
    }
}
