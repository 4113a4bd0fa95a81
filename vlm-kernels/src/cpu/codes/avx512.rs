//! Rows of codes, 512 bits at a time.

use std::arch::x86_64::*;

use super::{Codes, GROUP, ZERO, products::AHEAD, whole_numbers::Bytes};
use crate::cpu::dot::GROUP as HEIGHT;

/// Groups whose factors are a vector.
const BLOCK: usize = 16;
/// Bytes of a vector.
const LINE: usize = 64;

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
    x: &Bytes,
) -> [f32; HEIGHT] {
    let groups = weights.inputs / GROUP;
    assert!(x.sums.len() == groups && x.high.len() == x.low.len());
    // Groups whose codes are a vector, and the group of each of its sums.
    let step = if EIGHT { 2 } else { 4 };
    let first_lanes = match EIGHT {
        true => _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0),
        false => _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0),
    };
    assert!(
        x.low.len()
            == if EIGHT {
                groups.div_ceil(2)
            } else {
                groups.div_ceil(4) * 2
            }
    );
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
                let mut lanes = first_lanes;
                for group in (begin..begin + count).step_by(step) {
                    let from = row.add(group / step * LINE);
                    // Asking for memory that is not there does nothing.
                    _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(AHEAD).cast());
                    let codes = match groups - group {
                        some if some < step => {
                            let mask = u64::MAX >> (LINE - LINE / step * some);
                            _mm512_maskz_loadu_epi8(mask, from.cast())
                        }
                        _ => _mm512_loadu_si512(from.cast()),
                    };
                    let high = x.high.as_ptr().add(group / 2).cast::<__m512i>();
                    let low = x.low.as_ptr().add(group / 2).cast::<__m512i>();
                    let sum = match EIGHT {
                        true => {
                            let sum = product(_mm512_setzero_si512(), codes, high);
                            product(_mm512_slli_epi32::<8>(sum), codes, low)
                        }
                        false => {
                            let mask = _mm512_set1_epi8(15);
                            let lower = _mm512_and_si512(codes, mask);
                            let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(codes), mask);
                            let sum = product(_mm512_setzero_si512(), lower, high);
                            let sum = product(sum, upper, high.add(1));
                            let sum = product(_mm512_slli_epi32::<8>(sum), lower, low);
                            product(sum, upper, low.add(1))
                        }
                    };
                    let factor = _mm512_permutexvar_ps(lanes, factors);
                    lanes = _mm512_add_epi32(lanes, _mm512_set1_epi32(step as i32));
                    total = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), factor, total);
                }
            }
        }
        *to = _mm512_reduce_add_ps(total) * x.factor;
    }
    totals
}

/// `sum` and four products for each of its numbers.
///
/// # Safety
///
/// There are 64 bytes.
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn product(sum: __m512i, codes: __m512i, bytes: *const __m512i) -> __m512i {
    // SAFETY: the caller's.
    _mm512_dpbusd_epi32(sum, codes, unsafe { _mm512_loadu_si512(bytes) })
}
