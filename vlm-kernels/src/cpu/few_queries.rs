//! Attention of few queries, as in decoding: keys and values are read once, where the cache holds them.
//!
//! The keys of a head are parted among the threads, each of which has its own largest score; the parts are put
//! together at the end ([Dao et al. 2023](https://crfm.stanford.edu/2023/10/12/flashdecoding.html)).

use crate::Path;

use super::{
    attention::{Heads, Hidden},
    dot::Weight,
    math::exp,
    matrix::Filled,
    pool::{parallel, threads},
    vectors::{Body, with_path},
};

/// More queries to the same keys than this are worth a tile.
pub const FEW: usize = 8;
/// Keys that a thread takes at a time, at least.
const KEYS: usize = 32;
const LANES: usize = 16;

/// As [`attention`](super::attention::attention), for queries of which at most [`FEW`] have the same keys.
pub fn few_queries<E: Weight>(
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
    let group = heads / kv_heads;
    let rows = group * queries;
    let scale = (head_dim as f32).sqrt().recip();
    let parts = (4 * threads()).div_ceil(batch * kv_heads);
    let parts = parts.min(keys.div_ceil(KEYS)).max(1);
    let step = keys.div_ceil(parts);
    // Of each row: its largest score, the sum of the exponentials, and the values they weigh.
    let width = 2 + value_dim;
    let mut found = vec![0.0; batch * kv_heads * parts * rows * width];
    let filled = Filled::new(&mut found, width);
    parallel(batch * kv_heads * parts, &|index| {
        let (head, part) = (index / parts, index % parts);
        let (batch, head) = (head / kv_heads, head % kv_heads);
        let first = (part * step).min(keys);
        let mut scaled = vec![0.0; head_dim];
        let mut scores = vec![0.0; step];
        for row in 0..rows {
            let (of, position) = (head * group + row / queries, row % queries);
            // SAFETY: each part of each row is one thread's.
            let found = unsafe { filled.part(index * rows + row, 0, width) };
            let seen = match hidden.causal {
                true => (position + 1 + keys).saturating_sub(queries).min(keys),
                false => keys,
            };
            let count = seen.min(first + step).saturating_sub(first);
            let scores = &mut scores[..count];
            if count == 0 {
                found[0] = f32::NEG_INFINITY;
                continue;
            }
            let from = query.row(batch, of, position);
            for (to, value) in scaled.iter_mut().zip(from) {
                *to = value.to_f32() * scale;
            }
            let keys_from = (key.starting_at(batch, head, first), key.strides[2]);
            let query = &scaled[..];
            match path {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the path says that the processor has the instructions.
                Path::Avx512 | Path::Avx512Bf16 => unsafe {
                    avx512::products(query, keys_from, scores);
                },
                _ => with_path(
                    path,
                    Scores {
                        query,
                        keys: keys_from,
                        scores,
                    },
                ),
            }
            if let Some(mask) = hidden.mask {
                let row = position + if hidden.by_batch { batch * queries } else { 0 };
                let mask = &mask[row * keys + first..];
                for (score, hidden) in scores.iter_mut().zip(mask) {
                    if *hidden != 0 {
                        *score = f32::NEG_INFINITY;
                    }
                }
            }
            let values = (value.starting_at(batch, head, first), value.strides[2]);
            let (numbers, found) = found.split_at_mut(2);
            (numbers[0], numbers[1]) = with_path(path, Exponentials { scores });
            match path {
                #[cfg(target_arch = "x86_64")]
                // SAFETY: the path says that the processor has the instructions.
                Path::Avx512 | Path::Avx512Bf16 => unsafe {
                    avx512::weigh(scores, values, found);
                },
                _ => with_path(
                    path,
                    Values {
                        scores,
                        values,
                        found,
                    },
                ),
            }
        }
    });
    let (mut shares, mut joined) = (Vec::with_capacity(parts), vec![0.0; value_dim]);
    for (index, out) in out.chunks_exact_mut(value_dim.max(1)).enumerate() {
        let (row, head) = (index / heads, index % heads);
        let (batch, position) = (row / queries, row % queries);
        let row = head % group * queries + position;
        let part = |part: usize| {
            let index = (batch * kv_heads + head / group) * parts + part;
            &found[(index * rows + row) * width..][..width]
        };
        let peak = (0..parts).map(|index| part(index)[0]);
        let peak = peak.fold(
            f32::NEG_INFINITY,
            |a, b| if b > a || b.is_nan() { b } else { a },
        );
        let share = |index: usize| match part(index)[0] {
            own if own == f32::NEG_INFINITY => 0.0,
            own => exp(own - peak),
        };
        shares.clear();
        shares.extend((0..parts).map(share));
        let sums = shares.iter().enumerate();
        let sum: f32 = sums.map(|(index, share)| share * part(index)[1]).sum();
        let factor = if sum > 0.0 { sum.recip() } else { sum };
        joined.fill(0.0);
        for (index, share) in shares.iter().enumerate() {
            // What has no share counts nothing, whatever it is.
            if *share != 0.0 {
                for (joined, value) in joined.iter_mut().zip(&part(index)[2..]) {
                    *joined += share * value;
                }
            }
        }
        for (out, joined) in out.iter_mut().zip(&joined) {
            *out = E::from_f32(joined * factor);
        }
    }
}

/// The products of a query with keys, so far apart.
struct Scores<'a, E> {
    query: &'a [f32],
    keys: (&'a [E], usize),
    scores: &'a mut [f32],
}

impl<E: Weight> Body for Scores<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let (keys, stride) = self.keys;
        let (query, rest) = self.query.as_chunks::<LANES>();
        for (index, score) in self.scores.iter_mut().enumerate() {
            let key = &keys[index * stride..][..self.query.len()];
            let (key, key_rest) = key.as_chunks::<LANES>();
            let mut sums = [0f32; LANES];
            for (query, key) in query.iter().zip(key) {
                for lane in 0..LANES {
                    sums[lane] += query[lane] * key[lane].to_f32();
                }
            }
            *score = total(sums);
            for (query, key) in rest.iter().zip(key_rest) {
                *score += query * key.to_f32();
            }
        }
    }
}

/// In halves, as vectors are summed; without a closure, which would not have the instructions of a path.
#[inline(always)]
fn total(mut sums: [f32; LANES]) -> f32 {
    for half in [8, 4, 2, 1] {
        for lane in 0..half {
            sums[lane] += sums[lane + half];
        }
    }
    sums[0]
}

/// Makes scores their exponentials, less the largest; gives that and their sum.
struct Exponentials<'a> {
    scores: &'a mut [f32],
}

impl Body for Exponentials<'_> {
    type Output = (f32, f32);

    #[inline(always)]
    fn run(self) -> (f32, f32) {
        let mut peaks = [f32::NEG_INFINITY; LANES];
        let (chunks, rest) = self.scores.as_chunks::<LANES>();
        for chunk in chunks {
            for (peak, score) in peaks.iter_mut().zip(chunk) {
                *peak = if *score > *peak { *score } else { *peak };
            }
        }
        let peak = peaks.iter().chain(rest).copied();
        let peak = peak.fold(f32::NEG_INFINITY, |a, b| if b > a { b } else { a });
        // Where all is hidden, there is nothing to take away.
        let level = if peak == f32::NEG_INFINITY { 0.0 } else { peak };
        for score in self.scores.iter_mut() {
            *score = exp(*score - level);
        }
        let mut sums = [0f32; LANES];
        let (chunks, rest) = self.scores.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, score) in sums.iter_mut().zip(chunk) {
                *sum += score;
            }
        }
        (peak, total(sums) + rest.iter().sum::<f32>())
    }
}

/// Values, so far apart, weighed and added.
struct Values<'a, E> {
    scores: &'a [f32],
    values: (&'a [E], usize),
    found: &'a mut [f32],
}

impl<E: Weight> Body for Values<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let out = self.found;
        let mut column = 0;
        while column < out.len() {
            let left = out.len() - column;
            let out = &mut out[column..];
            column += match left {
                64.. => weigh::<E, 64>(self.scores, self.values, column, out),
                16.. => weigh::<E, 16>(self.scores, self.values, column, out),
                _ => weigh::<E, 1>(self.scores, self.values, column, out),
            };
        }
    }
}

/// `N` columns of the sum of values by their weights; gives `N`.
#[inline(always)]
fn weigh<E: Weight, const N: usize>(
    weights: &[f32],
    (values, stride): (&[E], usize),
    column: usize,
    out: &mut [f32],
) -> usize {
    let mut sums = [0f32; N];
    for (index, weight) in weights.iter().enumerate() {
        let values: &[E; N] = values[index * stride + column..][..N]
            .try_into()
            .expect("N");
        for lane in 0..N {
            sums[lane] += weight * values[lane].to_f32();
        }
    }
    out[..N].copy_from_slice(&sums);
    N
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{LANES, Weight};

    /// As [`Scores`](super::Scores).
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn products<E: Weight>(
        query: &[f32],
        (keys, stride): (&[E], usize),
        scores: &mut [f32],
    ) {
        let dim = query.len();
        assert!(scores.is_empty() || (scores.len() - 1) * stride + dim <= keys.len());
        for (index, score) in scores.iter_mut().enumerate() {
            let mut sum = _mm512_setzero_ps();
            for at in (0..dim).step_by(LANES) {
                let count = (dim - at).min(LANES);
                // SAFETY: `count` numbers lie within the query and, by the assertion, within the keys.
                unsafe {
                    let query = <f32 as Weight>::load_16(query.as_ptr().add(at), count);
                    let key = E::load_16(keys.as_ptr().add(index * stride + at), count);
                    sum = _mm512_fmadd_ps(query, key, sum);
                }
            }
            *score = _mm512_reduce_add_ps(sum);
        }
    }

    /// As [`Values`](super::Values).
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VL.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub unsafe fn weigh<E: Weight>(
        weights: &[f32],
        (values, stride): (&[E], usize),
        out: &mut [f32],
    ) {
        let dim = out.len();
        assert!(weights.is_empty() || (weights.len() - 1) * stride + dim <= values.len());
        let mut column = 0;
        while column < dim {
            // SAFETY: so many columns are left, and values reach there by the assertion.
            unsafe {
                column += match dim - column {
                    64.. => columns::<E, 4>(weights, (values, stride), column, out),
                    _ => columns::<E, 1>(weights, (values, stride), column, out),
                };
            }
        }
    }

    /// The sums of `N` vectors of columns, the last perhaps not full; gives their number.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn columns<E: Weight, const N: usize>(
        weights: &[f32],
        (values, stride): (&[E], usize),
        column: usize,
        out: &mut [f32],
    ) -> usize {
        let count = if N > 1 {
            LANES
        } else {
            (out.len() - column).min(LANES)
        };
        let mut sums = [_mm512_setzero_ps(); N];
        for (index, weight) in weights.iter().enumerate() {
            let weight = _mm512_set1_ps(*weight);
            for (lane, sum) in sums.iter_mut().enumerate() {
                // SAFETY: the caller's.
                unsafe {
                    let from = values.as_ptr().add(index * stride + column + lane * LANES);
                    *sum = _mm512_fmadd_ps(weight, E::load_16(from, count), *sum);
                }
            }
        }
        for (lane, sum) in sums.into_iter().enumerate() {
            let mask = u16::MAX >> (LANES - count);
            // SAFETY: the caller's.
            unsafe {
                let to = out.as_mut_ptr().add(column + lane * LANES);
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
        N * count
    }
}
