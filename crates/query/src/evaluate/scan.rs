//! Loops over rows that make bitmaps.

use redkite_types::Bitmap;

/// Which rows of a segment a test is asked for.
#[derive(Clone, Copy)]
pub(super) struct Scan<'a> {
    rows: usize,
    candidates: Option<&'a Bitmap>,
    /// So few candidates that visiting each costs less than a loop over all rows.
    sparse: bool,
}

impl<'a> Scan<'a> {
    pub(super) fn new(rows: usize, candidates: Option<&'a Bitmap>) -> Self {
        let sparse = candidates.is_some_and(|candidates| candidates.count_ones() < rows / 32);
        Self { rows, candidates, sparse }
    }

    pub(super) fn is_sparse(&self) -> bool {
        self.sparse
    }

    /// How many rows a test will be asked for.
    pub(super) fn asked(&self) -> usize {
        self.candidates.map_or(self.rows, Bitmap::count_ones)
    }

    /// A test of plain values, cheap enough to ask for rows that do not matter.
    pub(super) fn values<T: Copy>(&self, values: &[T], test: impl Fn(T) -> bool) -> Bitmap {
        if self.sparse { self.rows(|row| test(values[row])) } else { pack(values, test) }
    }

    /// A test of rows, asked for candidates only.
    pub(super) fn rows(&self, mut test: impl FnMut(usize) -> bool) -> Bitmap {
        let Some(candidates) = self.candidates else { return Bitmap::from_fn(self.rows, test) };
        let mut yes = Bitmap::filled(self.rows, false);
        candidates.ones().filter(|row| test(*row)).for_each(|row| yes.set(row));
        yes
    }

    /// Calls for each candidate row, ascending.
    pub(super) fn each(&self, visit: impl FnMut(usize)) {
        match self.candidates {
            Some(candidates) => candidates.ones().for_each(visit),
            None => (0..self.rows).for_each(visit),
        }
    }

    /// The same answer for every row.
    pub(super) fn same(&self, answer: bool) -> Bitmap {
        Bitmap::filled(self.rows, answer)
    }
}

/// One bit per value. The compiler turns the inner loop into vector code; gathering eight 0/1 bytes
/// into eight bits is one multiplication.
fn pack<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> Bitmap {
    const GATHER: u64 = 0x0102_0408_1020_4080;
    let mut words = Vec::with_capacity(values.len().div_ceil(64));
    let mut chunks = values.chunks_exact(64);
    for chunk in &mut chunks {
        let mut flags = [0_u8; 64];
        for (flag, value) in flags.iter_mut().zip(chunk) {
            *flag = u8::from(test(*value));
        }
        let mut word = 0;
        for (index, eight) in flags.chunks_exact(8).enumerate() {
            let eight = u64::from_le_bytes(eight.try_into().expect("chunks of eight"));
            word |= (eight.wrapping_mul(GATHER) >> 56) << (index * 8);
        }
        words.push(word);
    }
    let tail = chunks.remainder();
    if !tail.is_empty() {
        words.push(
            tail.iter().enumerate().fold(0, |word, (bit, value)| word | u64::from(test(*value)) << bit),
        );
    }
    Bitmap::from_words(words, values.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_every_bit_in_its_place() {
        let values: Vec<u32> = (0..1000).map(|value: u32| value.wrapping_mul(2_654_435_761) >> 7).collect();
        let odd = |value: u32| value % 2 == 1;
        for len in [0, 1, 63, 64, 65, 128, 1000] {
            assert_eq!(pack(&values[..len], odd), Bitmap::from_bools(values[..len].iter().map(|v| odd(*v))));
        }
    }
}
