//! Weights of whole numbers without a sign, 8 or 4 bits each.
//!
//! 32 numbers of a row share a factor and, with 4 bits, a shift: a weight is `factor · code + shift`. With 8 bits
//! the code of zero is 128.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod products;
mod rounding;
#[cfg(target_arch = "x86_64")]
mod whole_numbers;

use std::ops::Range;

use half::f16;

use super::{element::Element, matrix::Rows};

pub use products::few_rows;
pub use rounding::Rounded;

/// Numbers of a row that have one factor.
pub const GROUP: usize = 32;
/// The code of zero, of 8 bits.
const ZERO: f32 = 128.0;

/// Bits of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bits {
    /// A byte.
    Eight,
    /// Half a byte, the first of two being the lower half.
    Four,
}

/// A weight as codes.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    bits: Bits,
    outputs: usize,
    inputs: usize,
    // `[outputs][inputs]`
    codes: &'a [u8],
    // `[outputs][inputs / GROUP]`
    factors: &'a [f16],
    // The same; none with 8 bits.
    shifts: &'a [f16],
}

/// Sizes of the parts of a [`Codes`], which lie one after the other.
#[derive(Clone, Copy)]
struct Sizes {
    codes: usize,
    groups: usize,
    shifts: usize,
}

impl Sizes {
    fn new(bits: Bits, outputs: usize, inputs: usize) -> Self {
        assert!(
            inputs.is_multiple_of(GROUP),
            "rows of {inputs} are no groups of {GROUP}"
        );
        let groups = outputs * (inputs / GROUP);
        match bits {
            Bits::Eight => Self {
                codes: outputs * inputs,
                groups,
                shifts: 0,
            },
            Bits::Four => Self {
                codes: outputs * inputs / 2,
                groups,
                shifts: groups,
            },
        }
    }

    fn bytes(self) -> usize {
        self.codes + size_of::<f16>() * (self.groups + self.shifts)
    }
}

impl<'a> Codes<'a> {
    /// What [`Rounded`] made of `outputs` rows of `inputs` numbers.
    ///
    /// # Panics
    ///
    /// When the memory is shorter than that, or at no even address.
    pub fn new(bits: Bits, outputs: usize, inputs: usize, memory: &'a [u8]) -> Self {
        let sizes = Sizes::new(bits, outputs, inputs);
        let (codes, rest) = memory[..sizes.bytes()].split_at(sizes.codes);
        // SAFETY: any two bytes are a float of 16 bits.
        let (before, halves, after) = unsafe { rest.align_to::<f16>() };
        assert!(before.is_empty() && after.is_empty(), "floats begin evenly");
        let (factors, shifts) = halves.split_at(sizes.groups);
        assert_eq!(shifts.len(), sizes.shifts, "a shift for each group");
        Self {
            bits,
            outputs,
            inputs,
            codes,
            factors,
            shifts,
        }
    }

    /// A row's codes.
    fn row(&self, output: usize) -> &'a [u8] {
        let bytes = self.row_codes();
        &self.codes[output * bytes..(output + 1) * bytes]
    }

    fn row_codes(&self) -> usize {
        match self.bits {
            Bits::Eight => self.inputs,
            Bits::Four => self.inputs / 2,
        }
    }

    /// A row's factors and shifts; with 8 bits the factors stand in for shifts.
    fn scales(&self, output: usize) -> (&'a [f16], &'a [f16]) {
        let groups = self.inputs / GROUP;
        let range = output * groups..(output + 1) * groups;
        let factors = &self.factors[range.clone()];
        match self.bits {
            Bits::Eight => (factors, factors),
            Bits::Four => (factors, &self.shifts[range]),
        }
    }

    /// A group's numbers.
    #[inline(always)]
    fn group(&self, row: &[u8], (factors, shifts): (&[f16], &[f16]), index: usize) -> [f32; GROUP] {
        let factor = Element::to_f32(factors[index]);
        let mut numbers = [0.0; GROUP];
        match self.bits {
            Bits::Eight => {
                let codes = &row.as_chunks::<GROUP>().0[index];
                for (number, code) in numbers.iter_mut().zip(codes) {
                    *number = (f32::from(*code) - ZERO) * factor;
                }
            }
            Bits::Four => {
                let codes = &row.as_chunks::<{ GROUP / 2 }>().0[index];
                let shift = Element::to_f32(shifts[index]);
                for (pair, code) in numbers.as_chunks_mut::<2>().0.iter_mut().zip(codes) {
                    pair[0] = f32::from(code & 15) * factor + shift;
                    pair[1] = f32::from(code >> 4) * factor + shift;
                }
            }
        }
        numbers
    }
}

impl Rows for Codes<'_> {
    /// Brain floats hold them better than bytes would hold activations.
    const PAIRS: bool = true;

    fn outputs(&self) -> usize {
        self.outputs
    }

    fn inputs(&self) -> usize {
        self.inputs
    }

    fn row_bytes(&self) -> usize {
        self.row_codes()
    }

    #[inline(always)]
    fn read<T: Element>(&self, output: usize, columns: Range<usize>, to: &mut [T]) {
        let (row, scales) = (self.row(output), self.scales(output));
        let mut at = columns.start;
        while at < columns.end {
            let group = at / GROUP;
            let end = ((group + 1) * GROUP).min(columns.end);
            let numbers = self.group(row, scales, group);
            let numbers = &numbers[at - group * GROUP..end - group * GROUP];
            let to = &mut to[at - columns.start..end - columns.start];
            for (to, number) in to.iter_mut().zip(numbers) {
                *to = T::from_f32(*number);
            }
            at = end;
        }
    }
}

/// The largest magnitude, and a sum that is 0 unless something is no finite number.
#[inline(always)]
fn highest<E: Element>(numbers: &[E]) -> (f32, f32) {
    const LANES: usize = 16;
    let (mut peaks, mut sums) = ([0f32; LANES], [0f32; LANES]);
    let mut chunks = numbers.chunks_exact(LANES);
    for chunk in chunks.by_ref() {
        for lane in 0..LANES {
            let x = chunk[lane].to_f32();
            peaks[lane] = if x.abs() > peaks[lane] {
                x.abs()
            } else {
                peaks[lane]
            };
            sums[lane] += x * 0.0;
        }
    }
    for x in chunks.remainder() {
        peaks[0] = peaks[0].max(x.to_f32().abs());
        sums[0] += x.to_f32() * 0.0;
    }
    (peaks.into_iter().fold(0.0, f32::max), sums.iter().sum())
}

/// The nearest whole number, of numbers below 2²² in magnitude; without a call, so that loops become vectors.
#[inline(always)]
fn whole(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits().cast_signed() - SHIFT.to_bits().cast_signed()
}
