//! Products of few rows with codes.

use super::{Bits, Codes, GROUP, ZERO, highest, whole};
use crate::{
    Path,
    cpu::{
        dot::{GROUP as HEIGHT, share, store},
        element::Element,
        matrix::{Filled, Product},
        vectors::{Body, with_path},
    },
};

/// The magnitude of activations as whole numbers: both their bytes have a sign.
const LARGEST: f32 = 32_639.0;

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
            #[cfg(target_arch = "x86_64")]
            if !whole.is_empty() {
                avx512::ask(&weights, outputs.clone());
            }
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
    use std::{arch::x86_64::*, ops::Range};

    use super::{Codes, GROUP, HEIGHT, WholeNumbers, ZERO};

    /// Bytes that are asked for ahead: the work between two loads hides them from the processor's own guess.
    const AHEAD: usize = 4096;
    /// Groups whose factors are a vector.
    const BLOCK: usize = 16;

    /// Asks for what begins the work on some rows, and for the factors and shifts of all of them and of as many
    /// after them: there is too little of these for the processor to see where it goes on.
    pub fn ask(weights: &Codes<'_>, outputs: Range<usize>) {
        let line = |from: *const u8, bytes: usize| {
            for at in (0..bytes).step_by(64) {
                // SAFETY: asking for memory that is not there does nothing.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(at).cast()) };
            }
        };
        let (factors, shifts) = weights.scales(outputs.start);
        let bytes = 2 * outputs.len() * size_of_val(factors);
        line(factors.as_ptr().cast(), bytes);
        if factors.as_ptr() != shifts.as_ptr() {
            line(shifts.as_ptr().cast(), bytes);
        }
        let codes = weights.row(outputs.start);
        line(codes.as_ptr(), AHEAD.min(outputs.len() * codes.len()));
    }

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
