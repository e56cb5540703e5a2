//! Kernels for the Advanced SIMD of 64-bit Arm, which every such processor has.

use std::arch::aarch64::*;

use half::{bf16, f16};

use super::Isa;
use super::codes::{CodeLanes, add_tail};
use super::lanes::Lanes;

#[derive(Clone, Copy)]
pub(super) struct Neon;

/// Half floats as f32 by integer shifts, since half-precision intrinsics are not stable: exponent and
/// mantissa move into place, a multiplication by 2¹¹² mends the exponent bias (and normalises subnormals),
/// and the all-ones exponent of infinities and NaNs is put back.
#[inline(always)]
unsafe fn widen_f16(bits: uint16x4_t) -> float32x4_t {
    let wide = vmovl_u16(bits);
    let sign = vshlq_n_u32::<16>(vandq_u32(wide, vdupq_n_u32(0x8000)));
    let magnitude = vandq_u32(wide, vdupq_n_u32(0x7fff));
    let shifted = vreinterpretq_f32_u32(vshlq_n_u32::<13>(magnitude));
    let scaled = vmulq_f32(shifted, vdupq_n_f32(f32::from_bits((127 + 112) << 23)));
    let special = vandq_u32(vcgeq_u32(magnitude, vdupq_n_u32(0x7c00)), vdupq_n_u32(0x7f80_0000));
    vreinterpretq_f32_u32(vorrq_u32(vorrq_u32(vreinterpretq_u32_f32(scaled), special), sign))
}

impl Lanes for Neon {
    type Vector = float32x4_t;
    const WIDTH: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> float32x4_t {
        vdupq_n_f32(0.0)
    }

    #[inline(always)]
    unsafe fn load_f32(at: *const f32) -> float32x4_t {
        vld1q_f32(at)
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> float32x4_t {
        widen_f16(vld1_u16(at.cast()))
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> float32x4_t {
        vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(at.cast())))
    }

    #[inline(always)]
    unsafe fn multiply_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vaddq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn subtract(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn sum(a: float32x4_t) -> f32 {
        vaddvq_f32(a)
    }
}

impl CodeLanes for Neon {
    /// Makes the codes signed (minus 128), multiplies 8×8 → 16 bits, and puts 128·Σq back at the end.
    #[inline(always)]
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS] {
        let mut sums = [vdupq_n_s32(0); ROWS];
        let mut query_sum = vdupq_n_s32(0);
        let mut at = 0;
        while at + 16 <= len {
            let query = vld1q_s8(query.add(at));
            query_sum = vpadalq_s16(query_sum, vpaddlq_s8(query));
            for (sum, row) in sums.iter_mut().zip(rows) {
                let row = vreinterpretq_s8_u8(veorq_u8(vld1q_u8(row.add(at)), vdupq_n_u8(0x80)));
                *sum = vpadalq_s16(*sum, vmull_s8(vget_low_s8(query), vget_low_s8(row)));
                *sum = vpadalq_s16(*sum, vmull_high_s8(query, row));
            }
            at += 16;
        }
        let offset = 128 * vaddvq_s32(query_sum);
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = vaddvq_s32(sum) + offset;
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
        let mut sums = [vdupq_n_s32(0); ROWS];
        let mut at = 0;
        while at < len {
            let low_at = at / 64 * 128 + at % 64;
            let (low_query, high_query) = (vld1q_s8(query.add(low_at)), vld1q_s8(query.add(low_at + 64)));
            for (sum, row) in sums.iter_mut().zip(rows) {
                let codes = vld1q_u8(row.add(at));
                let low = vreinterpretq_s8_u8(vandq_u8(codes, vdupq_n_u8(0x0f)));
                let high = vreinterpretq_s8_u8(vshrq_n_u8::<4>(codes));
                // At most 4 · 15 · 128 in 16 bits.
                let products = vmlal_s8(
                    vmull_s8(vget_low_s8(low_query), vget_low_s8(low)),
                    vget_low_s8(high_query),
                    vget_low_s8(high),
                );
                *sum = vpadalq_s16(*sum, products);
                let products = vmlal_high_s8(vmull_high_s8(low_query, low), high_query, high);
                *sum = vpadalq_s16(*sum, products);
            }
            at += 16;
        }
        let mut totals = [0; ROWS];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = vaddvq_s32(sum);
        }
        totals
    }
}

super::lanes::kernels!(Isa::Neon, Neon, "neon");
