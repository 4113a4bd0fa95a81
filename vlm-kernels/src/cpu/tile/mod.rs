//! Products with many rows, as in reading prompts and pictures: the speed is the multipliers'.
//!
//! Rows of activations are packed into panels of 48, 32 or 16, the same column of all rows side by side, so
//! that a vector holds one column of 16 rows. Weights stay as they lie in memory: each is spread over a
//! vector. Eight rows of weights by 48 rows of activations are a tile, whose sums stay in registers.

use std::ops::Range;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;

use half::bf16;

use crate::Path;

use super::{
    element::Element,
    matrix::{Filled, Rows},
    pool::{parallel, threads},
};

/// Rows of a weight in a tile.
pub const HEIGHT: usize = 8;
/// Rows of activations in a vector.
pub const LANES: usize = 16;
/// Rows of activations in a tile.
pub const WIDTH: usize = 3 * LANES;
/// Columns that are summed before the next tile, so that what a thread reads again and again stays near.
const DEPTH: usize = 1024;

/// Columns that are packed side by side.
const BLOCK: usize = 32;

/// The sums of a tile.
pub type Sums = [[f32; WIDTH]; HEIGHT];

/// Rows of activations, packed.
pub struct Panels<T> {
    data: Vec<T>,
    /// Rows.
    pub rows: usize,
    /// Columns, in numbers of kind `T`.
    pub depth: usize,
}

impl<T: Copy + Default + Send + Sync> Panels<T> {
    /// Packs `rows` rows of `depth` numbers, where `read(row, column, to)` writes part of a row.
    pub fn pack(rows: usize, depth: usize, read: impl Fn(usize, usize, &mut [T]) + Sync) -> Self {
        let padded = rows.next_multiple_of(LANES);
        let mut data = vec![T::default(); padded * depth];
        let filled = Filled::new(&mut data, WIDTH * depth);
        parallel(rows.div_ceil(WIDTH), &|panel| {
            let first = panel * WIDTH;
            let width = (padded - first).min(WIDTH);
            // SAFETY: each panel is written by one thread.
            let panel = unsafe { filled.part(panel, 0, width * depth) };
            // Few columns at a time, so that what is written stays near.
            for (index, panel) in panel.chunks_mut(width * BLOCK).enumerate() {
                let mut line = [T::default(); BLOCK];
                let line = &mut line[..panel.len() / width];
                for row in 0..width.min(rows - first) {
                    read(first + row, index * BLOCK, line);
                    for (value, column) in line.iter().zip(panel.chunks_exact_mut(width)) {
                        column[row] = *value;
                    }
                }
            }
        });
        Self { data, rows, depth }
    }

    /// Number of panels.
    pub fn count(&self) -> usize {
        self.rows.div_ceil(WIDTH)
    }

    /// Columns `from..to` of a panel, and its rows.
    pub fn panel(&self, index: usize, from: usize, to: usize) -> (&[T], usize) {
        let padded = self.rows.next_multiple_of(LANES);
        let width = (padded - index * WIDTH).min(WIDTH);
        let begin = index * WIDTH * self.depth;
        (&self.data[begin + from * width..begin + to * width], width)
    }
}

/// `x · weightᵀ + bias` for many rows.
///
/// # Shapes
/// - x: `[rows, inputs]`
/// - out: `[rows, outputs]`
pub fn many_rows<X: Element, W: Rows, E: Element>(
    path: Path,
    x: &[X],
    weights: W,
    bias: Option<&[f32]>,
    out: &mut [E],
) {
    let [inputs, outputs] = [weights.inputs(), weights.outputs()];
    let rows = out.len() / outputs.max(1);
    assert_eq!(x.len(), rows * inputs, "x is rows × inputs");
    let line = |row: usize| &x[row * inputs..(row + 1) * inputs];
    if W::PAIRS && path == Path::Avx512Bf16 {
        let panels = Panels::pack(rows, inputs.div_ceil(2), |row, at, to: &mut [[bf16; 2]]| {
            for (x, to) in line(row)[2 * at..].iter().zip(to.as_flattened_mut()) {
                *to = Element::from_f32(x.to_f32());
            }
        });
        product::<Pairs, W, E>(path, &panels, weights, bias, out);
    } else {
        let panels = Panels::pack(rows, inputs, |row, at, to: &mut [f32]| {
            for (x, to) in line(row)[at..].iter().zip(to) {
                *to = x.to_f32();
            }
        });
        product::<Floats, W, E>(path, &panels, weights, bias, out);
    }
}

/// How numbers are multiplied.
trait Arithmetic {
    /// What is spread over a vector.
    type Unit: Copy + Default + Send + Sync;
    /// Numbers of a weight in a unit.
    const NUMBERS: usize;

    /// Whether rows of so many numbers are units as they lie.
    fn lies_ready<W: Rows>(inputs: usize) -> bool;

    /// Columns of eight rows of a weight from row `first` on, as units: as they lie, or written to `scratch`,
    /// `[HEIGHT][depth]`.
    fn units<'a, W: Rows>(
        weights: &'a W,
        first: usize,
        columns: Range<usize>,
        scratch: &'a mut [Self::Unit],
    ) -> [&'a [Self::Unit]; HEIGHT];

    /// Adds to the sums of a tile.
    fn add(
        path: Path,
        weights: [&[Self::Unit]; HEIGHT],
        panel: &[Self::Unit],
        width: usize,
        sums: &mut Sums,
    );
}

/// 32-bit floats.
struct Floats;

/// Pairs of brain floats.
struct Pairs;

fn product<A: Arithmetic, W: Rows, E: Element>(
    path: Path,
    panels: &Panels<A::Unit>,
    weights: W,
    bias: Option<&[f32]>,
    out: &mut [E],
) {
    let [inputs, outputs] = [weights.inputs(), weights.outputs()];
    let rows = panels.rows;
    let out = Filled::new(out, outputs);
    // Enough chunks that threads end together, few enough that each reads the panels seldom.
    let groups = outputs.div_ceil(HEIGHT);
    let chunk = groups.div_ceil(4 * threads()).clamp(1, 16);
    parallel(groups.div_ceil(chunk), &|index| {
        let groups = index * chunk..((index + 1) * chunk).min(groups);
        let mut sums = vec![[[0.0; WIDTH]; HEIGHT]; groups.len() * panels.count()];
        let size = match A::lies_ready::<W>(inputs) {
            true => 0,
            false => groups.len() * HEIGHT * DEPTH.min(panels.depth),
        };
        let mut scratch = vec![A::Unit::default(); size];
        for from in (0..panels.depth).step_by(DEPTH) {
            let to = (from + DEPTH).min(panels.depth);
            let numbers = from * A::NUMBERS..(to * A::NUMBERS).min(inputs);
            let mut scratch = scratch.chunks_mut(HEIGHT * (to - from));
            let units = groups.clone().map(|group| {
                let scratch = scratch.next().unwrap_or_default();
                A::units(&weights, group * HEIGHT, numbers.clone(), scratch)
            });
            let units: Vec<_> = units.collect();
            for index in 0..panels.count() {
                let (panel, width) = panels.panel(index, from, to);
                let sums = &mut sums[index * groups.len()..];
                for (units, sums) in units.iter().zip(sums) {
                    A::add(path, *units, panel, width, sums);
                }
            }
        }
        for (position, sums) in sums.iter().enumerate() {
            let panel = position / groups.len();
            let first = (groups.start + position % groups.len()) * HEIGHT;
            let height = (outputs - first).min(HEIGHT);
            let shifts: [f32; HEIGHT] = std::array::from_fn(|index| {
                bias.map_or(0.0, |bias| bias[first + index.min(height - 1)])
            });
            let lanes = (rows - panel * WIDTH).min(WIDTH);
            let column = |lane: usize| sums.each_ref().map(|row: &[f32; WIDTH]| row[lane]);
            for (lane, sums) in (0..lanes).map(|lane| (lane, column(lane))) {
                // SAFETY: chunks have different outputs.
                let out = unsafe { out.part(panel * WIDTH + lane, first, height) };
                for ((out, sum), shift) in out.iter_mut().zip(sums).zip(shifts) {
                    *out = E::from_f32(sum + shift);
                }
            }
        }
    });
}

impl Arithmetic for Floats {
    type Unit = f32;
    const NUMBERS: usize = 1;

    fn lies_ready<W: Rows>(_inputs: usize) -> bool {
        W::FLOATS
    }

    #[inline]
    fn units<'a, W: Rows>(
        weights: &'a W,
        first: usize,
        columns: Range<usize>,
        scratch: &'a mut [f32],
    ) -> [&'a [f32]; HEIGHT] {
        if let Some(rows) = weights.floats(first, columns.clone()) {
            return rows;
        }
        let depth = columns.len();
        for (index, to) in scratch
            .chunks_exact_mut(depth.max(1))
            .take(HEIGHT)
            .enumerate()
        {
            let output = (first + index).min(weights.outputs() - 1);
            weights.read(output, columns.clone(), to);
        }
        std::array::from_fn(|row| &scratch[row * depth..(row + 1) * depth])
    }

    #[inline]
    fn add(path: Path, weights: [&[f32]; HEIGHT], panel: &[f32], width: usize, sums: &mut Sums) {
        add_floats(path, weights, 1, panel, width, sums);
    }
}

/// Adds the products of a panel and eight rows of floats to a tile, where the numbers of a row are `step` apart.
#[inline]
pub fn add_floats(
    path: Path,
    weights: [&[f32]; HEIGHT],
    step: usize,
    panel: &[f32],
    width: usize,
    sums: &mut Sums,
) {
    match (path, width / LANES) {
        // SAFETY: the path says that the processor has the instructions.
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512 | Path::Avx512Bf16, 3) => unsafe {
            avx512::floats::<3>(weights, step, panel, sums)
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512 | Path::Avx512Bf16, 2) => unsafe {
            avx512::floats::<2>(weights, step, panel, sums)
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        (Path::Avx512 | Path::Avx512Bf16, _) => unsafe {
            avx512::floats::<1>(weights, step, panel, sums)
        },
        // SAFETY: the same.
        #[cfg(target_arch = "x86_64")]
        (Path::Avx2, _) => unsafe { avx2::floats(weights, step, panel, width, sums) },
        _ => floats::<4, 8>(weights, step, panel, width, sums),
    }
}

impl Arithmetic for Pairs {
    type Unit = [bf16; 2];
    const NUMBERS: usize = 2;

    fn lies_ready<W: Rows>(inputs: usize) -> bool {
        inputs.is_multiple_of(2) && W::BRAIN_FLOATS
    }

    #[inline]
    fn units<'a, W: Rows>(
        weights: &'a W,
        first: usize,
        columns: Range<usize>,
        scratch: &'a mut [[bf16; 2]],
    ) -> [&'a [[bf16; 2]]; HEIGHT] {
        let depth = columns.len().div_ceil(2);
        if columns.len() == 2 * depth
            && let Some(rows) = weights.brain_floats::<HEIGHT>(first, columns.clone())
        {
            return rows.map(|row| row.as_chunks().0);
        }
        for (index, to) in scratch
            .chunks_exact_mut(depth.max(1))
            .take(HEIGHT)
            .enumerate()
        {
            let to = to.as_flattened_mut();
            to[columns.len()..].fill(bf16::ZERO);
            let output = (first + index).min(weights.outputs() - 1);
            weights.read(output, columns.clone(), &mut to[..columns.len()]);
        }
        std::array::from_fn(|row| &scratch[row * depth..(row + 1) * depth])
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    fn add(
        _: Path,
        weights: [&[[bf16; 2]]; HEIGHT],
        panel: &[[bf16; 2]],
        width: usize,
        sums: &mut Sums,
    ) {
        // SAFETY: pairs are made where the processor has the instructions.
        unsafe {
            match width / LANES {
                3 => avx512::pairs::<3>(weights, 1, panel, sums),
                2 => avx512::pairs::<2>(weights, 1, panel, sums),
                _ => avx512::pairs::<1>(weights, 1, panel, sums),
            }
        }
    }

    #[cfg(not(target_arch = "x86_64"))]
    fn add(_: Path, _: [&[[bf16; 2]]; HEIGHT], _: &[[bf16; 2]], _: usize, _: &mut Sums) {
        unreachable!("no path of this target makes pairs")
    }
}

/// A tile in parts of `R` rows by `L` lanes, as many as the registers hold.
#[inline(always)]
fn floats<const R: usize, const L: usize>(
    weights: [&[f32]; HEIGHT],
    step: usize,
    panel: &[f32],
    width: usize,
    sums: &mut Sums,
) {
    for top in (0..HEIGHT).step_by(R) {
        let rows: [&[f32]; R] = std::array::from_fn(|row| weights[top + row]);
        for left in (0..width).step_by(L) {
            let mut part = [[0f32; L]; R];
            for (row, part) in part.iter_mut().enumerate() {
                part.copy_from_slice(&sums[top + row][left..left + L]);
            }
            for (at, column) in panel.chunks_exact(width).enumerate() {
                let column: &[f32; L] = column[left..left + L].try_into().expect("L lanes");
                for (part, row) in part.iter_mut().zip(rows) {
                    let weight = row[at * step];
                    for (sum, x) in part.iter_mut().zip(column) {
                        *sum += weight * x;
                    }
                }
            }
            for (row, part) in part.iter().enumerate() {
                sums[top + row][left..left + L].copy_from_slice(part);
            }
        }
    }
}
