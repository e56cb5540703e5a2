//! Kernels for AVX2, FMA and F16C.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::Isa;
use super::codes::{CodeLanes, add_tail};
use super::lanes::Lanes;

#[derive(Clone, Copy)]
pub(super) struct Avx2;

/// Whether this processor has the instruction set.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
}

#[inline(always)]
unsafe fn sum_i32(sum: __m256i) -> i32 {
    let half = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let quarter = _mm_add_epi32(half, _mm_shuffle_epi32::<0b0100_1110>(half));
    _mm_cvtsi128_si32(_mm_add_epi32(quarter, _mm_shuffle_epi32::<0b1011_0001>(quarter)))
}

impl Lanes for Avx2 {
    type Vector = __m256;
    const WIDTH: usize = 8;

    #[inline(always)]
    unsafe fn zero() -> __m256 {
        _mm256_setzero_ps()
    }

    #[inline(always)]
    unsafe fn load_f32(at: *const f32) -> __m256 {
        _mm256_loadu_ps(at)
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> __m256 {
        _mm256_cvtph_ps(_mm_loadu_si128(at.cast()))
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> __m256 {
        let bits = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn add(a: __m256, b: __m256) -> __m256 {
        _mm256_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sum(a: __m256) -> f32 {
        let half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let quarter = _mm_add_ps(half, _mm_movehl_ps(half, half));
        _mm_cvtss_f32(_mm_add_ss(quarter, _mm_shuffle_ps::<1>(quarter, quarter)))
    }
}

impl CodeLanes for Avx2 {
    /// Widens to 16 bits before multiplying: `maddubs` would saturate.
    #[inline(always)]
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS] {
        let mut sums = [_mm256_setzero_si256(); ROWS];
        let mut at = 0;
        while at + 16 <= len {
            let query = _mm256_cvtepi8_epi16(_mm_loadu_si128(query.add(at).cast()));
            for (sum, row) in sums.iter_mut().zip(rows) {
                let row = _mm256_cvtepu8_epi16(_mm_loadu_si128(row.add(at).cast()));
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(query, row));
            }
            at += 16;
        }
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = sum_i32(sum);
        }
        add_tail(query, rows, at, len, &mut totals);
        totals
    }

    /// Products of 4-bit with 8-bit numbers are small enough for `maddubs`.
    #[inline(always)]
    unsafe fn dot_nibbles<const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS] {
        let (half, ones) = (_mm256_set1_epi8(0x0f), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); ROWS];
        let mut at = 0;
        while at < len {
            // The second half of a block of 64 bytes belongs to queries 32 further on.
            let low_at = at / 64 * 128 + at % 64;
            let low_query = _mm256_loadu_si256(query.add(low_at).cast());
            let high_query = _mm256_loadu_si256(query.add(low_at + 64).cast());
            for (sum, row) in sums.iter_mut().zip(rows) {
                let codes = _mm256_loadu_si256(row.add(at).cast());
                let low = _mm256_and_si256(codes, half);
                let high = _mm256_and_si256(_mm256_srli_epi16::<4>(codes), half);
                let products = _mm256_add_epi16(
                    _mm256_maddubs_epi16(low, low_query),
                    _mm256_maddubs_epi16(high, high_query),
                );
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(products, ones));
            }
            at += 32;
        }
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = sum_i32(sum);
        }
        totals
    }
}

super::lanes::kernels!(Isa::Avx2, Avx2, "avx2,fma,f16c");
