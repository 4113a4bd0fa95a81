//! Rows of codes, 256 bits at a time.

use std::arch::x86_64::*;

use half::f16;

use super::{Codes, GROUP, ZERO, whole_numbers::WholeNumbers};
use crate::cpu::dot::{GROUP as HEIGHT, total_of};

/// Groups whose factors are a vector.
const BLOCK: usize = 8;

/// The products of one row with rows of a weight, of 8 bits or 4.
///
/// `Σ (factor · code + shift) · x` of a group is `factor · Σ code · x + shift · Σ x`; with 8 bits, the shift is
/// `-128 · factor`.
///
/// # Safety
///
/// The processor has AVX2, FMA and F16C.
#[target_feature(enable = "avx2,fma,f16c")]
pub unsafe fn dots<const EIGHT: bool>(
    weights: &Codes<'_>,
    first: usize,
    x: &WholeNumbers,
) -> [f32; HEIGHT] {
    let groups = weights.inputs / GROUP;
    assert!(x.sums.len() == groups && x.numbers.len() == groups);
    let mut totals = [0.0; HEIGHT];
    // One row after the other, as the processor reads ahead.
    for (line, to) in totals.iter_mut().enumerate() {
        let output = (first + line).min(weights.outputs - 1);
        let row = weights.row(output).as_ptr();
        let (factors, shifts) = weights.scales(output);
        let mut total = _mm256_setzero_ps();
        for begin in (0..groups).step_by(BLOCK) {
            let end = (begin + BLOCK).min(groups);
            let factors = floats(&factors[begin..end]);
            let shifts = match EIGHT {
                true => _mm256_mul_ps(factors, _mm256_set1_ps(-ZERO)),
                false => floats(&shifts[begin..end]),
            };
            total = _mm256_fmadd_ps(shifts, sums(&x.sums[begin..end]), total);
            let mut factor = [0.0; BLOCK];
            // SAFETY: eight floats.
            unsafe { _mm256_storeu_ps(factor.as_mut_ptr(), factors) };
            for group in begin..end {
                // SAFETY: rows have `groups` groups, as have the numbers.
                let sum = unsafe {
                    let codes = match EIGHT {
                        true => {
                            let from = row.add(group * GROUP).cast::<__m128i>();
                            [
                                _mm256_cvtepu8_epi16(_mm_loadu_si128(from)),
                                _mm256_cvtepu8_epi16(_mm_loadu_si128(from.add(1))),
                            ]
                        }
                        false => parted(_mm_loadu_si128(row.add(group * GROUP / 2).cast())),
                    };
                    let x = x.numbers.as_ptr().add(group).cast::<__m256i>();
                    _mm256_add_epi32(
                        _mm256_madd_epi16(codes[0], _mm256_loadu_si256(x)),
                        _mm256_madd_epi16(codes[1], _mm256_loadu_si256(x.add(1))),
                    )
                };
                let factor = _mm256_set1_ps(factor[group - begin]);
                total = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), factor, total);
            }
        }
        *to = total_of(total) * x.factor;
    }
    totals
}

/// Eight halves as floats; those that are not there are zero.
#[inline]
#[target_feature(enable = "avx2,f16c")]
fn floats(halves: &[f16]) -> __m256 {
    // SAFETY: there are eight.
    unsafe {
        _mm256_cvtph_ps(_mm_loadu_si128(
            block(halves, &mut [f16::ZERO; BLOCK]).cast(),
        ))
    }
}

/// Eight floats; those that are not there are zero.
#[inline]
#[target_feature(enable = "avx2")]
fn sums(floats: &[f32]) -> __m256 {
    // SAFETY: there are eight.
    unsafe { _mm256_loadu_ps(block(floats, &mut [0.0; BLOCK])) }
}

/// Where eight numbers are; of less, a copy with zeros after them. Whole blocks are not copied, which would be a call.
#[inline]
fn block<T: Copy>(numbers: &[T], zeros: &mut [T; BLOCK]) -> *const T {
    if numbers.len() == BLOCK {
        return numbers.as_ptr();
    }
    zeros[..numbers.len()].copy_from_slice(numbers);
    zeros.as_ptr()
}

/// The lower halves of bytes and the upper ones, each as a number of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn parted(bytes: __m128i) -> [__m256i; 2] {
    let both = _mm256_cvtepu8_epi16(bytes);
    [
        _mm256_and_si256(both, _mm256_set1_epi16(15)),
        _mm256_srli_epi16::<4>(both),
    ]
}
