//! The loops over floating-point rows, written once over the primitive operations of an instruction set.

use half::{bf16, f16};

/// The primitive floating-point operations of one instruction set, on vectors of `WIDTH` f32 lanes.
///
/// # Safety
/// Every function requires that the processor has the instruction set, and every load that its pointer is
/// valid for `WIDTH` elements (`count` for the partial ones); no alignment is needed.
/// All methods are `#[inline(always)]` so that they compile inside the `#[target_feature]` functions made by
/// `row_kernels!`.
pub(super) trait Lanes: Copy {
    /// A register of `WIDTH` f32.
    type Vector: Copy;
    /// Lanes of a register; at most 16.
    const WIDTH: usize;

    unsafe fn zero() -> Self::Vector;
    unsafe fn load_f32(at: *const f32) -> Self::Vector;
    unsafe fn load_f16(at: *const f16) -> Self::Vector;
    unsafe fn load_bf16(at: *const bf16) -> Self::Vector;
    /// `a * b + c`.
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// The sum of all lanes.
    unsafe fn sum(a: Self::Vector) -> f32;

    /// `count < WIDTH` elements, the other lanes zero.
    #[inline(always)]
    unsafe fn load_partial<E: Element>(at: *const E, count: usize) -> Self::Vector {
        let mut padded = [E::ZERO; 16];
        std::ptr::copy_nonoverlapping(at, padded.as_mut_ptr(), count);
        E::load::<Self>(padded.as_ptr())
    }
}

/// A type rows are stored in.
pub(super) trait Element: Copy + 'static {
    const ZERO: Self;
    /// # Safety
    /// As [`Lanes`].
    unsafe fn load<L: Lanes>(at: *const Self) -> L::Vector;
}

impl Element for f32 {
    const ZERO: Self = 0.0;
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::Vector {
        L::load_f32(at)
    }
}

impl Element for f16 {
    const ZERO: Self = f16::ZERO;
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::Vector {
        L::load_f16(at)
    }
}

impl Element for bf16 {
    const ZERO: Self = bf16::ZERO;
    #[inline(always)]
    unsafe fn load<L: Lanes>(at: *const Self) -> L::Vector {
        L::load_bf16(at)
    }
}

/// What is summed over the dimensions.
pub(super) trait Term {
    /// # Safety
    /// As [`Lanes`].
    unsafe fn accumulate<L: Lanes>(query: L::Vector, row: L::Vector, sum: L::Vector) -> L::Vector;
}

/// `q · r`
pub(super) struct Product;
/// `(q − r)²`
pub(super) struct SquaredDifference;

impl Term for Product {
    #[inline(always)]
    unsafe fn accumulate<L: Lanes>(query: L::Vector, row: L::Vector, sum: L::Vector) -> L::Vector {
        L::multiply_add(query, row, sum)
    }
}

impl Term for SquaredDifference {
    #[inline(always)]
    unsafe fn accumulate<L: Lanes>(query: L::Vector, row: L::Vector, sum: L::Vector) -> L::Vector {
        let difference = L::subtract(query, row);
        L::multiply_add(difference, difference, sum)
    }
}

/// The sum of a term over `dim` dimensions. Four accumulators hide the latency of the additions.
///
/// # Safety
/// As [`Lanes`]; both pointers are valid for `dim` elements.
#[inline(always)]
pub(super) unsafe fn pair<L: Lanes, Q: Element, E: Element, T: Term>(
    query: *const Q,
    row: *const E,
    dim: usize,
) -> f32 {
    let mut sums = [L::zero(); 4];
    let mut at = 0;
    while at + 4 * L::WIDTH <= dim {
        for (part, sum) in sums.iter_mut().enumerate() {
            let at = at + part * L::WIDTH;
            *sum = T::accumulate::<L>(Q::load::<L>(query.add(at)), E::load::<L>(row.add(at)), *sum);
        }
        at += 4 * L::WIDTH;
    }
    while at + L::WIDTH <= dim {
        sums[0] = T::accumulate::<L>(Q::load::<L>(query.add(at)), E::load::<L>(row.add(at)), sums[0]);
        at += L::WIDTH;
    }
    if at < dim {
        let (query, row) = (L::load_partial(query.add(at), dim - at), L::load_partial(row.add(at), dim - at));
        sums[1] = T::accumulate::<L>(query, row, sums[1]);
    }
    L::sum(L::add(L::add(sums[0], sums[1]), L::add(sums[2], sums[3])))
}

/// Four rows against one query, whose lanes are loaded once.
///
/// # Safety
/// As [`Lanes`]; all pointers are valid for `dim` elements.
#[inline(always)]
unsafe fn four<L: Lanes, E: Element, T: Term>(
    query: *const f32,
    rows: [*const E; 4],
    dim: usize,
) -> [f32; 4] {
    let mut even = [L::zero(); 4];
    let mut odd = [L::zero(); 4];
    let mut at = 0;
    while at + 2 * L::WIDTH <= dim {
        let (first, second) = (L::load_f32(query.add(at)), L::load_f32(query.add(at + L::WIDTH)));
        for row in 0..4 {
            even[row] = T::accumulate::<L>(first, E::load::<L>(rows[row].add(at)), even[row]);
            odd[row] = T::accumulate::<L>(second, E::load::<L>(rows[row].add(at + L::WIDTH)), odd[row]);
        }
        at += 2 * L::WIDTH;
    }
    if at + L::WIDTH <= dim {
        let query = L::load_f32(query.add(at));
        for row in 0..4 {
            even[row] = T::accumulate::<L>(query, E::load::<L>(rows[row].add(at)), even[row]);
        }
        at += L::WIDTH;
    }
    if at < dim {
        let query = L::load_partial(query.add(at), dim - at);
        for row in 0..4 {
            odd[row] = T::accumulate::<L>(query, L::load_partial(rows[row].add(at), dim - at), odd[row]);
        }
    }
    let mut sums = [0.0; 4];
    for row in 0..4 {
        sums[row] = L::sum(L::add(even[row], odd[row]));
    }
    sums
}

/// Rows that are fetched from memory while one group of four is being computed.
const ROWS_AHEAD: usize = 4;

/// Scores of `out.len()` rows, the n-th of which is row `row_of(n)` of `rows`.
///
/// # Safety
/// As [`Lanes`].
///
/// # Panics
/// If a row lies outside `rows`.
#[inline(always)]
pub(super) unsafe fn many<L: Lanes, E: Element, T: Term>(
    query: &[f32],
    rows: &[E],
    row_of: impl Fn(usize) -> usize,
    ahead: bool,
    out: &mut [f32],
) {
    let dim = query.len();
    let count = rows.len().checked_div(dim).unwrap_or(0);
    let start_of = |number: usize| {
        let row = row_of(number);
        assert!(row < count, "row {row} of {count}");
        row * dim
    };
    let total = out.len();
    let mut at = 0;
    while at + 4 <= total {
        let pointers = std::array::from_fn(|part| rows.as_ptr().add(start_of(at + part)));
        if ahead {
            for number in at + ROWS_AHEAD..(at + ROWS_AHEAD + 4).min(total) {
                super::prefetch(rows, row_of(number).wrapping_mul(dim), dim);
            }
        }
        out[at..at + 4].copy_from_slice(&four::<L, E, T>(query.as_ptr(), pointers, dim));
        at += 4;
    }
    for (number, score) in out.iter_mut().enumerate().skip(at) {
        *score = pair::<L, f32, E, T>(query.as_ptr(), rows.as_ptr().add(start_of(number)), dim);
    }
}

/// Makes a table of kernels for an implementation of [`Lanes`] and [`super::codes::CodeLanes`].
///
/// The `#[target_feature]` functions are unsafe to call on a processor without the features; the safe
/// wrappers around them escape only through the table, which `Kernels::available` hands out after detection.
macro_rules! kernels {
    ($isa:expr, $lanes:ty $(, $features:literal)?) => {
        use $crate::kernel::lanes::{Element, Product, SquaredDifference, Term, many, pair};
        use $crate::kernel::codes::{Bytes, Nibbles, Width, many_codes};
        use $crate::kernel::{CodeKernels, Kernels, RowKernels};

        $(#[target_feature(enable = $features)])?
        unsafe fn pair_inner<Q: Element, E: Element, T: Term>(query: &[Q], row: &[E]) -> f32 {
            pair::<$lanes, Q, E, T>(query.as_ptr(), row.as_ptr(), query.len())
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn block_inner<E: Element, T: Term>(query: &[f32], rows: &[E], out: &mut [f32]) {
            many::<$lanes, E, T>(query, rows, |number| number, false, out);
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn gather_inner<E: Element, T: Term>(query: &[f32], rows: &[E], ids: &[u32], out: &mut [f32]) {
            many::<$lanes, E, T>(query, rows, |number| ids[number] as usize, true, out);
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn code_block_inner<W: Width>(query: &[i8], rows: &[u8], out: &mut [i32]) {
            many_codes::<$lanes, W>(query, rows, |number| number, out);
        }

        $(#[target_feature(enable = $features)])?
        unsafe fn code_gather_inner<W: Width>(query: &[i8], rows: &[u8], ids: &[u32], out: &mut [i32]) {
            many_codes::<$lanes, W>(query, rows, |number| ids[number] as usize, out);
        }

        fn score<E: Element, T: Term>(query: &[f32], row: &[E]) -> f32 {
            assert_eq!(query.len(), row.len(), "vectors of different length");
            // SAFETY: the table is handed out on processors with the features only; lengths are equal.
            unsafe { pair_inner::<f32, E, T>(query, row) }
        }

        fn squared_norm<E: Element>(row: &[E]) -> f32 {
            // SAFETY: the table is handed out on processors with the features only; one slice, one length.
            unsafe { pair_inner::<E, E, Product>(row, row) }
        }

        fn block<E: Element, T: Term>(query: &[f32], rows: &[E], out: &mut [f32]) {
            // SAFETY: the table is handed out on processors with the features only; `many` checks lengths.
            unsafe { block_inner::<E, T>(query, rows, out) }
        }

        fn gather<E: Element, T: Term>(query: &[f32], rows: &[E], ids: &[u32], out: &mut [f32]) {
            // SAFETY: the table is handed out on processors with the features only; `many` checks lengths.
            unsafe { gather_inner::<E, T>(query, rows, ids, out) }
        }

        fn code_block<W: Width>(query: &[i8], rows: &[u8], out: &mut [i32]) {
            // SAFETY: the table is handed out on processors with the features only; lengths are checked.
            unsafe { code_block_inner::<W>(query, rows, out) }
        }

        fn code_gather<W: Width>(query: &[i8], rows: &[u8], ids: &[u32], out: &mut [i32]) {
            // SAFETY: the table is handed out on processors with the features only; lengths are checked.
            unsafe { code_gather_inner::<W>(query, rows, ids, out) }
        }

        const fn row_kernels<E: Element>() -> RowKernels<E> {
            RowKernels {
                dot: score::<E, Product>,
                squared_l2: score::<E, SquaredDifference>,
                squared_norm: squared_norm::<E>,
                dot_block: block::<E, Product>,
                squared_l2_block: block::<E, SquaredDifference>,
                dot_gather: gather::<E, Product>,
                squared_l2_gather: gather::<E, SquaredDifference>,
            }
        }

        pub(super) static KERNELS: Kernels = Kernels {
            isa: $isa,
            f32: row_kernels(),
            f16: row_kernels(),
            bf16: row_kernels(),
            codes: CodeKernels { dot_block: code_block::<Bytes>, dot_gather: code_gather::<Bytes> },
            nibbles: CodeKernels { dot_block: code_block::<Nibbles>, dot_gather: code_gather::<Nibbles> },
        };
    };
}
pub(super) use kernels;
