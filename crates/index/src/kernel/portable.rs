//! Kernels in plain Rust, for processors without one of the others and as the reference in tests.

use half::{bf16, f16};

use super::Isa;
use super::codes::{CodeLanes, add_tail};
use super::lanes::Lanes;

const WIDTH: usize = 8;

#[derive(Clone, Copy)]
pub(super) struct Portable;

#[inline(always)]
fn zip(a: [f32; WIDTH], b: [f32; WIDTH], op: impl Fn(f32, f32) -> f32) -> [f32; WIDTH] {
    std::array::from_fn(|lane| op(a[lane], b[lane]))
}

impl Lanes for Portable {
    type Vector = [f32; WIDTH];
    const WIDTH: usize = WIDTH;

    #[inline(always)]
    unsafe fn zero() -> Self::Vector {
        [0.0; WIDTH]
    }

    #[inline(always)]
    unsafe fn load_f32(at: *const f32) -> Self::Vector {
        at.cast::<Self::Vector>().read_unaligned()
    }

    #[inline(always)]
    unsafe fn load_f16(at: *const f16) -> Self::Vector {
        at.cast::<[f16; WIDTH]>().read_unaligned().map(f16::to_f32)
    }

    #[inline(always)]
    unsafe fn load_bf16(at: *const bf16) -> Self::Vector {
        at.cast::<[bf16; WIDTH]>().read_unaligned().map(bf16::to_f32)
    }

    #[inline(always)]
    unsafe fn multiply_add(a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector {
        zip(zip(a, b, |a, b| a * b), c, |product, c| product + c)
    }

    #[inline(always)]
    unsafe fn add(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a + b)
    }

    #[inline(always)]
    unsafe fn subtract(a: Self::Vector, b: Self::Vector) -> Self::Vector {
        zip(a, b, |a, b| a - b)
    }

    #[inline(always)]
    unsafe fn sum(a: Self::Vector) -> f32 {
        a.iter().sum()
    }
}

impl CodeLanes for Portable {
    #[inline(always)]
    unsafe fn dot<const ROWS: usize>(query: *const i8, rows: [*const u8; ROWS], len: usize) -> [i32; ROWS] {
        let mut totals = [0; ROWS];
        add_tail(query, rows, 0, len, &mut totals);
        totals
    }

    #[inline(always)]
    unsafe fn dot_nibbles<const ROWS: usize>(
        query: *const i8,
        rows: [*const u8; ROWS],
        len: usize,
    ) -> [i32; ROWS] {
        let mut totals = [0; ROWS];
        for at in 0..len {
            let low_at = at / 64 * 128 + at % 64;
            let (low_query, high_query) = (i32::from(*query.add(low_at)), i32::from(*query.add(low_at + 64)));
            for (total, row) in totals.iter_mut().zip(rows) {
                let codes = *row.add(at);
                *total += low_query * i32::from(codes & 0x0f) + high_query * i32::from(codes >> 4);
            }
        }
        totals
    }
}

super::lanes::kernels!(Isa::Portable, Portable);
