//! Weights of whole numbers without a sign, 8 or 4 bits each, and their products with few rows.
//!
//! 32 numbers of a row share a factor and, with 4 bits, a shift: a weight is `factor · code + shift`. With 8 bits
//! the code of zero is 128.

use std::ops::Range;

use half::f16;

use crate::Path;

use super::{
    dot::{GROUP as HEIGHT, share, store},
    element::Element,
    matrix::{Filled, Product, Rows},
    pool::parallel,
    vectors::{Body, with_path},
};

/// Numbers of a row that have one factor.
pub const GROUP: usize = 32;
/// The code of zero, of 8 bits.
const ZERO: f32 = 128.0;
/// The magnitude of activations as whole numbers: both their bytes have a sign.
const LARGEST: f32 = 32_639.0;

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

/// `x · weightᵀ + bias` for few rows, with each of the weights.
///
/// # Shapes
/// - x: `[rows, inputs]`
pub fn few_rows<E: Element>(path: Path, x: &[f32], products: &mut [Product<'_, Codes<'_>, E>]) {
    let inputs = products.first().map_or(0, |product| product.weights.inputs);
    let lines = x.chunks_exact(inputs.max(1));
    let whole: Vec<WholeNumbers> = match path {
        Path::Avx512Bf16 => lines.clone().map(|x| WholeNumbers::new(path, x)).collect(),
        _ => Vec::new(),
    };
    let products: Vec<_> = products
        .iter_mut()
        .map(|product| {
            let Codes {
                inputs, outputs, ..
            } = product.weights;
            let rows = product.out.len() / outputs.max(1);
            assert_eq!(x.len(), rows * inputs, "x is rows × inputs");
            let out = Filled::new(product.out, outputs);
            (product.weights, product.bias, out)
        })
        .collect();
    share(
        products.iter().map(|product| product.0),
        &|index, outputs| {
            let (weights, bias, out) = products[index];
            for first in outputs.clone().step_by(HEIGHT) {
                let count = (outputs.end - first).min(HEIGHT);
                for (row, x) in lines.clone().enumerate() {
                    let sums = match whole.get(row) {
                        // SAFETY: whole numbers are made where the processor has the instructions.
                        #[cfg(target_arch = "x86_64")]
                        Some(whole) => unsafe {
                            match weights.bits {
                                Bits::Eight => avx512::dots::<true>(&weights, first, whole),
                                Bits::Four => avx512::dots::<false>(&weights, first, whole),
                            }
                        },
                        _ => with_path(path, Dots { weights, first, x }),
                    };
                    // SAFETY: chunks have different outputs.
                    store(sums, bias, first, unsafe { out.part(row, first, count) });
                }
            }
        },
    );
}

/// The bytes of two groups, which begin where a vector's memory does.
#[derive(Clone)]
#[repr(align(64))]
struct Line([[i8; GROUP]; 2]);

/// Activations as whole numbers of two bytes.
struct WholeNumbers {
    // Bytes of the numbers, to a whole number of pairs of groups: a number is `256 · high + low`.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    high: Vec<Line>,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    low: Vec<Line>,
    // Sums of the groups.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    sums: Vec<f32>,
    // On all numbers.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    factor: f32,
}

impl WholeNumbers {
    fn new(path: Path, x: &[f32]) -> Self {
        let lines = vec![Line([[0; GROUP]; 2]); x.len().div_ceil(2 * GROUP)];
        let mut whole = Self {
            high: lines.clone(),
            low: lines,
            sums: vec![0.0; x.len() / GROUP],
            factor: 0.0,
        };
        let to = &mut whole;
        with_path(path, Parted { x, to });
        whole
    }
}

struct Parted<'a> {
    x: &'a [f32],
    to: &'a mut WholeNumbers,
}

impl Body for Parted<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (peak, sum) = highest(self.x);
        let inverse = if peak > 0.0 && sum == 0.0 {
            LARGEST / peak
        } else {
            0.0
        };
        let groups = self.x.as_chunks::<GROUP>().0.iter().zip(&mut self.to.sums);
        for (group, (x, total)) in groups.enumerate() {
            let high = &mut self.to.high[group / 2].0[group % 2];
            let low = &mut self.to.low[group / 2].0[group % 2];
            let mut sum = 0;
            for at in 0..GROUP {
                let number = whole(x[at] * inverse);
                low[at] = number as i8;
                high[at] = ((number - i32::from(low[at])) >> 8) as i8;
                sum += number;
            }
            *total = sum as f32;
        }
        // What is no number stays none.
        self.to.factor = peak / LARGEST + sum;
    }
}

/// The products of one row with rows of a weight.
struct Dots<'a> {
    weights: Codes<'a>,
    first: usize,
    x: &'a [f32],
}

impl Body for Dots<'_> {
    type Output = [f32; HEIGHT];

    #[inline(always)]
    fn run(self) -> [f32; HEIGHT] {
        const LANES: usize = 16;
        let mut sums = [0.0; HEIGHT];
        for (line, sum) in sums.iter_mut().enumerate() {
            let output = (self.first + line).min(self.weights.outputs - 1);
            let (row, scales) = (self.weights.row(output), self.weights.scales(output));
            let mut lanes = [0f32; LANES];
            for (group, x) in self.x.as_chunks::<GROUP>().0.iter().enumerate() {
                let numbers = self.weights.group(row, scales, group);
                for lane in 0..LANES {
                    lanes[lane] +=
                        numbers[lane] * x[lane] + numbers[lane + LANES] * x[lane + LANES];
                }
            }
            *sum = lanes.iter().sum();
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Codes, GROUP, HEIGHT, WholeNumbers, ZERO};

    /// Bytes that are asked for ahead: the work between two loads hides them from the processor's own guess.
    const AHEAD: usize = 2048;
    /// Groups whose factors are a vector.
    const BLOCK: usize = 16;

    /// The products of one row with rows of a weight, of 8 bits or 4.
    ///
    /// `Σ (factor · code + shift) · x` of a group is `factor · Σ code · x + shift · Σ x`; with 8 bits, the shift
    /// is `-128 · factor`.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW, VL and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub unsafe fn dots<const EIGHT: bool>(
        weights: &Codes<'_>,
        first: usize,
        x: &WholeNumbers,
    ) -> [f32; HEIGHT] {
        let groups = weights.inputs / GROUP;
        assert!(x.sums.len() == groups && x.high.len() == x.low.len());
        assert!(x.low.len() == groups.div_ceil(2));
        // Bytes of a pair of groups.
        let pair = if EIGHT { 2 * GROUP } else { GROUP };
        let second = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
        let zero = _mm512_setzero_si512();
        let mut totals = [0.0; HEIGHT];
        // One row after the other, as the processor reads ahead.
        for (line, to) in totals.iter_mut().enumerate() {
            let output = (first + line).min(weights.outputs - 1);
            let row = weights.row(output).as_ptr();
            let (factors, shifts) = weights.scales(output);
            let mut total = _mm512_setzero_ps();
            for begin in (0..groups).step_by(BLOCK) {
                let count = (groups - begin).min(BLOCK);
                let mask = u16::MAX >> (BLOCK - count);
                // SAFETY: rows have `groups` groups, factors, shifts and sums; what lies after them is masked.
                unsafe {
                    let sums = _mm512_maskz_loadu_ps(mask, x.sums.as_ptr().add(begin));
                    let from = factors.as_ptr().add(begin).cast();
                    let factors = _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from));
                    let shifts = match EIGHT {
                        true => _mm512_mul_ps(factors, _mm512_set1_ps(-ZERO)),
                        false => {
                            let from = shifts.as_ptr().add(begin).cast();
                            _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, from))
                        }
                    };
                    total = _mm512_fmadd_ps(shifts, sums, total);
                    let mut lanes = second;
                    for group in (begin..begin + count).step_by(2) {
                        let from = row.add(group / 2 * pair);
                        // Asking for memory that is not there does nothing.
                        _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
                        let codes = match (EIGHT, group + 1 < groups) {
                            (true, true) => _mm512_loadu_si512(from.cast()),
                            (true, false) => {
                                _mm512_maskz_loadu_epi8(u64::MAX >> GROUP, from.cast())
                            }
                            (false, true) => parted(_mm256_loadu_si256(from.cast())),
                            (false, false) => {
                                parted(_mm256_zextsi128_si256(_mm_loadu_si128(from.cast())))
                            }
                        };
                        let high = _mm512_loadu_si512(x.high.as_ptr().add(group / 2).cast());
                        let low = _mm512_loadu_si512(x.low.as_ptr().add(group / 2).cast());
                        let high = _mm512_dpbusd_epi32(zero, codes, high);
                        let high = _mm512_slli_epi32::<8>(high);
                        let sum = _mm512_dpbusd_epi32(high, codes, low);
                        let factor = _mm512_permutexvar_ps(lanes, factors);
                        lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(2));
                        total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, total);
                    }
                }
            }
            *to = _mm512_reduce_add_ps(total) * x.factor;
        }
        totals
    }

    /// Halves of bytes as bytes.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn parted(bytes: __m256i) -> __m512i {
        let wide = _mm512_cvtepu8_epi16(bytes);
        let both = _mm512_or_si512(wide, _mm512_slli_epi16::<4>(wide));
        _mm512_and_si512(both, _mm512_set1_epi8(15))
    }
}
