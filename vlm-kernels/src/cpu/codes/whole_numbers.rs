//! Activations rounded to whole numbers of two bytes, a row at a time, in the order in which codes are parted.

use super::{Bits, GROUP, highest, whole};
use crate::{
    Path,
    cpu::vectors::{Body, with_path},
};

/// The largest magnitude: both bytes of a number have a sign.
const LARGEST: f32 = 32_639.0;
/// Bytes of a vector.
const LINE: usize = 64;

/// A row as whole numbers.
pub struct WholeNumbers {
    /// Those of a group; for codes of 4 bits, the numbers of the lower halves of bytes and then those of the upper.
    pub numbers: Vec<[i16; GROUP]>,
    /// Sums of the groups.
    pub sums: Vec<f32>,
    /// On all numbers.
    pub factor: f32,
}

/// A row as whole numbers whose bytes are apart: a number is `256 · high + low`.
pub struct Bytes {
    /// For codes of 8 bits two groups to a line, for codes of 4 bits the first halves of four groups and then their
    /// second halves.
    pub high: Vec<Line>,
    /// The same.
    pub low: Vec<Line>,
    /// Sums of the groups.
    pub sums: Vec<f32>,
    /// On all numbers.
    pub factor: f32,
}

/// Bytes that begin where a vector's memory does.
#[derive(Clone)]
#[repr(align(64))]
pub struct Line([i8; LINE]);

impl WholeNumbers {
    /// Rounds a row, for codes of so many bits.
    pub fn new(path: Path, x: &[f32], bits: Bits) -> Self {
        let groups = x.len() / GROUP;
        let mut whole = Self {
            numbers: vec![[0; GROUP]; groups],
            sums: vec![0.0; groups],
            factor: 0.0,
        };
        let to = &mut whole;
        with_path(path, Round { x, bits, to });
        whole
    }
}

impl Bytes {
    /// Rounds a row, for codes of so many bits, and parts the bytes.
    pub fn new(path: Path, x: &[f32], bits: Bits) -> Self {
        let whole = WholeNumbers::new(path, x, bits);
        let place = Place::new(bits);
        let lines = vec![Line([0; LINE]); place.lines(whole.numbers.len())];
        let mut bytes = Self {
            high: lines.clone(),
            low: lines,
            sums: whole.sums,
            factor: whole.factor,
        };
        let (numbers, to) = (&whole.numbers, &mut bytes);
        with_path(path, Part { numbers, place, to });
        bytes
    }
}

/// Where the numbers of groups are among the lines.
#[derive(Clone, Copy)]
struct Place {
    // Lines that the numbers of a group are parted to.
    parts: usize,
}

impl Place {
    fn new(bits: Bits) -> Self {
        let parts = match bits {
            Bits::Eight => 1,
            Bits::Four => 2,
        };
        Self { parts }
    }

    /// Numbers of a group in one line.
    fn numbers(self) -> usize {
        GROUP / self.parts
    }

    /// Lines of so many groups.
    fn lines(self, groups: usize) -> usize {
        groups.div_ceil(LINE / self.numbers()) * self.parts
    }

    /// The line of a part of a group, and where in it.
    fn of(self, group: usize, part: usize) -> (usize, usize) {
        let groups = LINE / self.numbers();
        let line = group / groups * self.parts + part;
        (line, group % groups * self.numbers())
    }
}

struct Round<'a> {
    x: &'a [f32],
    bits: Bits,
    to: &'a mut WholeNumbers,
}

impl Body for Round<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (peak, sum) = highest(self.x);
        let inverse = if peak > 0.0 && sum == 0.0 {
            LARGEST / peak
        } else {
            0.0
        };
        let groups = self.x.as_chunks::<GROUP>().0.iter();
        let to = self.to.numbers.iter_mut().zip(&mut self.to.sums);
        for (x, (numbers, total)) in groups.zip(to) {
            let mut sum = 0;
            for (number, x) in numbers.iter_mut().zip(x) {
                let rounded = whole(x * inverse);
                *number = rounded as i16;
                sum += rounded;
            }
            *total = sum as f32;
            if self.bits == Bits::Four {
                let pairs = *numbers;
                for (at, pair) in pairs.as_chunks::<2>().0.iter().enumerate() {
                    numbers[at] = pair[0];
                    numbers[at + GROUP / 2] = pair[1];
                }
            }
        }
        // What is no number stays none.
        self.to.factor = peak / LARGEST + sum;
    }
}

struct Part<'a> {
    numbers: &'a [[i16; GROUP]],
    place: Place,
    to: &'a mut Bytes,
}

impl Body for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (group, numbers) in self.numbers.iter().enumerate() {
            for (part, numbers) in numbers.chunks_exact(self.place.numbers()).enumerate() {
                let (line, at) = self.place.of(group, part);
                let high = &mut self.to.high[line].0[at..];
                let low = &mut self.to.low[line].0[at..];
                for (number, (high, low)) in numbers.iter().zip(high.iter_mut().zip(low)) {
                    *low = *number as i8;
                    *high = ((number - i16::from(*low)) >> 8) as i8;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_numbers() {
        // Seven groups: neither pairs nor fours of them are full.
        let x: Vec<f32> = (0..7 * GROUP).map(|at| 99.0 - at as f32).collect();
        for path in Path::all() {
            let whole = WholeNumbers::new(path, &x, Bits::Eight);
            let near = |(number, x): (&i16, &f32)| {
                (f32::from(*number) * whole.factor - x).abs() <= 0.51 * whole.factor
            };
            assert!(whole.numbers.as_flattened().iter().zip(&x).all(near));
            for bits in [Bits::Eight, Bits::Four] {
                let bytes = Bytes::new(path, &x, bits);
                for (at, number) in whole.numbers.as_flattened().iter().enumerate() {
                    let (group, at) = (at / GROUP, at % GROUP);
                    let (line, at) = match bits {
                        Bits::Eight => (group / 2, group % 2 * 32 + at),
                        Bits::Four => (group / 4 * 2 + at % 2, group % 4 * 16 + at / 2),
                    };
                    let [high, low] = [&bytes.high, &bytes.low].map(|lines| lines[line].0[at]);
                    let parts = 256 * i32::from(high) + i32::from(low);
                    assert_eq!(parts, i32::from(*number));
                }
                assert_eq!(bytes.sums, whole.sums);
            }
        }
    }
}
