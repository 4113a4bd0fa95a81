#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::{bf16, f16};

use crate::cpu::element::Element;

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
    unsafe fn load_16(from: *const Self, count: usize) -> __m512;

    /// Eight weights from `from` on.
    ///
    /// # Safety
    ///
    /// The processor has AVX2 and F16C, and eight numbers can be read.
    #[cfg(target_arch = "x86_64")]
    unsafe fn load_8(from: *const Self) -> __m256;
}

impl Weight for f32 {
    const FLOATS: bool = true;

    fn floats<const N: usize>(rows: [&[f32]; N]) -> Option<[&[f32]; N]> {
        Some(rows)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_16(from: *const Self, count: usize) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            match count {
                16 => _mm512_loadu_ps(from),
                _ => _mm512_maskz_loadu_ps(mask(count), from),
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_8(from: *const Self) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_loadu_ps(from) }
    }
}

impl Weight for bf16 {
    const BRAIN_FLOATS: bool = true;

    fn brain_floats<const N: usize>(rows: [&[Self]; N]) -> Option<[&[Self]; N]> {
        Some(rows)
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_16(from: *const Self, count: usize) -> __m512 {
        // SAFETY: the caller's; a brain float is the upper half of a float.
        let halves = unsafe {
            match count {
                16 => _mm256_loadu_si256(from.cast()),
                _ => _mm256_maskz_loadu_epi16(mask(count), from.cast()),
            }
        };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_8(from: *const Self) -> __m256 {
        // SAFETY: the caller's.
        let halves = unsafe { _mm_loadu_si128(from.cast()) };
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(halves)))
    }
}

impl Weight for f16 {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_16(from: *const Self, count: usize) -> __m512 {
        // SAFETY: the caller's.
        unsafe {
            _mm512_cvtph_ps(match count {
                16 => _mm256_loadu_si256(from.cast()),
                _ => _mm256_maskz_loadu_epi16(mask(count), from.cast()),
            })
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_8(from: *const Self) -> __m256 {
        // SAFETY: the caller's.
        unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from.cast())) }
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn mask(count: usize) -> u16 {
    u16::MAX >> (16 - count)
}
