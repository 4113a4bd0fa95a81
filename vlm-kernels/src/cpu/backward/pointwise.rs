//! Gradients of functions of every number alone, and of rotary positions.

use std::marker::PhantomData;

use crate::{
    Function, Path,
    cpu::{
        attention::Heads,
        math::{erf, exp, sigmoid, tanh},
        matrix::Filled,
        pool::parallel,
        vectors::{Body, with_path},
    },
};

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 13;

/// The gradient of `x` where `y = function(x)`, or those of `x` and `factor` where `y = function(x) · factor`.
///
/// # Shapes
/// - all: as x
pub fn map(
    path: Path,
    function: Function,
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
    gate: Option<(&[f32], &mut [f32])>,
) {
    match function {
        Function::Silu => each::<Silu>(path, [x, dy], dx, gate),
        Function::QuickGelu => each::<QuickGelu>(path, [x, dy], dx, gate),
        Function::Gelu => each::<Gelu>(path, [x, dy], dx, gate),
        Function::GeluTanh => each::<GeluTanh>(path, [x, dy], dx, gate),
    }
}

/// A function and its derivative; `of` is always inlined.
trait Of {
    fn of(x: f32) -> [f32; 2];
}

struct Silu;
struct QuickGelu;
struct Gelu;
struct GeluTanh;

impl Of for Silu {
    #[inline(always)]
    fn of(x: f32) -> [f32; 2] {
        let s = sigmoid(x);
        [x * s, s * (1.0 + x * (1.0 - s))]
    }
}

impl Of for QuickGelu {
    #[inline(always)]
    fn of(x: f32) -> [f32; 2] {
        let s = sigmoid(1.702 * x);
        [x * s, s * (1.0 + 1.702 * x * (1.0 - s))]
    }
}

impl Of for Gelu {
    #[inline(always)]
    fn of(x: f32) -> [f32; 2] {
        // 1 / √(2π)
        const PEAK: f32 = 0.398_942_3;
        let share = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        [x * share, share + x * PEAK * exp(-0.5 * x * x)]
    }
}

impl Of for GeluTanh {
    #[inline(always)]
    fn of(x: f32) -> [f32; 2] {
        const SCALE: f32 = 0.797_884_6;
        const CUBE: f32 = 0.044_715;
        let t = tanh(SCALE * (x + CUBE * x * x * x));
        let slope = SCALE * (1.0 + 3.0 * CUBE * x * x);
        let share = 0.5 * (1.0 + t);
        [x * share, share + 0.5 * x * (1.0 - t * t) * slope]
    }
}

fn each<F: Of>(
    path: Path,
    [x, dy]: [&[f32]; 2],
    dx: &mut [f32],
    gate: Option<(&[f32], &mut [f32])>,
) {
    let len = dx.len();
    assert!(x.len() == len && dy.len() == len);
    let dx = Filled::new(dx, CHUNK);
    let gate = gate.map(|(factor, gradient)| {
        assert!(factor.len() == len && gradient.len() == len);
        (factor, Filled::new(gradient, CHUNK))
    });
    parallel(len.div_ceil(CHUNK), &|chunk| {
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(len);
        let gate = gate.as_ref().map(|(factor, gradient)| {
            // SAFETY: chunks do not overlap.
            let gradient = unsafe { gradient.part(chunk, 0, range.len()) };
            (&factor[range.clone()], gradient)
        });
        let part = Part {
            x: &x[range.clone()],
            dy: &dy[range.clone()],
            // SAFETY: the same.
            dx: unsafe { dx.part(chunk, 0, range.len()) },
            gate,
            function: PhantomData::<F>,
        };
        with_path(path, part);
    });
}

struct Part<'a, F> {
    x: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
    gate: Option<(&'a [f32], &'a mut [f32])>,
    function: PhantomData<F>,
}

impl<F: Of> Body for Part<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let numbers = self.dx.iter_mut().zip(self.x).zip(self.dy);
        match self.gate {
            None => {
                for ((dx, x), dy) in numbers {
                    *dx = dy * F::of(*x)[1];
                }
            }
            Some((factor, gradient)) => {
                for (((dx, x), dy), (factor, gradient)) in numbers.zip(factor.iter().zip(gradient))
                {
                    let [value, slope] = F::of(*x);
                    *dx = dy * slope * factor;
                    *gradient = dy * value;
                }
            }
        }
    }
}

/// Turns the first `2 · half` numbers of each head, dimension `i` with dimension `i + half`, back where `back` says so.
///
/// # Shapes
/// - x: `[batch, heads, positions, head_dim]`
/// - tables: cosines and sines, `[batch or 1, positions, half]`
/// - out: `[batch, positions, heads, head_dim]`
pub fn rotate(
    path: Path,
    x: Heads<'_, f32>,
    half: usize,
    by_batch: bool,
    tables: [&[f32]; 2],
    back: bool,
    out: &mut [f32],
) {
    let [batch, heads, positions, head_dim] = x.dims;
    let width = heads * head_dim;
    let out = Filled::new(out, width);
    let chunk = (CHUNK / width.max(1)).max(1);
    let count = batch * positions;
    parallel(count.div_ceil(chunk), &|index| {
        for place in index * chunk..((index + 1) * chunk).min(count) {
            let (row, position) = (place / positions, place % positions);
            let line = if by_batch { place } else { position };
            let [cos, sin] = tables.map(|table| &table[line * half..(line + 1) * half]);
            // SAFETY: each position is one thread's.
            let out = unsafe { out.part(place, 0, width) };
            for (head, out) in out.chunks_exact_mut(head_dim.max(1)).enumerate() {
                let x = x.row(row, head, position);
                with_path(
                    path,
                    Turn {
                        x,
                        cos,
                        sin,
                        back,
                        out,
                    },
                );
            }
        }
    });
}

struct Turn<'a> {
    x: &'a [f32],
    cos: &'a [f32],
    sin: &'a [f32],
    back: bool,
    out: &'a mut [f32],
}

impl Body for Turn<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let half = self.cos.len();
        let sign = if self.back { -1.0 } else { 1.0 };
        let (first, rest) = self.x.split_at(half);
        let (second, rest) = rest.split_at(half);
        let (out_first, out_rest) = self.out.split_at_mut(half);
        let (out_second, out_rest) = out_rest.split_at_mut(half);
        let sin = &self.sin[..half];
        for index in 0..half {
            let (a, b) = (first[index], second[index]);
            let (cos, sin) = (self.cos[index], sin[index] * sign);
            out_first[index] = a * cos - b * sin;
            out_second[index] = b * cos + a * sin;
        }
        out_rest.copy_from_slice(rest);
    }
}
