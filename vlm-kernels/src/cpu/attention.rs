//! Attention of a few heads to keys and values that stay where they are.
//!
//! The queries that share keys (a group's heads, one position after the other) are rows of a panel, keys the
//! weights of a product; the scores come out as the panel of the next, whose weights are the values.

use crate::Path;

use super::{
    dot::Weight,
    few_queries::{FEW, few_queries},
    math::exp,
    matrix::Filled,
    pool::parallel,
    tile::{HEIGHT, LANES, Sums, WIDTH, add_floats},
    vectors::{Body, with_path},
};

/// Four dimensions, `[batch, heads, positions, head_dim]`, the last contiguous.
#[derive(Clone, Copy, Debug)]
pub struct Heads<'a, E> {
    /// From the first number on.
    pub data: &'a [E],
    /// Sizes.
    pub dims: [usize; 4],
    /// Distances of the first three dimensions.
    pub strides: [usize; 3],
}

impl<'a, E> Heads<'a, E> {
    /// From a position of a head on.
    pub fn starting_at(&self, batch: usize, head: usize, position: usize) -> &'a [E] {
        let [b, h, p] = self.strides;
        &self.data[batch * b + head * h + position * p..]
    }

    /// A position of a head.
    pub fn row(&self, batch: usize, head: usize, position: usize) -> &'a [E] {
        let [b, h, p] = self.strides;
        let begin = batch * b + head * h + position * p;
        &self.data[begin..begin + self.dims[3]]
    }
}

/// Who must not look at whom.
#[derive(Clone, Copy, Debug)]
pub struct Hidden<'a> {
    /// `[batch or 1, queries, keys]`, not 0 is hidden.
    pub mask: Option<&'a [u8]>,
    /// Whether the mask has a part for each row of the batch.
    pub by_batch: bool,
    /// Whether later keys are hidden, the last query being aligned with the last key.
    pub causal: bool,
}

/// `softmax(q · kᵀ / √head_dim) · v`; a query that sees nothing gets zeros.
///
/// # Shapes
/// - query: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, kv_heads, keys, head_dim]`
/// - out: `[batch, queries, heads, head_dim]`
pub fn attention<E: Weight>(
    path: Path,
    query: Heads<'_, E>,
    key: Heads<'_, E>,
    value: Heads<'_, E>,
    hidden: Hidden<'_>,
    out: &mut [E],
) {
    let [batch, heads, queries, head_dim] = query.dims;
    let [_, kv_heads, keys, _] = key.dims;
    let value_dim = value.dims[3];
    let rows = heads / kv_heads * queries;
    if rows <= FEW {
        return few_queries(path, query, key, value, hidden, out);
    }
    let panels = rows.div_ceil(WIDTH);
    let out = Filled::new(out, value_dim);
    let scale = (head_dim as f32).sqrt().recip();
    parallel(batch * kv_heads * panels, &|index| {
        let (index, panel) = (index / panels, index % panels);
        let (batch, kv_head) = (index / kv_heads, index % kv_heads);
        let first = panel * WIDTH;
        let count = (rows - first).min(WIDTH);
        let width = count.next_multiple_of(LANES);
        let place = |lane: usize| ((first + lane) / queries, (first + lane) % queries);
        let head = |lane: usize| kv_head * (heads / kv_heads) + place(lane).0;
        // Keys that some query of the panel sees.
        let seen = |query: usize| match hidden.causal {
            true => (query + 1 + keys).saturating_sub(queries).min(keys),
            false => keys,
        };
        let keys_seen = (0..count).map(|lane| seen(place(lane).1)).max();
        let keys_seen = keys_seen.unwrap_or(0);

        let mut packed = vec![0.0; head_dim * width];
        for lane in 0..count {
            let row = query.row(batch, head(lane), place(lane).1);
            for (column, value) in packed.chunks_exact_mut(width).zip(row) {
                column[lane] = value.to_f32() * scale;
            }
        }
        let mut scores = vec![0.0; keys_seen * width];
        let mut lines = vec![0.0; HEIGHT * head_dim.max(1)];
        for (group, scores) in scores.chunks_mut(HEIGHT * width).enumerate() {
            let height = scores.len() / width;
            let mut lines = lines.chunks_exact_mut(head_dim.max(1));
            let rows: [&[E]; HEIGHT] = std::array::from_fn(|line| {
                key.row(batch, kv_head, group * HEIGHT + line.min(height - 1))
            });
            let lines = E::floats(rows).unwrap_or_else(|| {
                rows.map(|row| {
                    let to = lines.next().expect("eight lines");
                    to.iter_mut()
                        .zip(row)
                        .for_each(|(to, value)| *to = value.to_f32());
                    &*to
                })
            });
            let mut sums: Sums = [[0.0; WIDTH]; HEIGHT];
            add_floats(path, lines, 1, &packed, width, &mut sums);
            for (scores, sums) in scores.chunks_exact_mut(width).zip(&sums) {
                scores.copy_from_slice(&sums[..width]);
            }
        }
        for lane in 0..count {
            let query = place(lane).1;
            for key in seen(query)..keys_seen {
                scores[key * width + lane] = f32::NEG_INFINITY;
            }
            if let Some(mask) = hidden.mask {
                let row = query + if hidden.by_batch { batch * queries } else { 0 };
                for (key, hidden) in mask[row * keys..][..keys_seen].iter().enumerate() {
                    if *hidden != 0 {
                        scores[key * width + lane] = f32::NEG_INFINITY;
                    }
                }
            }
        }
        let sums = softmax(path, &mut scores, width);

        let mut copied = Vec::new();
        let (values, stride) = match E::floats([value.starting_at(batch, kv_head, 0)]) {
            Some([values]) => (values, value.strides[2]),
            None => {
                copied.reserve(keys_seen * value_dim);
                for position in 0..keys_seen {
                    let row = value.row(batch, kv_head, position);
                    copied.extend(row.iter().map(|value| value.to_f32()));
                }
                (&copied[..], value_dim)
            }
        };
        for column in (0..value_dim).step_by(HEIGHT) {
            let mut tile: Sums = [[0.0; WIDTH]; HEIGHT];
            let height = (value_dim - column).min(HEIGHT);
            if keys_seen > 0 {
                let lines = std::array::from_fn(|line| &values[column + line.min(height - 1)..]);
                add_floats(path, lines, stride, &scores, width, &mut tile);
            }
            for lane in 0..count {
                let row = (batch * queries + place(lane).1) * heads + head(lane);
                // SAFETY: each query of each head is one thread's.
                let out = unsafe { out.part(row, column, height) };
                let factor = if sums[lane] > 0.0 {
                    sums[lane].recip()
                } else {
                    sums[lane]
                };
                for (line, out) in out.iter_mut().enumerate() {
                    *out = E::from_f32(tile[line][lane] * factor);
                }
            }
        }
    });
}

/// Makes scores, `[keys][width]`, their exponentials, and returns the sum of each lane.
pub(super) fn softmax(path: Path, scores: &mut [f32], width: usize) -> [f32; WIDTH] {
    let mut sums = [0.0; WIDTH];
    for left in (0..width).step_by(LANES) {
        let scores = Lanes {
            scores,
            left,
            width,
        };
        sums[left..left + LANES].copy_from_slice(&with_path(path, scores));
    }
    sums
}

/// Sixteen lanes of the scores.
struct Lanes<'a> {
    scores: &'a mut [f32],
    left: usize,
    width: usize,
}

impl Body for Lanes<'_> {
    type Output = [f32; LANES];

    #[inline(always)]
    fn run(self) -> [f32; LANES] {
        let Self {
            scores,
            left,
            width,
        } = self;

        let mut peaks = [f32::NEG_INFINITY; LANES];
        for row in scores.chunks_exact(width) {
            for (peak, score) in peaks.iter_mut().zip(&row[left..left + LANES]) {
                *peak = if *score > *peak { *score } else { *peak };
            }
        }
        // Where all is hidden, there is nothing to take away.
        let peaks = peaks.map(|peak| if peak == f32::NEG_INFINITY { 0.0 } else { peak });
        let mut sums = [0.0; LANES];
        for row in scores.chunks_exact_mut(width) {
            let row: &mut [f32; LANES] = (&mut row[left..left + LANES]).try_into().expect("lanes");
            for lane in 0..LANES {
                row[lane] = exp(row[lane] - peaks[lane]);
                sums[lane] += row[lane];
            }
        }
        sums
    }
}
