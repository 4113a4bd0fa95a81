//! Tiles of 512 bits.

use std::arch::x86_64::*;

use super::{HEIGHT, LANES, Sums, bf16};

macro_rules! tile {
    ($name:ident, $unit:ty, $features:literal, $spread:expr, $add:expr) => {
        /// Adds the products of a panel of `N` vectors and eight rows of weights.
        ///
        /// # Safety
        ///
        /// The processor has the instructions.
        #[target_feature(enable = $features)]
        pub unsafe fn $name<const N: usize>(
            weights: [&[$unit]; HEIGHT],
            step: usize,
            panel: &[$unit],
            sums: &mut Sums,
        ) {
            let depth = panel.len() / (N * LANES);
            let end = depth.saturating_sub(1) * step;
            assert!(depth == 0 || weights.iter().all(|row| end < row.len()));
            let rows = weights.map(|row| row.as_ptr());
            let mut tile = [[_mm512_setzero_ps(); N]; HEIGHT];
            // SAFETY: `at` is below the depth, and rows reach there, by the assertion; a row of sums has three vectors.
            unsafe {
                for row in 0..HEIGHT {
                    for lane in 0..N {
                        tile[row][lane] = _mm512_loadu_ps(sums[row].as_ptr().add(lane * LANES));
                    }
                }
                for at in 0..depth {
                    let column = panel.as_ptr().add(at * N * LANES);
                    let mut x = [_mm512_setzero_si512(); N];
                    for lane in 0..N {
                        x[lane] = _mm512_loadu_si512(column.add(lane * LANES).cast());
                    }
                    for row in 0..HEIGHT {
                        let weight = $spread(*rows[row].add(at * step));
                        for lane in 0..N {
                            tile[row][lane] = $add(tile[row][lane], weight, x[lane]);
                        }
                    }
                }
                for row in 0..HEIGHT {
                    for lane in 0..N {
                        let to = sums[row].as_mut_ptr().add(lane * LANES);
                        _mm512_storeu_ps(to, tile[row][lane]);
                    }
                }
            }
        }
    };
}

tile!(
    floats,
    f32,
    "avx512f",
    |weight: f32| _mm512_set1_ps(weight),
    |sum, weight, x| _mm512_fmadd_ps(weight, _mm512_castsi512_ps(x), sum)
);
tile!(
    pairs,
    [bf16; 2],
    "avx512f,avx512bf16",
    |weight: [bf16; 2]| std::mem::transmute::<__m512i, __m512bh>(_mm512_set1_epi32(
        std::mem::transmute::<[bf16; 2], i32>(weight)
    )),
    |sum, weight, x| _mm512_dpbf16_ps(sum, weight, std::mem::transmute::<__m512i, __m512bh>(x))
);
