//! Loops that become the vectors of a path.

use crate::Path;

/// A loop. `run` is always inlined, so that it is compiled with the instructions of whoever runs it.
pub trait Body {
    /// What the loop gives.
    type Output;

    /// Runs the loop.
    fn run(self) -> Self::Output;
}

/// Runs a loop with the instructions of a path.
#[inline]
pub fn with_path<B: Body>(path: Path, body: B) -> B::Output {
    match path {
        // SAFETY: the path says that the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        Path::Avx512 | Path::Avx512Bf16 => unsafe { avx512(body) },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        Path::Avx2 => unsafe { avx2(body) },
        _ => body.run(),
    }
}

/// # Safety
///
/// The processor has AVX-512 F, BW, DQ and VL.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn avx512<B: Body>(body: B) -> B::Output {
    body.run()
}

/// # Safety
///
/// The processor has AVX2 and FMA.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn avx2<B: Body>(body: B) -> B::Output {
    body.run()
}
