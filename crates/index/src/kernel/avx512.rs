//! Kernels for AVX-512 F, BW, VL and VNNI.

use std::arch::x86_64::*;

use half::{bf16, f16};

use super::Isa;
use super::codes::{CodeLanes, add_tail};
use super::lanes::Lanes;

#[derive(Clone, Copy)]
pub(super) struct Avx512;

/// Whether this processor has the instruction set.
pub(super) fn detected() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni")
        && is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
}

#[inline(always)]
unsafe fn widen_bf16(bits: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}

impl Lanes for Avx512 {
    type Vector = __m512;
    const WIDTH: usize = 16;

    #[inline(always)]
    unsafe fn zero() -> __m512 {
        _mm512_setzero_ps()
    }

    #[inline(always)]
    unsafe fn load_f32(at: *const f32) -> __m512 {
        _mm512_loadu_ps(at)
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> __m512 {
        _mm512_cvtph_ps(_mm256_loadu_si256(at.cast()))
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> __m512 {
        widen_bf16(_mm256_loadu_si256(at.cast()))
    }

    #[inline(always)]
    unsafe fn multiply_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn add(a: __m512, b: __m512) -> __m512 {
        _mm512_add_ps(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn sum(a: __m512) -> f32 {
        _mm512_reduce_add_ps(a)
    }
}

impl CodeLanes for Avx512 {
    #[inline(always)]
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS] {
        let mut sums = [_mm512_setzero_si512(); ROWS];
        let mut at = 0;
        while at + 64 <= len {
            let query = _mm512_loadu_si512(query.add(at).cast());
            for (sum, row) in sums.iter_mut().zip(rows) {
                *sum = _mm512_dpbusd_epi32(*sum, _mm512_loadu_si512(row.add(at).cast()), query);
            }
            at += 64;
        }
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = _mm512_reduce_add_epi32(sum);
        }
        add_tail(query, rows, at, len, &mut totals);
        totals
    }

    #[inline(always)]
    unsafe fn dot_nibbles<const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS] {
        let half = _mm512_set1_epi8(0x0f);
        let mut sums = [_mm512_setzero_si512(); ROWS];
        let mut at = 0;
        while at < len {
            let low_query = _mm512_loadu_si512(query.add(2 * at).cast());
            let high_query = _mm512_loadu_si512(query.add(2 * at + 64).cast());
            for (sum, row) in sums.iter_mut().zip(rows) {
                let codes = _mm512_loadu_si512(row.add(at).cast());
                let low = _mm512_and_si512(codes, half);
                let high = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), half);
                *sum = _mm512_dpbusd_epi32(*sum, low, low_query);
                *sum = _mm512_dpbusd_epi32(*sum, high, high_query);
            }
            at += 64;
        }
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = _mm512_reduce_add_epi32(sum);
        }
        totals
    }
}

super::lanes::kernels!(Isa::Avx512, Avx512, "avx512f,avx512bw,avx512vl,avx512vnni,avx2,fma");
