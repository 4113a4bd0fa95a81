//! Rows of 512 bits.

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
                let x = <f32 as Weight>::load_16(x.as_ptr().add(at), count);
                _mm512_fmadd_ps(W::load_16(row.as_ptr().add(at), count), x, sum)
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
                *read = W::load_16(from, count);
            }
            for (row, sums) in sums.iter_mut().enumerate() {
                let x = <f32 as Weight>::load_16(x.as_ptr().add(row * inputs + at), count);
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
