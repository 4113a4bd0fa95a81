//! Floats are rounded to codes.

use half::f16;

use super::{Bits, GROUP, Sizes, highest, whole};
use crate::{
    Path,
    cpu::{
        element::Element,
        matrix::Filled,
        pool::parallel,
        vectors::{Body, with_path},
    },
};

/// Rows, `[outputs, inputs]`, that are being rounded to the memory of a [`Codes`], some at a time.
#[derive(Debug)]
pub struct Rounded {
    bits: Bits,
    outputs: usize,
    inputs: usize,
    memory: Vec<u32>,
    /// Rows that are there.
    count: usize,
}

impl Rounded {
    /// Room for all rows.
    ///
    /// # Panics
    ///
    /// When a row is not a whole number of groups.
    pub fn new(bits: Bits, [outputs, inputs]: [usize; 2]) -> Self {
        let bytes = Sizes::new(bits, outputs, inputs).bytes();
        Self {
            bits,
            outputs,
            inputs,
            memory: vec![0; bytes.div_ceil(4)],
            count: 0,
        }
    }

    /// Of a code.
    pub fn bits(&self) -> Bits {
        self.bits
    }

    /// `[outputs, inputs]` of all rows.
    pub fn shape(&self) -> [usize; 2] {
        [self.outputs, self.inputs]
    }

    /// Rounds the next rows.
    ///
    /// # Panics
    ///
    /// When they are more than are missing.
    pub fn push<E: Element>(&mut self, path: Path, rows: &[E]) {
        let Self {
            bits,
            outputs,
            inputs,
            count: first,
            ..
        } = *self;
        let groups = inputs / GROUP;
        let rows = rows.chunks_exact(inputs.max(1));
        let count = rows.len();
        assert!(rows.remainder().is_empty(), "whole rows of {inputs}");
        assert!(first + count <= outputs, "more rows than {outputs}");
        let rows: Vec<_> = rows.collect();
        let sizes = Sizes::new(bits, outputs, inputs);
        // SAFETY: any four bytes are a number of 32 bits.
        let (_, all, _) = unsafe { self.memory.align_to_mut::<u8>() };
        let (codes, rest) = all[..sizes.bytes()].split_at_mut(sizes.codes);
        // SAFETY: any two bytes are a float of 16 bits.
        let (_, halves, _) = unsafe { rest.align_to_mut::<f16>() };
        let (factors, shifts) = halves.split_at_mut(sizes.groups);
        let row_codes = sizes.codes / outputs.max(1);
        let codes = Filled::new(codes, row_codes);
        let [factors, shifts] = [factors, shifts].map(|halves| Filled::new(halves, groups));
        parallel(count, &|index| {
            let (row, output) = (rows[index], first + index);
            // SAFETY: each row is one thread's.
            unsafe {
                let codes = codes.part(output, 0, row_codes);
                let factors = factors.part(output, 0, groups);
                match bits {
                    Bits::Eight => with_path(
                        path,
                        Eight {
                            row,
                            codes,
                            factors,
                        },
                    ),
                    Bits::Four => {
                        let shifts = shifts.part(output, 0, groups);
                        with_path(
                            path,
                            Four {
                                row,
                                codes,
                                factors,
                                shifts,
                            },
                        );
                    }
                }
            }
        });
        self.count += count;
    }

    /// The memory of a [`Codes`].
    ///
    /// # Panics
    ///
    /// When rows are missing.
    pub fn finish(self) -> Vec<u32> {
        assert_eq!(self.count, self.outputs, "rows are missing");
        self.memory
    }
}

/// A row, rounded to multiples of a factor.
struct Eight<'a, E> {
    row: &'a [E],
    codes: &'a mut [u8],
    factors: &'a mut [f16],
}

impl<E: Element> Body for Eight<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let row = self.row.as_chunks::<GROUP>().0;
        let codes = self.codes.as_chunks_mut::<GROUP>().0;
        for ((row, codes), to) in row.iter().zip(codes).zip(self.factors) {
            let factor = half(highest(row).0 / 127.0);
            *to = factor;
            let inverse = inverse(Element::to_f32(factor));
            for (x, code) in row.iter().zip(codes) {
                *code = (whole(clamped(x.to_f32() * inverse, -127.0, 127.0)) + 128) as u8;
            }
        }
    }
}

/// A row, rounded to codes of four bits, with the factor and the shift that leave the least error: those of
/// several, each fitted to the codes that it gives.
struct Four<'a, E> {
    row: &'a [E],
    codes: &'a mut [u8],
    factors: &'a mut [f16],
    shifts: &'a mut [f16],
}

/// Steps between the lowest and the highest number of a group that are tried, in place of 15: with more, what
/// lies outside is cut off.
const STEPS: [f32; 8] = [14.0, 14.5, 15.0, 15.5, 16.0, 16.75, 17.5, 18.5];

impl<E: Element> Body for Four<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let row = self.row.as_chunks::<GROUP>().0;
        let codes = self.codes.as_chunks_mut::<{ GROUP / 2 }>().0;
        let scales = self.factors.iter_mut().zip(self.shifts);
        for ((row, codes), (factor, shift)) in row.iter().zip(codes).zip(scales) {
            let mut x = [0.0; GROUP];
            for (x, number) in x.iter_mut().zip(row) {
                *x = number.to_f32();
            }
            (*factor, *shift) = best(&x);
            let found = coded(&x, Element::to_f32(*factor), Element::to_f32(*shift));
            for (code, pair) in codes.iter_mut().zip(found.as_chunks::<2>().0) {
                *code = pair[0] as u8 | (pair[1] as u8) << 4;
            }
        }
    }
}

/// The nearest codes. Here and below in loops: closures that arrays take would not have the path's instructions.
#[inline(always)]
fn coded(x: &[f32; GROUP], factor: f32, shift: f32) -> [f32; GROUP] {
    let inverse = inverse(factor);
    let mut codes = [0.0; GROUP];
    for (code, x) in codes.iter_mut().zip(x) {
        *code = whole(clamped((x - shift) * inverse, 0.0, 15.0)) as f32;
    }
    codes
}

/// The factor and the shift by which codes are nearest to the numbers.
#[inline(always)]
fn best(x: &[f32; GROUP]) -> (f16, f16) {
    let [lowest, highest] = extremes(x);
    let middle = 0.5 * (lowest + highest);
    let mean = product(x, &[1.0; GROUP]) / GROUP as f32;
    // What is no number stays none.
    let invalid = product(x, &[0.0; GROUP]);
    let mut best = (f32::INFINITY, half(0.0), half(lowest + invalid));
    for steps in STEPS {
        let factor = (highest - lowest) / steps;
        let codes = coded(x, factor, middle - 7.5 * factor);
        // Least squares: the numbers as a line over their codes.
        let code = product(&codes, &[1.0; GROUP]) / GROUP as f32;
        let [mut from_mean, mut codes_from_mean] = [[0.0; GROUP]; 2];
        for at in 0..GROUP {
            from_mean[at] = x[at] - mean;
            codes_from_mean[at] = codes[at] - code;
        }
        let square = product(&codes_from_mean, &codes_from_mean);
        if square <= 0.0 {
            continue;
        }
        let factor = half(product(&codes_from_mean, &from_mean) / square);
        let shift = half(mean - Element::to_f32(factor) * code);
        let (wide, low) = (Element::to_f32(factor), Element::to_f32(shift));
        let codes = coded(x, wide, low);
        let mut errors = [0.0; GROUP];
        for at in 0..GROUP {
            errors[at] = codes[at] * wide + low - x[at];
        }
        let error = product(&errors, &errors);
        if error < best.0 {
            best = (error, factor, shift);
        }
    }
    (best.1, best.2)
}

/// The lowest and the highest number.
#[inline(always)]
fn extremes(x: &[f32; GROUP]) -> [f32; 2] {
    let (mut low, mut high) = (*x, *x);
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            let (a, b) = (low[lane], low[lane + half]);
            low[lane] = if b < a { b } else { a };
            let (a, b) = (high[lane], high[lane + half]);
            high[lane] = if b > a { b } else { a };
        }
    }
    [low[0], high[0]]
}

/// The sum of products.
#[inline(always)]
fn product(a: &[f32; GROUP], b: &[f32; GROUP]) -> f32 {
    let mut sums = [0.0; GROUP];
    for lane in 0..GROUP {
        sums[lane] = a[lane] * b[lane];
    }
    for half in [16, 8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

#[inline(always)]
fn half(x: f32) -> f16 {
    f16::from_f32(x)
}

#[inline(always)]
fn inverse(factor: f32) -> f32 {
    if factor > 0.0 { factor.recip() } else { 0.0 }
}

#[inline(always)]
fn clamped(x: f32, low: f32, high: f32) -> f32 {
    let x = if x > high { high } else { x };
    if x < low { low } else { x }
}
