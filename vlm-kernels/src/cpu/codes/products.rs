//! Products of few rows with codes.

use super::{Bits, Codes, GROUP};
#[cfg(target_arch = "x86_64")]
use super::{
    avx2, avx512,
    whole_numbers::{Bytes, WholeNumbers},
};
use crate::{
    Path,
    cpu::{
        dot::{GROUP as HEIGHT, share, store},
        element::Element,
        matrix::{Filled, Product},
    },
};

/// Bytes that are asked for ahead: the work between two loads hides them from the processor's own guess.
#[cfg(target_arch = "x86_64")]
pub const AHEAD: usize = 4096;

/// A row of activations.
enum Line<'a> {
    Floats(&'a [f32]),
    #[cfg(target_arch = "x86_64")]
    Whole(WholeNumbers),
    #[cfg(target_arch = "x86_64")]
    Bytes(Bytes),
}

impl<'a> Line<'a> {
    fn new(path: Path, x: &'a [f32], bits: Bits) -> Self {
        match (path, bits) {
            #[cfg(target_arch = "x86_64")]
            (Path::Avx512Bf16, bits) => Self::Bytes(Bytes::new(path, x, bits)),
            #[cfg(target_arch = "x86_64")]
            (Path::Avx2 | Path::Avx512, bits) => Self::Whole(WholeNumbers::new(path, x, bits)),
            _ => Self::Floats(x),
        }
    }

    /// The products with rows of a weight from `first` on.
    fn dots(&self, weights: Codes<'_>, first: usize) -> [f32; HEIGHT] {
        match self {
            Self::Floats(x) => dots(weights, first, x),
            // SAFETY: a line is made so where the processor has the instructions.
            #[cfg(target_arch = "x86_64")]
            Self::Whole(x) => unsafe {
                match weights.bits {
                    Bits::Eight => avx2::dots::<true>(&weights, first, x),
                    Bits::Four => avx2::dots::<false>(&weights, first, x),
                }
            },
            // SAFETY: the same.
            #[cfg(target_arch = "x86_64")]
            Self::Bytes(x) => unsafe {
                match weights.bits {
                    Bits::Eight => avx512::dots::<true>(&weights, first, x),
                    Bits::Four => avx512::dots::<false>(&weights, first, x),
                }
            },
        }
    }
}

/// `x · weightᵀ + bias` for few rows, with each of the weights.
///
/// # Shapes
/// - x: `[rows, inputs]`
pub fn few_rows<E: Element>(path: Path, x: &[f32], products: &mut [Product<'_, Codes<'_>, E>]) {
    let inputs = products.first().map_or(0, |product| product.weights.inputs);
    let lines = [Bits::Eight, Bits::Four].map(|bits| -> Vec<_> {
        let wanted = products.iter().any(|product| product.weights.bits == bits);
        let rows = x.chunks_exact(inputs.max(1)).filter(|_| wanted);
        rows.map(|x| Line::new(path, x, bits)).collect()
    });
    let products: Vec<_> = products
        .iter_mut()
        .map(|product| {
            let Codes {
                bits,
                inputs,
                outputs,
                ..
            } = product.weights;
            let rows = product.out.len() / outputs.max(1);
            assert_eq!(x.len(), rows * inputs, "x is rows × inputs");
            let out = Filled::new(product.out, outputs);
            (product.weights, &lines[bits as usize], product.bias, out)
        })
        .collect();
    share(
        products.iter().map(|product| product.0),
        &|index, outputs| {
            let (weights, lines, bias, out) = products[index];
            #[cfg(target_arch = "x86_64")]
            if path >= Path::Avx2 {
                ask(&weights, outputs.clone());
            }
            for first in outputs.clone().step_by(HEIGHT) {
                let count = (outputs.end - first).min(HEIGHT);
                for (row, line) in lines.iter().enumerate() {
                    let sums = line.dots(weights, first);
                    // SAFETY: chunks have different outputs.
                    store(sums, bias, first, unsafe { out.part(row, first, count) });
                }
            }
        },
    );
}

/// Asks for what begins the work on some rows, and for the factors and shifts of all of them and of as many
/// after them: there is too little of these for the processor to see where it goes on.
#[cfg(target_arch = "x86_64")]
fn ask(weights: &Codes<'_>, outputs: std::ops::Range<usize>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

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

/// The products of one row with rows of a weight.
fn dots(weights: Codes<'_>, first: usize, x: &[f32]) -> [f32; HEIGHT] {
    const LANES: usize = 16;
    let mut sums = [0.0; HEIGHT];
    for (line, sum) in sums.iter_mut().enumerate() {
        let output = (first + line).min(weights.outputs - 1);
        let (row, scales) = (weights.row(output), weights.scales(output));
        let mut lanes = [0f32; LANES];
        for (group, x) in x.as_chunks::<GROUP>().0.iter().enumerate() {
            let numbers = weights.group(row, scales, group);
            for lane in 0..LANES {
                lanes[lane] += numbers[lane] * x[lane] + numbers[lane + LANES] * x[lane + LANES];
            }
        }
        *sum = lanes.iter().sum();
    }
    sums
}
