//! Products with few rows, as in decoding: each weight is read once, and the speed is the memory's.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod weight;

use half::bf16;

use crate::Path;

use super::{
    element::Element,
    matrix::{Filled, Product, Rows, Weights},
    pool::{parallel, threads},
};

#[cfg(target_arch = "x86_64")]
pub use avx2::total_of;
pub use weight::Weight;

/// Rows of a weight that are read side by side.
pub const GROUP: usize = 4;
/// Bytes of a weight that a thread takes at a time, at most and at least.
const CHUNKS: [usize; 2] = [1 << 16, 1 << 13];

/// Parts all rows of several weights among the threads: `body` gets the number of a weight and rows of it, whole
/// groups but for the last.
pub fn share<R: Rows>(
    weights: impl Iterator<Item = R>,
    body: &(dyn Fn(usize, std::ops::Range<usize>) + Sync),
) {
    let sizes: Vec<_> = weights
        .map(|rows| (rows.outputs(), rows.row_bytes().max(1)))
        .collect();
    let total: usize = sizes.iter().map(|(outputs, bytes)| outputs * bytes).sum();
    // Small enough that threads end together.
    let [most, least] = CHUNKS;
    let chunk = (total / (8 * threads())).clamp(least, most);
    let rows = |bytes: usize| (chunk / bytes).next_multiple_of(GROUP).max(GROUP);
    let count = |(outputs, bytes): &(usize, usize)| outputs.div_ceil(rows(*bytes));
    parallel(sizes.iter().map(count).sum(), &|mut chunk| {
        for (index, size) in sizes.iter().enumerate() {
            if chunk < count(size) {
                let first = chunk * rows(size.1);
                return body(index, first..(first + rows(size.1)).min(size.0));
            }
            chunk -= count(size);
        }
    });
}

/// `x · weightᵀ + bias` for few rows, with each of the weights.
///
/// # Shapes
/// - x: `[rows, inputs]`
pub fn few_rows<W: Weight, E: Element>(
    path: Path,
    x: &[f32],
    products: &mut [Product<'_, Weights<'_, W>, E>],
) {
    let mut narrow = Vec::new();
    if W::BRAIN_FLOATS && path == Path::Avx512Bf16 {
        let bits = |x: &f32| <bf16 as Element>::from_f32(*x).to_bits().cast_signed();
        narrow.extend(x.iter().map(bits));
    }
    let products: Vec<_> = products
        .iter_mut()
        .map(|product| {
            let Weights {
                inputs, outputs, ..
            } = product.weights;
            let rows = product.out.len() / outputs.max(1);
            assert_eq!(x.len(), rows * inputs, "x is rows × inputs");
            let out = Filled::new(product.out, outputs);
            (product.weights, product.bias, out, rows)
        })
        .collect();
    share(
        products.iter().map(|product| product.0),
        &|index, outputs| {
            let (weights, bias, out, rows) = &products[index];
            let (inputs, rows) = (weights.inputs, *rows);
            for first in outputs.clone().step_by(GROUP) {
                let group = weights.rows::<GROUP>(first);
                let count = (outputs.end - first).min(GROUP);
                let store = |row: usize, sums: [f32; GROUP]| {
                    // SAFETY: chunks have different outputs.
                    store(sums, *bias, first, unsafe { out.part(row, first, count) });
                };
                let mut row = 0;
                while row < rows {
                    let left = &x[row * inputs..];
                    #[cfg(target_arch = "x86_64")]
                    if path >= Path::Avx512 {
                        let narrow = narrow.get(row * inputs..).filter(|row| !row.is_empty());
                        // SAFETY: the path says that the processor has the instructions.
                        unsafe {
                            if rows - row >= 4 {
                                let sums = match narrow {
                                    Some(x) => avx512::brain_dots::<W, 4>(group, x, inputs),
                                    None => avx512::dots::<W, 4>(group, left, inputs),
                                };
                                (0..4).for_each(|index| store(row + index, sums[index]));
                                row += 4;
                            } else {
                                let sums = match narrow {
                                    Some(x) => avx512::brain_lines(group, &x[..inputs]),
                                    // Side by side, floats are as fast or faster.
                                    None if W::FLOATS => {
                                        avx512::dots::<W, 1>(group, left, inputs)[0]
                                    }
                                    None => avx512::lines(group, &left[..inputs]),
                                };
                                store(row, sums);
                                row += 1;
                            }
                        }
                        continue;
                    }
                    #[cfg(target_arch = "x86_64")]
                    if path == Path::Avx2 {
                        // SAFETY: the same.
                        unsafe {
                            if rows - row >= avx2::ROWS {
                                let sums = avx2::dots(group, left, inputs);
                                (0..avx2::ROWS).for_each(|index| store(row + index, sums[index]));
                                row += avx2::ROWS;
                            } else {
                                store(row, avx2::lines(group, &left[..inputs]));
                                row += 1;
                            }
                        }
                        continue;
                    }
                    store(row, dots(group, &left[..inputs]));
                    row += 1;
                }
            }
        },
    );
}

/// Writes the sums of the outputs from `first` on, with their biases.
#[inline(always)]
pub fn store<E: Element>(sums: [f32; GROUP], bias: Option<&[f32]>, first: usize, out: &mut [E]) {
    for (index, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
        *out = E::from_f32(sum + bias.map_or(0.0, |bias| bias[first + index]));
    }
}

/// Lanes of a sum, which the compiler puts into vectors.
const LANES: usize = 8;

/// The products of one row with rows of a weight.
fn dots<W: Weight>(weights: [&[W]; GROUP], x: &[f32]) -> [f32; GROUP] {
    let mut sums = [[0f32; LANES]; GROUP];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for (index, x) in chunks.iter().enumerate() {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weights = &weights[index * LANES..(index + 1) * LANES];
            for lane in 0..LANES {
                sums[lane] += weights[lane].to_f32() * x[lane];
            }
        }
    }
    std::array::from_fn(|row| {
        let tail = &weights[row][x.len() - rest.len()..];
        let tail = tail.iter().zip(rest).map(|(weight, x)| weight.to_f32() * x);
        sums[row].iter().sum::<f32>() + tail.sum::<f32>()
    })
}
