//! Gradients of layer and RMS norms.

use std::ops::Range;

use super::rows::{Summed, parts};
use crate::{Path, cpu::matrix::Filled};

/// Lanes of a sum, which the compiler puts into vectors.
const LANES: usize = 16;

/// The norm whose gradients are wanted.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a> {
    /// Whether the mean is taken away.
    pub centred: bool,
    /// Added to the variance.
    pub epsilon: f32,
    /// Of each column.
    pub weight: &'a [f32],
}

/// Writes the gradient of `x` and returns those of weight and bias, one after the other.
///
/// With `x̂` the normalised row, `r` the factor that made it, and `g = dy · weight`:
/// `dx = r · (g - mean(g) - x̂ · mean(g · x̂))`, without `mean(g)` where the mean stays.
///
/// # Shapes
/// - x, dy, dx: `[rows, columns]`
/// - output: `[2 · columns]`
pub fn norm(path: Path, norm: Norm<'_>, x: &[f32], dy: &[f32], dx: &mut [f32]) -> Vec<f32> {
    let columns = norm.weight.len();
    assert!(x.len() == dy.len() && x.len() == dx.len());
    let rows = Rows {
        norm,
        x,
        dy,
        dx: Filled::new(dx, columns),
    };
    parts(path, x.len() / columns.max(1), 2 * columns, &rows)
}

struct Rows<'a> {
    norm: Norm<'a>,
    x: &'a [f32],
    dy: &'a [f32],
    dx: Filled<'a, f32>,
}

impl Summed for Rows<'_> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, sums: &mut [f32]) {
        let columns = self.norm.weight.len();
        let (dw, db) = sums.split_at_mut(columns);
        for row in rows {
            let part = row * columns..(row + 1) * columns;
            // SAFETY: each row is one thread's.
            let dx = unsafe { self.dx.part(row, 0, columns) };
            norm_row(self.norm, &self.x[part.clone()], &self.dy[part], dx, dw, db);
        }
    }
}

#[inline(always)]
fn norm_row(norm: Norm<'_>, x: &[f32], dy: &[f32], dx: &mut [f32], dw: &mut [f32], db: &mut [f32]) {
    let count = x.len() as f32;
    let mean = match norm.centred {
        true => total([x, x, x], |[x, _, _]| x) / count,
        false => 0.0,
    };
    let variance = total([x, x, x], |[x, _, _]| (x - mean) * (x - mean)) / count;
    let factor = (variance + norm.epsilon).sqrt().recip();
    let along = total([x, dy, norm.weight], |[x, dy, weight]| {
        (x - mean) * dy * weight
    });
    let along = along * factor * factor / count;
    let even = match norm.centred {
        true => total([dy, norm.weight, x], |[dy, weight, _]| dy * weight) / count,
        false => 0.0,
    };
    let columns = x.len();
    let (dy, weight) = (&dy[..columns], &norm.weight[..columns]);
    let (dx, dw, db) = (&mut dx[..columns], &mut dw[..columns], &mut db[..columns]);
    for column in 0..columns {
        let centred = x[column] - mean;
        dx[column] = factor * (dy[column] * weight[column] - even - centred * along);
        dw[column] += dy[column] * centred * factor;
        db[column] += dy[column];
    }
}

#[inline(always)]
fn total(rows: [&[f32]; 3], value: impl Fn([f32; 3]) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let [(a, rest), (b, rest_b), (c, rest_c)] = rows.map(|row| row.as_chunks::<LANES>());
    for ((a, b), c) in a.iter().zip(b).zip(c) {
        for lane in 0..LANES {
            sums[lane] += value([a[lane], b[lane], c[lane]]);
        }
    }
    let mut sum = sums.iter().sum::<f32>();
    for ((a, b), c) in rest.iter().zip(rest_b).zip(rest_c) {
        sum += value([*a, *b, *c]);
    }
    sum
}
