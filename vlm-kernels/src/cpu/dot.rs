//! Products with few rows, as in decoding: each weight is read once, and the speed is the memory's.

use half::{bf16, f16};

use crate::Path;

use super::{
    element::Element,
    matrix::{Filled, Product, Rows, Weights},
    pool::{parallel, threads},
};

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

/// Kinds of weights.
pub trait Weight: Element {
    /// Whether they are floats.
    const FLOATS: bool = false;
    /// Whether they are brain floats, for which there are instructions.
    const BRAIN_FLOATS: bool = false;

    /// The rows as floats, where they are.
    fn floats<const N: usize>(_rows: [&[Self]; N]) -> Option<[&[f32]; N]> {
        None
    }

    /// The rows as brain floats, where they are.
    fn brain_floats<const N: usize>(_rows: [&[Self]; N]) -> Option<[&[bf16]; N]> {
        None
    }

    /// Sixteen weights from `from` on, of which only the first `count` are read and the others are zero.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL, and `count` numbers, at most 16, can be read.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load(from: *const Self, count: usize) -> std::arch::x86_64::__m512;
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
                    let left = &left[..inputs];
                    store(
                        row,
                        match path {
                            #[cfg(target_arch = "x86_64")]
                            // SAFETY: the path says that the processor has the instructions.
                            Path::Avx2 => unsafe { dots_avx2(group, left) },
                            _ => dots::<W, false>(group, left),
                        },
                    );
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
#[inline(always)]
fn dots<W: Weight, const FMA: bool>(weights: [&[W]; GROUP], x: &[f32]) -> [f32; GROUP] {
    let mut sums = [[0f32; LANES]; GROUP];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for (index, x) in chunks.iter().enumerate() {
        for (sums, weights) in sums.iter_mut().zip(weights) {
            let weights = &weights[index * LANES..(index + 1) * LANES];
            for lane in 0..LANES {
                sums[lane] = match FMA {
                    true => weights[lane].to_f32().mul_add(x[lane], sums[lane]),
                    false => weights[lane].to_f32() * x[lane] + sums[lane],
                };
            }
        }
    }
    std::array::from_fn(|row| {
        let tail = &weights[row][x.len() - rest.len()..];
        let tail = tail.iter().zip(rest).map(|(weight, x)| weight.to_f32() * x);
        sums[row].iter().sum::<f32>() + tail.sum::<f32>()
    })
}

/// # Safety
///
/// The processor has AVX2, FMA and F16C.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dots_avx2<W: Weight>(weights: [&[W]; GROUP], x: &[f32]) -> [f32; GROUP] {
    dots::<W, true>(weights, x)
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{GROUP, Weight};

    /// Bytes that are asked for ahead. More lines have to be on their way than the processor asks for by itself.
    const AHEAD: usize = 4096;

    /// As [`dots`] of one row, the rows of the weight being read one after the other.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn lines<W: Weight>(weights: [&[W]; GROUP], x: &[f32]) -> [f32; GROUP] {
        assert!(weights.iter().all(|row| row.len() == x.len()));
        let mut totals = [0.0; GROUP];
        let full = x.len() / 32 * 32;
        for (row, total) in weights.iter().zip(&mut totals) {
            let mut sums = [_mm512_setzero_ps(); 2];
            // SAFETY: `count` numbers from `at` on lie within each row.
            unsafe {
                let product = |at: usize, count: usize, sum| {
                    let x = <f32 as Weight>::load(x.as_ptr().add(at), count);
                    _mm512_fmadd_ps(W::load(row.as_ptr().add(at), count), x, sum)
                };
                for at in (0..full).step_by(32) {
                    let from = row.as_ptr().add(at);
                    // Asking for memory that is not there does nothing.
                    _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
                    sums[0] = product(at, 16, sums[0]);
                    sums[1] = product(at + 16, 16, sums[1]);
                }
                for at in (full..x.len()).step_by(16) {
                    sums[0] = product(at, (x.len() - at).min(16), sums[0]);
                }
            }
            *total = _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]));
        }
        totals
    }

    /// As [`brain_dots`] of one row, the rows of the weight being read one after the other.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW, VL and BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn brain_lines<W: Weight>(weights: [&[W]; GROUP], x: &[i16]) -> [f32; GROUP] {
        let weights = W::brain_floats(weights).expect("brain floats");
        assert!(weights.iter().all(|row| row.len() == x.len()));
        let mut totals = [0.0; GROUP];
        for (row, total) in weights.iter().zip(&mut totals) {
            let mut sum = _mm512_setzero_ps();
            for at in (0..x.len()).step_by(32) {
                let count = (x.len() - at).min(32);
                // SAFETY: `count` numbers from `at` on lie within each row.
                unsafe {
                    let from = row.as_ptr().add(at);
                    // Asking for memory that is not there does nothing.
                    _mm_prefetch::<_MM_HINT_T0>(from.cast::<i8>().wrapping_add(AHEAD));
                    let x = brain_floats(x.as_ptr().add(at), count);
                    sum = _mm512_dpbf16_ps(sum, brain_floats(from.cast(), count), x);
                }
            }
            *total = _mm512_reduce_add_ps(sum);
        }
        totals
    }

    /// Brain floats from their bits; the first `count` of 32 are read and the others are zero.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL, and `count` numbers, at most 32, can be read.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn brain_floats(from: *const i16, count: usize) -> __m512bh {
        // SAFETY: the caller's; a vector of their bits is a vector of them.
        unsafe {
            std::mem::transmute::<__m512i, __m512bh>(match count {
                32 => _mm512_loadu_epi16(from),
                _ => _mm512_maskz_loadu_epi16(u32::MAX >> (32 - count), from),
            })
        }
    }

    /// The products of `R` rows of `inputs` numbers with rows of a weight.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn dots<W: Weight, const R: usize>(
        weights: [&[W]; GROUP],
        x: &[f32],
        inputs: usize,
    ) -> [[f32; GROUP]; R] {
        assert!(x.len() >= R * inputs && weights.iter().all(|row| row.len() == inputs));
        let mut sums = [[_mm512_setzero_ps(); GROUP]; R];
        let full = inputs / 16 * 16;
        let mut add = |at: usize, count: usize| {
            // SAFETY: `count` numbers from `at` on lie within each row.
            unsafe {
                let mut read = [_mm512_setzero_ps(); GROUP];
                for (read, row) in read.iter_mut().zip(weights) {
                    let from = row.as_ptr().add(at);
                    *read = W::load(from, count);
                }
                for (row, sums) in sums.iter_mut().enumerate() {
                    let x = <f32 as Weight>::load(x.as_ptr().add(row * inputs + at), count);
                    for (sum, weight) in sums.iter_mut().zip(read) {
                        *sum = _mm512_fmadd_ps(weight, x, *sum);
                    }
                }
            }
        };
        for at in (0..full).step_by(16) {
            add(at, 16);
        }
        if full < inputs {
            add(full, inputs - full);
        }
        totals(sums)
    }

    /// As [`dots`], of brain floats, whose bits `x` has.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW, VL and BF16.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    pub unsafe fn brain_dots<W: Weight, const R: usize>(
        weights: [&[W]; GROUP],
        x: &[i16],
        inputs: usize,
    ) -> [[f32; GROUP]; R] {
        let weights = W::brain_floats(weights).expect("brain floats");
        assert!(x.len() >= R * inputs && weights.iter().all(|row| row.len() == inputs));
        let mut sums = [[_mm512_setzero_ps(); GROUP]; R];
        let full = inputs / 32 * 32;
        let mut add = |at: usize, count: usize| {
            for (row, sums) in sums.iter_mut().enumerate() {
                // SAFETY: `count` numbers from `at` on lie within each row.
                let x = unsafe { brain_floats(x.as_ptr().add(row * inputs + at), count) };
                for (sum, row) in sums.iter_mut().zip(weights) {
                    // SAFETY: the same.
                    let weight = unsafe { brain_floats(row.as_ptr().add(at).cast(), count) };
                    *sum = _mm512_dpbf16_ps(*sum, weight, x);
                }
            }
        };
        for at in (0..full).step_by(32) {
            add(at, 32);
        }
        if full < inputs {
            add(full, inputs - full);
        }
        totals(sums)
    }

    /// In loops: what takes a closure has not the instructions, and calls it for each sum.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn totals<const R: usize>(sums: [[__m512; GROUP]; R]) -> [[f32; GROUP]; R] {
        let mut totals = [[0.0; GROUP]; R];
        for (totals, sums) in totals.iter_mut().zip(sums) {
            for (total, sum) in totals.iter_mut().zip(sums) {
                *total = _mm512_reduce_add_ps(sum);
            }
        }
        totals
    }

    #[inline(always)]
    fn mask(count: usize) -> u16 {
        u16::MAX >> (16 - count)
    }

    impl Weight for f32 {
        const FLOATS: bool = true;

        fn floats<const N: usize>(rows: [&[f32]; N]) -> Option<[&[f32]; N]> {
            Some(rows)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn load(from: *const Self, count: usize) -> __m512 {
            // SAFETY: the caller's.
            unsafe {
                match count {
                    16 => _mm512_loadu_ps(from),
                    _ => _mm512_maskz_loadu_ps(mask(count), from),
                }
            }
        }
    }

    impl Weight for super::bf16 {
        const BRAIN_FLOATS: bool = true;

        fn brain_floats<const N: usize>(rows: [&[Self]; N]) -> Option<[&[Self]; N]> {
            Some(rows)
        }

        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn load(from: *const Self, count: usize) -> __m512 {
            // SAFETY: the caller's; a brain float is the upper half of a float.
            let halves = unsafe {
                match count {
                    16 => _mm256_loadu_si256(from.cast()),
                    _ => _mm256_maskz_loadu_epi16(mask(count), from.cast()),
                }
            };
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
        }
    }

    impl Weight for super::f16 {
        #[inline]
        #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
        unsafe fn load(from: *const Self, count: usize) -> __m512 {
            // SAFETY: the caller's.
            unsafe {
                _mm512_cvtph_ps(match count {
                    16 => _mm256_loadu_si256(from.cast()),
                    _ => _mm256_maskz_loadu_epi16(mask(count), from.cast()),
                })
            }
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod plain {
    use super::{Weight, bf16, f16};

    impl Weight for f32 {
        const FLOATS: bool = true;

        fn floats<const N: usize>(rows: [&[f32]; N]) -> Option<[&[f32]; N]> {
            Some(rows)
        }
    }

    impl Weight for bf16 {
        const BRAIN_FLOATS: bool = true;

        fn brain_floats<const N: usize>(rows: [&[Self]; N]) -> Option<[&[Self]; N]> {
            Some(rows)
        }
    }
    impl Weight for f16 {}
}
