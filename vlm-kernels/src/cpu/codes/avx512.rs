//! Rows of codes, 512 bits at a time.

use std::arch::x86_64::*;

use super::{Codes, GROUP, ZERO, products::AHEAD, whole_numbers::Bytes};
use crate::cpu::dot::GROUP as HEIGHT;

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
    x: &Bytes,
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
                        (true, false) => _mm512_maskz_loadu_epi8(u64::MAX >> GROUP, from.cast()),
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
