//! Rows of 256 bits.

use std::arch::x86_64::*;

use super::{GROUP, Weight};

/// Numbers of a vector.
const LANES: usize = 8;
/// Sums of a row that do not wait for one another.
const CHAINS: usize = 4;
/// Rows that are multiplied with what is read once.
pub const ROWS: usize = 2;

/// The products of one row with rows of a weight, which are read one after the other: the processor sees where each
/// goes on, and asks ahead by itself.
///
/// # Safety
///
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn lines<W: Weight>(weights: [&[W]; GROUP], x: &[f32]) -> [f32; GROUP] {
    assert!(weights.iter().all(|row| row.len() == x.len()));
    let mut totals = [0.0; GROUP];
    let chains = x.len() / (CHAINS * LANES) * (CHAINS * LANES);
    let full = x.len() / LANES * LANES;
    for (row, total) in weights.iter().zip(&mut totals) {
        let mut sums = [_mm256_setzero_ps(); CHAINS];
        // SAFETY: eight numbers from `at` on lie within each row.
        unsafe {
            let product = |at: usize, sum| {
                let x = _mm256_loadu_ps(x.as_ptr().add(at));
                _mm256_fmadd_ps(W::load_8(row.as_ptr().add(at)), x, sum)
            };
            for at in (0..chains).step_by(CHAINS * LANES) {
                for (chain, sum) in sums.iter_mut().enumerate() {
                    *sum = product(at + chain * LANES, *sum);
                }
            }
            for at in (chains..full).step_by(LANES) {
                sums[0] = product(at, sums[0]);
            }
        }
        let pairs = [
            _mm256_add_ps(sums[0], sums[1]),
            _mm256_add_ps(sums[2], sums[3]),
        ];
        *total = total_of(_mm256_add_ps(pairs[0], pairs[1])) + rest(row, x, full);
    }
    totals
}

/// The products of [`ROWS`] rows of `inputs` numbers with rows of a weight.
///
/// # Safety
///
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dots<W: Weight>(
    weights: [&[W]; GROUP],
    x: &[f32],
    inputs: usize,
) -> [[f32; GROUP]; ROWS] {
    assert!(x.len() >= ROWS * inputs && weights.iter().all(|row| row.len() == inputs));
    let mut sums = [[_mm256_setzero_ps(); GROUP]; ROWS];
    let full = inputs / LANES * LANES;
    for at in (0..full).step_by(LANES) {
        let mut read = [_mm256_setzero_ps(); GROUP];
        for (read, row) in read.iter_mut().zip(weights) {
            // SAFETY: eight numbers from `at` on lie within each row.
            *read = unsafe { W::load_8(row.as_ptr().add(at)) };
        }
        for (row, sums) in sums.iter_mut().enumerate() {
            // SAFETY: the same.
            let x = unsafe { _mm256_loadu_ps(x.as_ptr().add(row * inputs + at)) };
            for (sum, weight) in sums.iter_mut().zip(read) {
                *sum = _mm256_fmadd_ps(weight, x, *sum);
            }
        }
    }
    let mut totals = [[0.0; GROUP]; ROWS];
    for (row, (totals, sums)) in totals.iter_mut().zip(sums).enumerate() {
        let x = &x[row * inputs..(row + 1) * inputs];
        for (total, (sum, weights)) in totals.iter_mut().zip(sums.into_iter().zip(weights)) {
            *total = total_of(sum) + rest(weights, x, full);
        }
    }
    totals
}

/// What is left of a row where no vector is full.
#[inline(always)]
fn rest<W: Weight>(weights: &[W], x: &[f32], full: usize) -> f32 {
    let products = weights[full..].iter().zip(&x[full..]);
    products.map(|(weight, x)| weight.to_f32() * x).sum()
}

/// The sum of a vector.
#[inline]
#[target_feature(enable = "avx2")]
pub fn total_of(sums: __m256) -> f32 {
    let halves = _mm_add_ps(
        _mm256_castps256_ps128(sums),
        _mm256_extractf128_ps::<1>(sums),
    );
    let pairs = _mm_add_ps(halves, _mm_movehl_ps(halves, halves));
    _mm_cvtss_f32(_mm_add_ss(pairs, _mm_movehdup_ps(pairs)))
}
