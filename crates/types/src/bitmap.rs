//! Fixed-length sets of row offsets.

use serde::{Deserialize, Serialize};

use crate::bulk;

/// One bit per row. Bits past `len` are always zero.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Words")]
pub struct Bitmap {
    #[serde(with = "bulk")]
    words: Vec<u64>,
    len: usize,
}

/// A [`Bitmap`] as it was received.
#[derive(Deserialize)]
struct Words {
    #[serde(with = "bulk")]
    words: Vec<u64>,
    len: usize,
}

impl TryFrom<Words> for Bitmap {
    type Error = &'static str;

    fn try_from(Words { words, len }: Words) -> Result<Self, Self::Error> {
        let fits = words.len() == len.div_ceil(64);
        if fits { Ok(Self::from_words(words, len)) } else { Err("bitmap of another length") }
    }
}

impl Bitmap {
    /// `len` bits, all equal to `bit`.
    #[must_use]
    pub fn filled(len: usize, bit: bool) -> Self {
        let mut bitmap = Self { words: vec![if bit { u64::MAX } else { 0 }; len.div_ceil(64)], len };
        bitmap.clear_tail();
        bitmap
    }

    /// One bit per item.
    #[must_use]
    pub fn from_bools(bits: impl IntoIterator<Item = bool>) -> Self {
        let mut bitmap = Self::default();
        bits.into_iter().for_each(|bit| bitmap.push(bit));
        bitmap
    }

    /// Bits from words, lowest bit first; words past `len` bits are dropped, missing ones are zero.
    #[must_use]
    pub fn from_words(mut words: Vec<u64>, len: usize) -> Self {
        words.resize(len.div_ceil(64), 0);
        let mut bitmap = Self { words, len };
        bitmap.clear_tail();
        bitmap
    }

    /// `len` bits, set where `bit(row)` holds; the fast way to make one from a scan.
    #[must_use]
    pub fn from_fn(len: usize, mut bit: impl FnMut(usize) -> bool) -> Self {
        let mut words = Vec::with_capacity(len.div_ceil(64));
        let mut row = 0;
        while row < len {
            let end = (row + 64).min(len);
            let mut word = 0_u64;
            for (shift, row) in (row..end).enumerate() {
                word |= u64::from(bit(row)) << shift;
            }
            words.push(word);
            row = end;
        }
        Self { words, len }
    }

    /// Number of bits.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no bits at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bits, 64 to a word, lowest first.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// Whether a bit is set.
    #[must_use]
    #[inline]
    pub fn get(&self, row: usize) -> bool {
        debug_assert!(row < self.len);
        (self.words[row / 64] >> (row % 64)) & 1 == 1
    }

    /// Sets a bit.
    #[inline]
    pub fn set(&mut self, row: usize) {
        debug_assert!(row < self.len);
        self.words[row / 64] |= 1 << (row % 64);
    }

    /// Clears a bit.
    #[inline]
    pub fn clear(&mut self, row: usize) {
        debug_assert!(row < self.len);
        self.words[row / 64] &= !(1 << (row % 64));
    }

    /// Sets every bit of a range of rows.
    pub fn set_range(&mut self, rows: std::ops::Range<usize>) {
        assert!(rows.end <= self.len, "range {rows:?} past {} bits", self.len);
        rows.for_each(|row| self.set(row));
    }

    /// Appends a bit.
    pub fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(64) {
            self.words.push(0);
        }
        self.len += 1;
        if bit {
            self.set(self.len - 1);
        }
    }

    /// Appends all bits of another bitmap.
    pub fn extend_from(&mut self, other: &Self) {
        if self.len.is_multiple_of(64) {
            self.words.extend_from_slice(&other.words);
            self.len += other.len;
        } else {
            (0..other.len).for_each(|row| self.push(other.get(row)));
        }
    }

    /// Shortens or lengthens; new bits equal `bit`.
    pub fn resize(&mut self, len: usize, bit: bool) {
        let old = self.len;
        self.words.resize(len.div_ceil(64), 0);
        self.len = len;
        if bit && len > old {
            self.set_range(old..len);
        }
        self.clear_tail();
    }

    /// Number of set bits.
    #[must_use]
    pub fn count_ones(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether any bit is set.
    #[must_use]
    pub fn any(&self) -> bool {
        self.words.iter().any(|word| *word != 0)
    }

    /// Whether every bit is set.
    #[must_use]
    pub fn all(&self) -> bool {
        self.count_ones() == self.len
    }

    /// Keeps the bits that `other` has too. Lengths must agree.
    pub fn and(&mut self, other: &Self) {
        self.zip(other, |a, b| a & b);
    }

    /// Adds the bits of `other`. Lengths must agree.
    pub fn or(&mut self, other: &Self) {
        self.zip(other, |a, b| a | b);
    }

    /// Removes the bits of `other`. Lengths must agree.
    pub fn and_not(&mut self, other: &Self) {
        self.zip(other, |a, b| a & !b);
    }

    /// Turns every bit over.
    pub fn flip(&mut self) {
        self.words.iter_mut().for_each(|word| *word = !*word);
        self.clear_tail();
    }

    /// The rows whose bit is set, ascending.
    pub fn ones(&self) -> impl Iterator<Item = usize> + '_ {
        self.words.iter().enumerate().flat_map(|(index, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                (rest != 0).then(|| {
                    let bit = rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    index * 64 + bit
                })
            })
        })
    }

    /// Bytes held.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.words.capacity() * 8
    }

    fn zip(&mut self, other: &Self, op: impl Fn(u64, u64) -> u64) {
        assert_eq!(self.len, other.len, "bitmaps of different length");
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word = op(*word, *other);
        }
    }

    fn clear_tail(&mut self) {
        let used = self.len % 64;
        if used != 0
            && let Some(last) = self.words.last_mut()
        {
            *last &= (1 << used) - 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tail_bits_stay_zero() {
        let mut bitmap = Bitmap::filled(70, true);
        assert_eq!(bitmap.count_ones(), 70);
        bitmap.flip();
        assert!(!bitmap.any());
        bitmap.resize(130, true);
        assert_eq!(bitmap.ones().collect::<Vec<_>>(), (70..130).collect::<Vec<_>>());
    }

    #[test]
    fn from_fn_equals_from_bools() {
        let wanted = |row: usize| row.is_multiple_of(3);
        assert_eq!(Bitmap::from_fn(1000, wanted), Bitmap::from_bools((0..1000).map(wanted)));
    }

    #[test]
    fn extend_joins_at_any_offset() {
        let mut left = Bitmap::from_fn(67, |row| row % 2 == 0);
        let right = Bitmap::from_fn(100, |row| row % 5 == 0);
        left.extend_from(&right);
        let expected: Vec<bool> = (0..67).map(|r| r % 2 == 0).chain((0..100).map(|r| r % 5 == 0)).collect();
        assert_eq!(left, Bitmap::from_bools(expected));
    }
}
