//! Functions of every number alone, and norms of rows.

use std::marker::PhantomData;

use crate::{Function, Path};

use super::{
    attention::Heads,
    element::Element,
    math::{erf, sigmoid, tanh},
    matrix::Filled,
    pool::parallel,
    vectors::{Body, with_path},
};

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 13;
/// Lanes of a sum, which the compiler puts into vectors.
const LANES: usize = 16;

/// `function(x)`, times `factor` where there is one.
pub fn map<E: Element>(
    path: Path,
    function: Function,
    x: &[E],
    factor: Option<&[E]>,
    out: &mut [E],
) {
    match function {
        Function::Silu => each::<E, Silu>(path, x, factor, out),
        Function::QuickGelu => each::<E, QuickGelu>(path, x, factor, out),
        Function::Gelu => each::<E, Gelu>(path, x, factor, out),
        Function::GeluTanh => each::<E, GeluTanh>(path, x, factor, out),
    }
}

/// A function of a number; `of` is always inlined.
trait Of {
    fn of(x: f32) -> f32;
}

struct Silu;
struct QuickGelu;
struct Gelu;
struct GeluTanh;

impl Of for Silu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x * sigmoid(x)
    }
}

impl Of for QuickGelu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        x * sigmoid(1.702 * x)
    }
}

impl Of for Gelu {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
    }
}

impl Of for GeluTanh {
    #[inline(always)]
    fn of(x: f32) -> f32 {
        let inner = 0.797_884_6 * (x + 0.044_715 * x * x * x);
        0.5 * x * (1.0 + tanh(inner))
    }
}

fn each<E: Element, F: Of>(path: Path, x: &[E], factor: Option<&[E]>, out: &mut [E]) {
    assert!(x.len() == out.len() && factor.is_none_or(|factor| factor.len() == out.len()));
    let len = out.len();
    let out = Filled::new(out, CHUNK);
    parallel(len.div_ceil(CHUNK), &|chunk| {
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(len);
        let part = Part {
            x: &x[range.clone()],
            factor: factor.map(|factor| &factor[range.clone()]),
            // SAFETY: chunks do not overlap.
            out: unsafe { out.part(chunk, 0, range.len()) },
            function: PhantomData::<F>,
        };
        with_path(path, part);
    });
}

struct Part<'a, E, F> {
    x: &'a [E],
    factor: Option<&'a [E]>,
    out: &'a mut [E],
    function: PhantomData<F>,
}

impl<E: Element, F: Of> Body for Part<'_, E, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        match self.factor {
            None => {
                for (out, x) in self.out.iter_mut().zip(self.x) {
                    *out = E::from_f32(F::of(x.to_f32()));
                }
            }
            Some(factor) => {
                for ((out, x), factor) in self.out.iter_mut().zip(self.x).zip(factor) {
                    *out = E::from_f32(F::of(x.to_f32()) * factor.to_f32());
                }
            }
        }
    }
}

/// How rows are normalised.
#[derive(Clone, Copy, Debug)]
pub struct Norm<'a, E> {
    /// Whether the mean is taken away.
    pub centred: bool,
    /// Added to the variance.
    pub epsilon: f32,
    /// Of each column.
    pub weight: &'a [E],
    /// Of each column.
    pub bias: Option<&'a [E]>,
}

/// Layer or RMS normalisation of rows as long as the weight.
pub fn norm<E: Element>(path: Path, x: &[E], norm: Norm<'_, E>, out: &mut [E]) {
    let columns = norm.weight.len();
    assert!(x.len() == out.len() && norm.bias.is_none_or(|bias| bias.len() == columns));
    if columns == 0 {
        return;
    }
    let rows = out.len() / columns;
    let chunk = (CHUNK / columns).max(1);
    let out = Filled::new(out, columns);
    parallel(rows.div_ceil(chunk), &|index| {
        for row in index * chunk..((index + 1) * chunk).min(rows) {
            let row = Row {
                x: &x[row * columns..(row + 1) * columns],
                norm,
                // SAFETY: rows do not overlap.
                out: unsafe { out.part(row, 0, columns) },
            };
            with_path(path, row);
        }
    });
}

struct Row<'a, E> {
    x: &'a [E],
    norm: Norm<'a, E>,
    out: &'a mut [E],
}

impl<E: Element> Body for Row<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        norm_row(self.x, self.norm, self.out);
    }
}

#[inline(always)]
fn total<E: Element>(x: &[E], value: impl Fn(f32) -> f32) -> f32 {
    let mut sums = [0f32; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for (sum, x) in sums.iter_mut().zip(chunk) {
            *sum += value(x.to_f32());
        }
    }
    sums.iter().sum::<f32>() + rest.iter().map(|x| value(x.to_f32())).sum::<f32>()
}

#[inline(always)]
fn norm_row<E: Element>(x: &[E], norm: Norm<'_, E>, out: &mut [E]) {
    let count = x.len() as f32;
    if !norm.centred {
        let square = total(x, |x| x * x) / count;
        let factor = (square + norm.epsilon).sqrt().recip();
        for ((out, x), weight) in out.iter_mut().zip(x).zip(norm.weight) {
            // Rounded twice, as the reference does.
            let scaled = E::from_f32(x.to_f32() * factor);
            *out = E::from_f32(scaled.to_f32() * weight.to_f32());
        }
        if let Some(bias) = norm.bias {
            for (out, bias) in out.iter_mut().zip(bias) {
                *out = E::from_f32(out.to_f32() + bias.to_f32());
            }
        }
        return;
    }
    let mean = total(x, |x| x) / count;
    let variance = total(x, |x| (x - mean) * (x - mean)) / count;
    let factor = (variance + norm.epsilon).sqrt().recip();
    match norm.bias {
        Some(bias) => {
            for (((out, x), weight), bias) in out.iter_mut().zip(x).zip(norm.weight).zip(bias) {
                let scaled = (x.to_f32() - mean) * factor;
                *out = E::from_f32(scaled * weight.to_f32() + bias.to_f32());
            }
        }
        None => {
            for ((out, x), weight) in out.iter_mut().zip(x).zip(norm.weight) {
                *out = E::from_f32((x.to_f32() - mean) * factor * weight.to_f32());
            }
        }
    }
}

/// Turns the first `2 · half` numbers of each head, dimension `i` with dimension `i + half`.
///
/// # Shapes
/// - x: `[batch, heads, positions, head_dim]`
/// - tables: cosines and sines, `[batch or 1, positions, half]`
/// - out: as x, contiguous
pub fn rotate<E: Element>(
    x: Heads<'_, E>,
    half: usize,
    by_batch: bool,
    tables: [&[E]; 2],
    out: &mut [E],
) {
    let [batch, heads, positions, head_dim] = x.dims;
    if out.is_empty() {
        return;
    }
    let out = Filled::new(out, head_dim);
    let chunk = (CHUNK / (positions * head_dim)).max(1);
    parallel((batch * heads).div_ceil(chunk), &|index| {
        for head in index * chunk..((index + 1) * chunk).min(batch * heads) {
            let batch = head / heads;
            for position in 0..positions {
                let row = position + if by_batch { batch * positions } else { 0 };
                let [cos, sin] = tables.map(|table| &table[row * half..(row + 1) * half]);
                // SAFETY: heads do not overlap.
                let out = unsafe { out.part(head * positions + position, 0, head_dim) };
                rotate_row(x.row(batch, head % heads, position), cos, sin, out);
            }
        }
    });
}

#[inline]
fn rotate_row<E: Element>(x: &[E], cos: &[E], sin: &[E], out: &mut [E]) {
    let half = cos.len();
    let (first, rest) = x.split_at(half);
    let (second, rest) = rest.split_at(half);
    let (out_first, out_rest) = out.split_at_mut(half);
    let (out_second, out_rest) = out_rest.split_at_mut(half);
    for index in 0..half {
        let [a, b] = [first[index].to_f32(), second[index].to_f32()];
        let [cos, sin] = [cos[index].to_f32(), sin[index].to_f32()];
        out_first[index] = E::from_f32(a * cos - b * sin);
        out_second[index] = E::from_f32(b * cos + a * sin);
    }
    out_rest.copy_from_slice(rest);
}
