//! Tiles of 256 bits.

use std::arch::x86_64::*;

use super::{HEIGHT, LANES, Sums};

/// Rows of a weight whose sums registers hold, two vectors each.
const ROWS: usize = 4;
/// Numbers of a vector.
const VECTOR: usize = LANES / 2;
/// Columns after which the sums are put aside, so that those of a panel's sixteen rows stay in the nearest cache for
/// all rows of the weight.
const COLUMNS: usize = 128;

/// Adds the products of a panel and eight rows of weights, whose numbers are `step` apart.
///
/// # Safety
///
/// The processor has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub unsafe fn floats(
    weights: [&[f32]; HEIGHT],
    step: usize,
    panel: &[f32],
    width: usize,
    sums: &mut Sums,
) {
    let depth = panel.len() / width;
    let end = depth.saturating_sub(1) * step;
    assert!(depth == 0 || weights.iter().all(|row| end < row.len()));
    assert!(width.is_multiple_of(LANES) && width <= sums[0].len());
    for from in (0..depth).step_by(COLUMNS) {
        let columns = (depth - from).min(COLUMNS);
        for left in (0..width).step_by(LANES) {
            for top in (0..HEIGHT).step_by(ROWS) {
                // SAFETY: the columns are below the depth, and rows reach there, by the assertion; so do the lanes
                // in the panel and in the sums.
                unsafe {
                    let panel = panel.as_ptr().add(from * width + left);
                    let mut rows = [panel; ROWS];
                    let mut tile = [[_mm256_setzero_ps(); 2]; ROWS];
                    for row in 0..ROWS {
                        rows[row] = weights[top + row].as_ptr().add(from * step);
                        let sums = sums[top + row].as_ptr().add(left);
                        tile[row] = [_mm256_loadu_ps(sums), _mm256_loadu_ps(sums.add(VECTOR))];
                    }
                    for at in 0..columns {
                        let column = panel.add(at * width);
                        let x = [_mm256_loadu_ps(column), _mm256_loadu_ps(column.add(VECTOR))];
                        for row in 0..ROWS {
                            let weight = _mm256_broadcast_ss(&*rows[row].add(at * step));
                            tile[row][0] = _mm256_fmadd_ps(weight, x[0], tile[row][0]);
                            tile[row][1] = _mm256_fmadd_ps(weight, x[1], tile[row][1]);
                        }
                    }
                    for (row, tile) in tile.iter().enumerate() {
                        let sums = sums[top + row].as_mut_ptr().add(left);
                        _mm256_storeu_ps(sums, tile[0]);
                        _mm256_storeu_ps(sums.add(VECTOR), tile[1]);
                    }
                }
            }
        }
    }
}
