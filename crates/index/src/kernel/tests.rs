//! Every instruction set agrees with the portable kernels and reads nothing past its slices.

use half::{bf16, f16};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Slices whose last element is the last of a page that is followed by an unmapped one, so that a read past
/// the end faults. Falls back to exactly sized vectors where memory cannot be mapped like that.
mod guarded {
    use std::marker::PhantomData;

    pub(super) struct Guarded<T> {
        map: memmap2::MmapMut,
        offset: usize,
        len: usize,
        elements: PhantomData<T>,
    }

    impl<T: bytemuck::Pod> Guarded<T> {
        /// A copy of `values` that ends where an inaccessible page begins.
        pub(super) fn new(values: &[T]) -> Self {
            let page = 4096;
            let bytes = size_of_val(values);
            let body = bytes.div_ceil(page).max(1) * page;
            let mut map = memmap2::MmapMut::map_anon(body + page).unwrap();
            let offset = body - bytes;
            map[offset..body].copy_from_slice(bytemuck::cast_slice(values));
            // SAFETY: takes every right from the last page of our own private mapping, which nothing reads.
            let status = unsafe { mprotect(map.as_mut_ptr().add(body).cast(), page, 0) };
            assert_eq!(status, 0, "mprotect");
            Self { map, offset, len: values.len(), elements: PhantomData }
        }

        pub(super) fn slice(&self) -> &[T] {
            bytemuck::cast_slice(&self.map[self.offset..self.offset + self.len * size_of::<T>()])
        }
    }

    unsafe extern "C" {
        fn mprotect(at: *mut std::ffi::c_void, len: usize, rights: i32) -> i32;
    }
}
use guarded::Guarded;

fn random(rng: &mut StdRng, len: usize) -> Vec<f32> {
    (0..len).map(|_| rng.random_range(-2.0_f32..2.0)).collect()
}

fn close(got: f32, expected: f32, len: usize) -> bool {
    (got - expected).abs() <= 1e-5 * len as f32 + 1e-5 * expected.abs()
}

fn check<E: bytemuck::Pod + std::fmt::Debug>(
    pick: impl Fn(&Kernels) -> RowKernels<E>,
    make: impl Fn(f32) -> E,
    widen: impl Fn(E) -> f32,
) {
    let mut rng = StdRng::seed_from_u64(7);
    for len in (1..=200).chain([255, 256, 257, 383, 384, 1000, 1536]) {
        let query = Guarded::new(&random(&mut rng, len));
        let count = 7;
        let rows = Guarded::new(&random(&mut rng, len * count).into_iter().map(&make).collect::<Vec<E>>());
        let (query, rows) = (query.slice(), rows.slice());
        let ids = [6_u32, 0, 3, 3, 5];
        for kernels in Kernels::available() {
            let table = pick(kernels);
            let row = |number: usize| &rows[number * len..(number + 1) * len];
            let dot =
                |number: usize| -> f32 { query.iter().zip(row(number)).map(|(q, r)| q * widen(*r)).sum() };
            let l2 = |number: usize| -> f32 {
                query.iter().zip(row(number)).map(|(q, r)| (q - widen(*r)).powi(2)).sum()
            };
            let (mut dots, mut l2s) = (vec![0.0; count], vec![0.0; count]);
            (table.dot_block)(query, rows, &mut dots);
            (table.squared_l2_block)(query, rows, &mut l2s);
            for number in 0..count {
                let isa = kernels.isa;
                assert!(close((table.dot)(query, row(number)), dot(number), len), "{isa:?} dot {len}");
                assert!(close((table.squared_l2)(query, row(number)), l2(number), len), "{isa:?} l2 {len}");
                assert!(close(dots[number], dot(number), len), "{isa:?} dot block {len}");
                assert!(close(l2s[number], l2(number), len), "{isa:?} l2 block {len}");
                let norm: f32 = row(number).iter().map(|r| widen(*r).powi(2)).sum();
                assert!(close((table.squared_norm)(row(number)), norm, len), "{isa:?} norm {len}");
            }
            let mut gathered = [0.0; 5];
            (table.dot_gather)(query, rows, &ids, &mut gathered);
            assert!(gathered.iter().zip(ids).all(|(got, id)| close(*got, dot(id as usize), len)));
            (table.squared_l2_gather)(query, rows, &ids, &mut gathered);
            assert!(gathered.iter().zip(ids).all(|(got, id)| close(*got, l2(id as usize), len)));
        }
    }
}

#[test]
fn f32_rows_agree() {
    check(|kernels| kernels.f32, |value| value, |value| value);
}

#[test]
fn f16_rows_agree() {
    check(|kernels| kernels.f16, f16::from_f32, f16::to_f32);
}

#[test]
fn bf16_rows_agree() {
    check(|kernels| kernels.bf16, bf16::from_f32, bf16::to_f32);
}

#[test]
fn every_half_float_widens_exactly() {
    for kernels in Kernels::available() {
        for bits in 0..=u16::MAX {
            let value = f16::from_bits(bits);
            let got = (kernels.f16.dot)(&[1.0; 16], &[value; 16]) / 16.0;
            let same = got == value.to_f32() || (got.is_nan() && value.is_nan());
            assert!(same, "{:?}: {bits:#06x} became {got}", kernels.isa);
        }
    }
}

#[test]
fn codes_are_exact() {
    let mut rng = StdRng::seed_from_u64(8);
    for len in (1..=200).chain([256, 384, 1024, 32_768]) {
        let query = Guarded::new(&(0..len).map(|_| rng.random_range(-128..=127)).collect::<Vec<i8>>());
        let rows = Guarded::new(&(0..len * 7).map(|_| rng.random()).collect::<Vec<u8>>());
        let (query, rows) = (query.slice(), rows.slice());
        let expected: Vec<i32> = (0..7)
            .map(|row| {
                let row = &rows[row * len..(row + 1) * len];
                query.iter().zip(row).map(|(q, r)| i32::from(*q) * i32::from(*r)).sum()
            })
            .collect();
        for kernels in Kernels::available() {
            let mut block = [0; 7];
            (kernels.codes.dot_block)(query, rows, &mut block);
            assert_eq!(block[..], expected[..], "{:?} {len}", kernels.isa);
            let mut gathered = [0; 5];
            (kernels.codes.dot_gather)(query, rows, &[6, 1, 1, 0, 5], &mut gathered);
            assert_eq!(gathered, [6, 1, 1, 0, 5].map(|row: usize| expected[row]), "{:?} {len}", kernels.isa);
        }
    }
}

#[test]
fn nibbles_are_exact() {
    let mut rng = StdRng::seed_from_u64(9);
    for dims in [128, 256, 384, 1024, 32_768] {
        let query = Guarded::new(&(0..dims).map(|_| rng.random_range(-128..=127)).collect::<Vec<i8>>());
        let rows = Guarded::new(&(0..dims / 2 * 7).map(|_| rng.random()).collect::<Vec<u8>>());
        let (query, rows) = (query.slice(), rows.slice());
        let code = |row: usize, dim: usize| {
            let byte = rows[row * dims / 2 + dim / 128 * 64 + dim % 64];
            i32::from(if dim % 128 < 64 { byte & 15 } else { byte >> 4 })
        };
        let expected: Vec<i32> =
            (0..7).map(|row| (0..dims).map(|dim| i32::from(query[dim]) * code(row, dim)).sum()).collect();
        for kernels in Kernels::available() {
            let mut block = [0; 7];
            (kernels.nibbles.dot_block)(query, rows, &mut block);
            assert_eq!(block[..], expected[..], "{:?} {dims}", kernels.isa);
            let mut gathered = [0; 5];
            (kernels.nibbles.dot_gather)(query, rows, &[6, 1, 1, 0, 5], &mut gathered);
            assert_eq!(gathered, [6, 1, 1, 0, 5].map(|row: usize| expected[row]), "{:?} {dims}", kernels.isa);
        }
    }
}

#[test]
fn extreme_codes_do_not_saturate() {
    for kernels in Kernels::available() {
        let mut sums = [0; 2];
        (kernels.codes.dot_block)(&[-128; 64], &[255; 128], &mut sums);
        assert_eq!(sums, [-128 * 255 * 64; 2]);
        (kernels.nibbles.dot_block)(&[-128; 128], &[255; 128], &mut sums);
        assert_eq!(sums, [-128 * 15 * 128; 2]);
    }
}

#[test]
#[should_panic(expected = "row 2 of 2")]
fn rows_outside_are_refused() {
    (Kernels::get().f32.dot_gather)(&[1.0; 3], &[1.0; 6], &[0, 2], &mut [0.0; 2]);
}
