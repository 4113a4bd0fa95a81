//! Sums over rows.

use std::ops::Range;

use crate::{
    Path,
    cpu::{
        matrix::Filled,
        pool::parallel,
        vectors::{Body, with_path},
    },
};

/// Rows whose sums are one part.
pub const ROWS: usize = 64;

/// Adds a vector to each row.
pub fn add(path: Path, vector: &[f32], x: &mut [f32]) {
    let columns = vector.len();
    let rows = x.len() / columns.max(1);
    let x = Filled::new(x, columns);
    parallel(rows.div_ceil(ROWS), &|part| {
        let first = part * ROWS;
        let count = ROWS.min(rows - first);
        // SAFETY: parts do not overlap.
        let x = unsafe { x.part(first, 0, count * columns) };
        with_path(path, Add { vector, x });
    });
}

struct Add<'a> {
    vector: &'a [f32],
    x: &'a mut [f32],
}

impl Body for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for row in self.x.chunks_exact_mut(self.vector.len()) {
            for (x, add) in row.iter_mut().zip(self.vector) {
                *x += add;
            }
        }
    }
}

/// Something that is summed over rows; `add` is always inlined.
pub trait Summed: Sync {
    /// Adds some rows to their sums.
    fn add(&self, rows: Range<usize>, sums: &mut [f32]);
}

/// The sum of all rows.
pub fn sum(path: Path, x: &[f32], columns: usize) -> Vec<f32> {
    parts(
        path,
        x.len() / columns.max(1),
        columns,
        &Rows { x, columns },
    )
}

struct Rows<'a> {
    x: &'a [f32],
    columns: usize,
}

impl Summed for Rows<'_> {
    #[inline(always)]
    fn add(&self, rows: Range<usize>, sums: &mut [f32]) {
        let columns = self.columns;
        for row in self.x[rows.start * columns..rows.end * columns].chunks_exact(columns) {
            for (sum, x) in sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

/// Sums of each part of the rows, added.
pub fn parts(path: Path, rows: usize, columns: usize, summed: &impl Summed) -> Vec<f32> {
    let count = rows.div_ceil(ROWS);
    let mut parts = vec![0.0; count.max(1) * columns];
    let filled = Filled::new(&mut parts, columns);
    parallel(count, &|part| {
        // SAFETY: each part is written by one thread.
        let sums = unsafe { filled.part(part, 0, columns) };
        let rows = part * ROWS..((part + 1) * ROWS).min(rows);
        with_path(path, Part { rows, sums, summed });
    });
    let (total, others) = parts.split_at_mut(columns);
    for part in others.chunks_exact(columns.max(1)) {
        for (total, part) in total.iter_mut().zip(part) {
            *total += part;
        }
    }
    parts.truncate(columns);
    parts
}

struct Part<'a, S> {
    rows: Range<usize>,
    sums: &'a mut [f32],
    summed: &'a S,
}

impl<S: Summed> Body for Part<'_, S> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        self.summed.add(self.rows, self.sums);
    }
}
