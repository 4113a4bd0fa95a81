//! Activations rounded to whole numbers of two bytes, a row at a time.

use super::{GROUP, highest, whole};
use crate::{
    Path,
    cpu::vectors::{Body, with_path},
};

/// The largest magnitude: both bytes of a number have a sign.
const LARGEST: f32 = 32_639.0;

/// A row as whole numbers.
pub struct WholeNumbers {
    /// Those of a group.
    pub numbers: Vec<[i16; GROUP]>,
    /// Sums of the groups.
    pub sums: Vec<f32>,
    /// On all numbers.
    pub factor: f32,
}

/// A row as whole numbers whose bytes are apart: a number is `256 · high + low`.
pub struct Bytes {
    /// To a whole number of pairs of groups.
    pub high: Vec<Line>,
    /// The same.
    pub low: Vec<Line>,
    /// Sums of the groups.
    pub sums: Vec<f32>,
    /// On all numbers.
    pub factor: f32,
}

/// The bytes of two groups, which begin where a vector's memory does.
#[derive(Clone)]
#[repr(align(64))]
pub struct Line([[i8; GROUP]; 2]);

impl WholeNumbers {
    /// Rounds a row.
    pub fn new(path: Path, x: &[f32]) -> Self {
        let groups = x.len() / GROUP;
        let mut whole = Self {
            numbers: vec![[0; GROUP]; groups],
            sums: vec![0.0; groups],
            factor: 0.0,
        };
        let to = &mut whole;
        with_path(path, Round { x, to });
        whole
    }
}

impl Bytes {
    /// Parts the bytes.
    pub fn new(path: Path, whole: WholeNumbers) -> Self {
        let lines = vec![Line([[0; GROUP]; 2]); whole.numbers.len().div_ceil(2)];
        let mut bytes = Self {
            high: lines.clone(),
            low: lines,
            sums: whole.sums,
            factor: whole.factor,
        };
        let (numbers, to) = (&whole.numbers, &mut bytes);
        with_path(path, Part { numbers, to });
        bytes
    }
}

struct Round<'a> {
    x: &'a [f32],
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
        }
        // What is no number stays none.
        self.to.factor = peak / LARGEST + sum;
    }
}

struct Part<'a> {
    numbers: &'a [[i16; GROUP]],
    to: &'a mut Bytes,
}

impl Body for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for (group, numbers) in self.numbers.iter().enumerate() {
            let high = &mut self.to.high[group / 2].0[group % 2];
            let low = &mut self.to.low[group / 2].0[group % 2];
            for (at, number) in numbers.iter().enumerate() {
                low[at] = *number as i8;
                high[at] = ((number - i16::from(low[at])) >> 8) as i8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_numbers() {
        let x: Vec<f32> = (0..3 * GROUP).map(|at| 40.0 - at as f32).collect();
        for path in Path::all() {
            let whole = WholeNumbers::new(path, &x);
            let numbers = whole.numbers.clone();
            let near = |(number, x): (&i16, &f32)| {
                (f32::from(*number) * whole.factor - x).abs() <= 0.51 * whole.factor
            };
            assert!(numbers.as_flattened().iter().zip(&x).all(near));
            let bytes = Bytes::new(path, whole);
            for (group, numbers) in numbers.iter().enumerate() {
                let [high, low] =
                    [&bytes.high, &bytes.low].map(|lines| lines[group / 2].0[group % 2]);
                for (number, (high, low)) in numbers.iter().zip(high.iter().zip(low)) {
                    let parts = 256 * i32::from(*high) + i32::from(low);
                    assert_eq!(parts, i32::from(*number));
                }
            }
        }
    }
}
