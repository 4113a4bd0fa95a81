//! Gradients of attention, with its weights made anew for a panel of queries at a time, so that no
//! `[heads, queries, keys]` is kept ([Dao et al. 2022](https://arxiv.org/abs/2205.14135)).

use crate::{
    Path,
    cpu::{
        attention::{Heads, Hidden, softmax},
        matrix::Filled,
        pool::parallel,
        tile::{HEIGHT, LANES, Sums, WIDTH, add_floats},
        vectors::{Body, with_path},
    },
};

/// The gradients of query, key and value, `[batch, positions, heads, head_dim]` each.
pub type Gradients<'a> = [&'a mut [f32]; 3];

/// Fills the gradients of `softmax(q · kᵀ / √head_dim) · v`.
///
/// A thread takes a key head with all of its queries, one panel after the other, so that sums over queries are
/// its own. With the weights `P`: `dV = Pᵀ dO`, `dP = dO Vᵀ`, `dS = P ∘ (dP - rowsum(P ∘ dP))`,
/// `dQ = dS K / √head_dim` and `dK = dSᵀ Q / √head_dim`.
///
/// # Shapes
/// - query: `[batch, heads, queries, head_dim]`
/// - key, value: `[batch, kv_heads, keys, head_dim]`
/// - grad: as the output, `[batch, heads, queries, value_dim]`
pub fn attention(
    path: Path,
    [query, key, value, grad]: [Heads<'_, f32>; 4],
    hidden: Hidden<'_>,
    gradients: Gradients<'_>,
) {
    let [batch, heads, queries, head_dim] = query.dims;
    let [_, kv_heads, keys, _] = key.dims;
    let value_dim = value.dims[3];
    let rows = heads / kv_heads * queries;
    let scale = (head_dim as f32).sqrt().recip();
    let [dq, dk, dv] = gradients;
    let (dq, dk, dv) = (
        Filled::new(dq, head_dim),
        Filled::new(dk, head_dim),
        Filled::new(dv, value_dim),
    );
    parallel(batch * kv_heads, &|index| {
        let (batch, kv_head) = (index / kv_heads, index % kv_heads);
        let mut dk_sums = Blocks::new(keys, head_dim);
        let mut dv_sums = Blocks::new(keys, value_dim);
        let mut scores = vec![0.0; keys * WIDTH];
        let mut slopes = vec![0.0; keys * WIDTH];
        for first in (0..rows).step_by(WIDTH) {
            let count = (rows - first).min(WIDTH);
            let width = count.next_multiple_of(LANES);
            let place = |lane: usize| ((first + lane) / queries, (first + lane) % queries);
            let head = |lane: usize| kv_head * (heads / kv_heads) + place(lane).0;
            let seen = |query: usize| match hidden.causal {
                true => (query + 1 + keys).saturating_sub(queries).min(keys),
                false => keys,
            };
            let keys_seen = (0..count).map(|lane| seen(place(lane).1)).max();
            let keys_seen = keys_seen.unwrap_or(0);
            if keys_seen == 0 {
                continue;
            }
            let query = Packed::new(count, head_dim, scale, |lane| {
                query.row(batch, head(lane), place(lane).1)
            });
            let grad = Packed::new(count, value_dim, 1.0, |lane| {
                grad.row(batch, head(lane), place(lane).1)
            });
            let scores = &mut scores[..keys_seen * width];
            let slopes = &mut slopes[..keys_seen * width];
            products(path, |at| key.row(batch, kv_head, at), &query, scores);
            products(path, |at| value.row(batch, kv_head, at), &grad, slopes);
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
            let sums = softmax(path, scores, width);
            for left in (0..width).step_by(LANES) {
                let weights = Lanes {
                    scores,
                    slopes,
                    sums: &sums[left..left + LANES],
                    left,
                    width,
                };
                with_path(path, weights);
            }
            dv_sums.add(path, scores, width, &grad);
            dk_sums.add(path, slopes, width, &query);
            let keys = key.starting_at(batch, kv_head, 0);
            for column in (0..head_dim).step_by(HEIGHT) {
                let mut tile: Sums = [[0.0; WIDTH]; HEIGHT];
                let height = (head_dim - column).min(HEIGHT);
                let lines = std::array::from_fn(|line| &keys[column + line.min(height - 1)..]);
                add_floats(path, lines, key.strides[2], slopes, width, &mut tile);
                let sums = |lane: usize| tile.each_ref().map(|line| line[lane] * scale);
                for (lane, sums) in (0..count).map(|lane| (lane, sums(lane))) {
                    let row = (batch * queries + place(lane).1) * heads + head(lane);
                    // SAFETY: each query of each head is one thread's.
                    let out = unsafe { dq.part(row, column, height) };
                    out.copy_from_slice(&sums[..height]);
                }
            }
        }
        for at in 0..keys {
            let row = (batch * keys + at) * kv_heads + kv_head;
            // SAFETY: each key of each head is one thread's.
            let (dk, dv) = unsafe { (dk.part(row, 0, head_dim), dv.part(row, 0, value_dim)) };
            dk_sums.write(at, dk);
            dv_sums.write(at, dv);
        }
    });
}

/// Rows of queries or their gradients, for both ways of multiplying them.
struct Packed {
    /// `[size][width]`: a vector has one column of some rows.
    columns: Vec<f32>,
    /// `[size / WIDTH][count][width of the block]`: a vector has some columns of one row.
    rows: Vec<f32>,
    count: usize,
    size: usize,
}

impl Packed {
    fn new<'a>(count: usize, size: usize, scale: f32, row: impl Fn(usize) -> &'a [f32]) -> Self {
        let width = count.next_multiple_of(LANES);
        let mut columns = vec![0.0; size * width];
        let mut rows = vec![0.0; size.next_multiple_of(LANES) * count];
        for lane in 0..count {
            let row = row(lane);
            for (column, value) in columns.chunks_exact_mut(width).zip(row) {
                column[lane] = value * scale;
            }
            for (block, values) in row.chunks(WIDTH).enumerate() {
                let width = values.len().next_multiple_of(LANES);
                let begin = block * WIDTH * count + lane * width;
                for (to, value) in rows[begin..].iter_mut().zip(values) {
                    *to = value * scale;
                }
            }
        }
        Self {
            columns,
            rows,
            count,
            size,
        }
    }

    /// Columns from `block · WIDTH` on, and how many they are with padding.
    fn block(&self, block: usize) -> (&[f32], usize) {
        let left = self.size - block * WIDTH;
        let width = left.min(WIDTH).next_multiple_of(LANES);
        let begin = block * WIDTH * self.count;
        (&self.rows[begin..begin + width * self.count], width)
    }
}

/// `line · column` of all lines with the packed rows, `[lines][width]`.
fn products<'a>(path: Path, line: impl Fn(usize) -> &'a [f32], packed: &Packed, out: &mut [f32]) {
    let width = packed.count.next_multiple_of(LANES);
    for (group, out) in out.chunks_mut(HEIGHT * width).enumerate() {
        let height = out.len() / width;
        let lines = std::array::from_fn(|index| line(group * HEIGHT + index.min(height - 1)));
        let mut sums: Sums = [[0.0; WIDTH]; HEIGHT];
        add_floats(path, lines, 1, &packed.columns, width, &mut sums);
        for (out, sums) in out.chunks_exact_mut(width).zip(&sums) {
            out.copy_from_slice(&sums[..width]);
        }
    }
}

/// Sums for every key, in tiles.
struct Blocks {
    tiles: Vec<Sums>,
    across: usize,
}

impl Blocks {
    fn new(keys: usize, size: usize) -> Self {
        let across = size.div_ceil(WIDTH);
        Self {
            tiles: vec![[[0.0; WIDTH]; HEIGHT]; keys.div_ceil(HEIGHT) * across],
            across,
        }
    }

    /// Adds `factors`, `[keys][width]`, times the packed rows.
    fn add(&mut self, path: Path, factors: &[f32], width: usize, packed: &Packed) {
        let groups = factors.chunks(HEIGHT * width);
        for (factors, tiles) in groups.zip(self.tiles.chunks_exact_mut(self.across.max(1))) {
            let height = factors.len() / width;
            let lines = std::array::from_fn(|line| {
                &factors[line.min(height - 1) * width..][..packed.count]
            });
            for (block, tile) in tiles.iter_mut().enumerate() {
                let (rows, width) = packed.block(block);
                add_floats(path, lines, 1, rows, width, tile);
            }
        }
    }

    fn write(&self, key: usize, to: &mut [f32]) {
        let tiles = &self.tiles[key / HEIGHT * self.across..];
        for (to, tile) in to.chunks_mut(WIDTH).zip(tiles) {
            to.copy_from_slice(&tile[key % HEIGHT][..to.len()]);
        }
    }
}

/// Sixteen lanes: exponentials become weights, slopes of weights those of scores.
struct Lanes<'a> {
    scores: &'a mut [f32],
    slopes: &'a mut [f32],
    sums: &'a [f32],
    left: usize,
    width: usize,
}

impl Body for Lanes<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let lanes = self.left..self.left + LANES;
        let mut factors = [0.0; LANES];
        for (factor, sum) in factors.iter_mut().zip(self.sums) {
            // A query that sees nothing has no weights.
            *factor = if *sum > 0.0 { sum.recip() } else { *sum };
        }
        let mut means = [0.0; LANES];
        let rows = self.scores.chunks_exact_mut(self.width);
        for (scores, slopes) in rows.zip(self.slopes.chunks_exact(self.width)) {
            let scores: &mut [f32; LANES] = (&mut scores[lanes.clone()]).try_into().expect("lanes");
            let slopes: &[f32; LANES] = slopes[lanes.clone()].try_into().expect("lanes");
            for lane in 0..LANES {
                scores[lane] *= factors[lane];
                means[lane] += scores[lane] * slopes[lane];
            }
        }
        let rows = self.slopes.chunks_exact_mut(self.width);
        for (slopes, scores) in rows.zip(self.scores.chunks_exact(self.width)) {
            let slopes: &mut [f32; LANES] = (&mut slopes[lanes.clone()]).try_into().expect("lanes");
            let scores: &[f32; LANES] = scores[lanes.clone()].try_into().expect("lanes");
            for lane in 0..LANES {
                slopes[lane] = scores[lane] * (slopes[lane] - means[lane]);
            }
        }
    }
}
