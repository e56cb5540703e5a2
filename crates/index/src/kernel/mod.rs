//! How far apart are two vectors, as fast as this processor can tell?
//!
//! [`Kernels::get`] picks one table of function pointers for the processor at first use; callers keep the
//! table (or a pointer out of it) and pay one indirect call per *batch* of rows, never a feature test per
//! distance. Every instruction set implements [`lanes::Lanes`] (a dozen primitive operations) and the loops
//! are written once, in `lanes` and `codes`. This is the only module of the crate with `unsafe` in it:
//! the safe functions in the tables check all lengths before a raw pointer is made.

#![allow(unsafe_code, reason = "SIMD intrinsics and raw loads; lengths are checked at the safe edge")]
#![allow(
    unsafe_op_in_unsafe_fn,
    reason = "each unsafe fn here is one contract, stated on its trait or on itself"
)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod codes;
mod lanes;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(test)]
mod tests;

use std::sync::OnceLock;

use half::{bf16, f16};

pub use codes::{CODE_ALIGN, NIBBLE_BLOCK};

/// An instruction set the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 F, BW, VL and VNNI (Cascade Lake, Zen 4 and later).
    Avx512,
    /// AVX2, FMA and F16C (Haswell, Zen and later).
    Avx2,
    /// Advanced SIMD of every 64-bit Arm.
    Neon,
    /// Plain Rust.
    Portable,
}

/// Scores of consecutive rows: query, rows, one result per row.
pub type Block<Q, E, S> = fn(&[Q], &[E], &mut [S]);

/// Scores of chosen rows: query, row-major matrix, row numbers, one result per number.
pub type Gather<Q, E, S> = fn(&[Q], &[E], &[u32], &mut [S]);

/// Distances between an f32 query and rows of `E`; every row has the length of the query.
///
/// All functions panic if a slice is too short for what is asked: lengths are the caller's proof.
#[derive(Clone, Copy, Debug)]
pub struct RowKernels<E> {
    /// Inner product of query and row.
    pub dot: fn(&[f32], &[E]) -> f32,
    /// Squared Euclidean distance of query and row.
    pub squared_l2: fn(&[f32], &[E]) -> f32,
    /// Squared Euclidean norm of a row.
    pub squared_norm: fn(&[E]) -> f32,
    /// `dot` for each of `out.len()` rows that lie back to back.
    pub dot_block: Block<f32, E, f32>,
    /// `squared_l2` for each of `out.len()` rows that lie back to back.
    pub squared_l2_block: Block<f32, E, f32>,
    /// `dot` for the rows named by number in a row-major matrix.
    pub dot_gather: Gather<f32, E, f32>,
    /// `squared_l2` for the rows named by number in a row-major matrix.
    pub squared_l2_gather: Gather<f32, E, f32>,
}

/// Inner products of a signed 8-bit query with rows of unsigned codes, exact in 32 bits for up to 65,000
/// dimensions. Rows have the dimensions of the query.
#[derive(Clone, Copy, Debug)]
pub struct CodeKernels {
    /// The products with `out.len()` rows that lie back to back.
    pub dot_block: Block<i8, u8, i32>,
    /// The products with the rows named by number in a row-major matrix.
    pub dot_gather: Gather<i8, u8, i32>,
}

/// The kernels of one instruction set.
#[derive(Debug)]
pub struct Kernels {
    /// The instruction set.
    pub isa: Isa,
    /// Rows of 32-bit floats.
    pub f32: RowKernels<f32>,
    /// Rows of IEEE half floats.
    pub f16: RowKernels<f16>,
    /// Rows of bfloat16.
    pub bf16: RowKernels<bf16>,
    /// Rows of 8-bit codes.
    pub codes: CodeKernels,
    /// Rows of 4-bit codes, two to a byte in blocks of [`NIBBLE_BLOCK`] dimensions: byte `i` of a block holds
    /// dimensions `i` (low half) and `i + 64`. Queries are whole blocks.
    pub nibbles: CodeKernels,
}

impl Kernels {
    /// The fastest kernels this processor runs.
    #[must_use]
    pub fn get() -> &'static Self {
        static BEST: OnceLock<&'static Kernels> = OnceLock::new();
        BEST.get_or_init(|| Self::available()[0])
    }

    /// All kernels this processor runs, fastest first; the last is the portable one.
    #[must_use]
    pub fn available() -> Vec<&'static Self> {
        let mut tables = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            if avx512::detected() {
                tables.push(&avx512::KERNELS);
            }
            if avx2::detected() {
                tables.push(&avx2::KERNELS);
            }
        }
        #[cfg(target_arch = "aarch64")]
        tables.push(&neon::KERNELS);
        tables.push(&portable::KERNELS);
        tables
    }
}

/// Asks the processor to bring `count` elements from `start` into its caches. Out-of-range parts are
/// ignored: a prefetch is a hint.
#[inline(always)]
pub fn prefetch<T>(slice: &[T], start: usize, count: usize) {
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    {
        const LINE: usize = 64;
        let first = slice.as_ptr().wrapping_add(start).cast::<u8>();
        let bytes = count * size_of::<T>();
        let mut at = 0;
        while at < bytes {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: PREFETCHT0 never faults, whatever the address, and SSE is part of x86-64.
            unsafe {
                std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(
                    first.wrapping_add(at).cast::<i8>(),
                );
            }
            #[cfg(target_arch = "aarch64")]
            // SAFETY: PRFM never faults and touches no register.
            unsafe {
                std::arch::asm!(
                    "prfm pldl1keep, [{at}]",
                    at = in(reg) first.wrapping_add(at),
                    options(nostack, readonly, preserves_flags)
                );
            }
            at += LINE;
        }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = (slice, start, count);
}
