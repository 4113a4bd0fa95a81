//! Products of few rows with weights of one byte, a factor for each group of them.

use crate::Path;

use super::{
    element::Element,
    matrix::{Filled, Weights},
    pool::parallel,
    vectors::{Body, with_path},
};

/// Numbers of a row that have one factor.
pub const GROUP: usize = 32;
/// Rows of a weight that are read side by side.
const HEIGHT: usize = 4;
/// Bytes of a weight that a thread takes at a time.
const CHUNK: usize = 1 << 16;
/// The magnitude of activations as whole numbers: 32 products with bytes fit 31 bits.
const LARGEST: f32 = 32_767.0;

/// The bytes of a weight's rows, `[outputs][inputs]`, and their factors, `[inputs / GROUP][outputs]`.
#[derive(Debug)]
pub struct Quantized {
    /// Whole numbers.
    pub bytes: Vec<i8>,
    /// Factors.
    pub scales: Vec<f32>,
}

impl Quantized {
    /// Room for the rows of a weight, which [`append`](Self::append) adds.
    pub fn with_room([outputs, inputs]: [usize; 2]) -> Self {
        Self {
            bytes: Vec::with_capacity(outputs * inputs),
            scales: vec![0.0; inputs / GROUP * outputs],
        }
    }

    /// Adds rows of `inputs` numbers below those that are there.
    pub fn append(&mut self, rows: &Self, inputs: usize) {
        let (first, count) = (self.bytes.len() / inputs, rows.bytes.len() / inputs);
        let outputs = self.scales.len() / (inputs / GROUP);
        self.bytes.extend_from_slice(&rows.bytes);
        let columns = rows.scales.chunks_exact(count.max(1));
        for (to, from) in self.scales.chunks_exact_mut(outputs).zip(columns) {
            to[first..first + count].copy_from_slice(from);
        }
    }
}

/// Rounds rows to whole numbers from `-largest` to `largest`.
///
/// # Panics
///
/// When a row is not a whole number of groups.
pub fn quantize<E: Element>(path: Path, rows: &[E], outputs: usize, largest: f32) -> Quantized {
    let inputs = rows.len() / outputs.max(1);
    assert!(
        inputs.is_multiple_of(GROUP),
        "rows of {inputs} are no groups of {GROUP}"
    );
    let groups = inputs / GROUP;
    let mut bytes = vec![0; rows.len()];
    let mut scales = vec![0.0; groups * outputs];
    let (to, factors) = (
        Filled::new(&mut bytes, inputs),
        Filled::new(&mut scales, outputs),
    );
    parallel(outputs, &|output| {
        // SAFETY: each row, and each column of factors, is written by one thread.
        let to = unsafe { to.part(output, 0, inputs) };
        let row = &rows[output * inputs..(output + 1) * inputs];
        let mut peaks = vec![0.0; groups];
        let rounded = Rounded {
            from: row,
            to,
            peaks: &mut peaks,
            largest,
        };
        with_path(path, rounded);
        for (group, peak) in peaks.iter().enumerate() {
            // SAFETY: the same. burn takes no factor of zero.
            unsafe { factors.put(group, output, (peak / largest).max(f32::MIN_POSITIVE)) };
        }
    });
    Quantized { bytes, scales }
}

/// The groups of a row as whole numbers, and the largest magnitude in each.
struct Rounded<'a, E> {
    from: &'a [E],
    to: &'a mut [i8],
    peaks: &'a mut [f32],
    largest: f32,
}

impl<E: Element> Body for Rounded<'_, E> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let from = self.from.as_chunks::<GROUP>().0;
        let to = self.to.as_chunks_mut::<GROUP>().0;
        for ((from, to), peak) in from.iter().zip(to).zip(self.peaks) {
            *peak = highest(from).0;
            if self.largest < COARSE {
                *peak *= best_share(from, *peak, self.largest);
            }
            let inverse = if *peak > 0.0 {
                self.largest / *peak
            } else {
                0.0
            };
            for (from, to) in from.iter().zip(to) {
                *to = clamped(from.to_f32() * inverse, self.largest) as i8;
            }
        }
    }
}

/// With fewer whole numbers than this, cutting the largest number off may bring the others nearer.
const COARSE: f32 = 16.0;

/// The share of the peak that, as the largest number, rounds the group with the least error.
#[inline(always)]
fn best_share<E: Element>(group: &[E; GROUP], peak: f32, largest: f32) -> f32 {
    let mut best = (f32::INFINITY, 1.0);
    for step in 0..10 {
        let share = 1.0 - 0.05 * step as f32;
        let factor = peak * share / largest;
        let inverse = if factor > 0.0 { factor.recip() } else { 0.0 };
        let mut errors = [0f32; GROUP];
        for (error, x) in errors.iter_mut().zip(group) {
            let x = x.to_f32();
            let off = clamped(x * inverse, largest) as f32 * factor - x;
            *error = off * off;
        }
        let error: f32 = errors.iter().sum();
        if error < best.0 {
            best = (error, share);
        }
    }
    best.1
}

#[inline(always)]
fn clamped(x: f32, largest: f32) -> i32 {
    let x = if x > largest { largest } else { x };
    whole(if x < -largest { -largest } else { x })
}

/// The largest magnitude, and a sum that is 0 unless something is no finite number.
#[inline(always)]
fn highest<E: Element>(numbers: &[E]) -> (f32, f32) {
    const LANES: usize = 16;
    let (mut peaks, mut sums) = ([0f32; LANES], [0f32; LANES]);
    let mut chunks = numbers.chunks_exact(LANES);
    for chunk in chunks.by_ref() {
        for lane in 0..LANES {
            let x = chunk[lane].to_f32();
            peaks[lane] = if x.abs() > peaks[lane] {
                x.abs()
            } else {
                peaks[lane]
            };
            sums[lane] += x * 0.0;
        }
    }
    for x in chunks.remainder() {
        peaks[0] = peaks[0].max(x.to_f32().abs());
        sums[0] += x.to_f32() * 0.0;
    }
    (peaks.into_iter().fold(0.0, f32::max), sums.iter().sum())
}

/// The nearest whole number, of numbers below 2²² in magnitude; without a call, so that loops become vectors.
#[inline(always)]
fn whole(x: f32) -> i32 {
    const SHIFT: f32 = 12_582_912.0;
    (x + SHIFT).to_bits().cast_signed() - SHIFT.to_bits().cast_signed()
}

/// `x · weightᵀ + bias` for few rows.
///
/// # Shapes
/// - x: `[rows, inputs]`
/// - out: `[rows, outputs]`
pub fn few_rows<E: Element>(
    path: Path,
    x: &[f32],
    weights: Weights<'_, i8>,
    bias: Option<&[f32]>,
    out: &mut [E],
) {
    let Weights {
        inputs, outputs, ..
    } = weights;
    let rows = out.len() / outputs.max(1);
    assert_eq!(x.len(), rows * inputs, "x is rows × inputs");
    let (scales, group) = weights.scales().expect("bytes have factors");
    assert_eq!(group, GROUP, "numbers that have one factor");
    let whole = path == Path::Avx512Bf16;
    let mut numbers = vec![0i16; if whole { x.len() } else { 0 }];
    let mut factors = vec![1.0; rows];
    if whole && inputs > 0 {
        let rows = x.chunks_exact(inputs).zip(numbers.chunks_exact_mut(inputs));
        for ((x, to), factor) in rows.zip(&mut factors) {
            *factor = with_path(path, WholeNumbers { x, to });
        }
    }
    let out = Filled::new(out, outputs);
    let chunk = (CHUNK / inputs.max(1)).next_multiple_of(HEIGHT).max(HEIGHT);
    parallel(outputs.div_ceil(chunk), &|index| {
        let last = ((index + 1) * chunk).min(outputs);
        for first in (index * chunk..last).step_by(HEIGHT) {
            let lines = weights.rows::<HEIGHT>(first);
            for (row, factor) in factors.iter().enumerate() {
                let range = row * inputs..(row + 1) * inputs;
                let dots = Dots {
                    lines,
                    x: &x[range.clone()],
                    scales,
                    outputs,
                    first,
                };
                let sums = match whole {
                    // SAFETY: the path says that the processor has the instructions.
                    #[cfg(target_arch = "x86_64")]
                    true => unsafe { avx512::dots(dots, &numbers[range]) },
                    _ => with_path(path, dots),
                };
                for (output, sum) in (first..last.min(first + HEIGHT)).zip(sums) {
                    let bias = bias.map_or(0.0, |bias| bias[output]);
                    // SAFETY: chunks have different outputs.
                    unsafe { out.put(row, output, E::from_f32(sum * factor + bias)) };
                }
            }
        }
    });
}

/// Activations as whole numbers; gives the factor on them.
struct WholeNumbers<'a> {
    x: &'a [f32],
    to: &'a mut [i16],
}

impl Body for WholeNumbers<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let (peak, sum) = highest(self.x);
        let inverse = if peak > 0.0 && sum == 0.0 {
            LARGEST / peak
        } else {
            0.0
        };
        for (x, to) in self.x.iter().zip(self.to) {
            *to = whole(x * inverse) as i16;
        }
        // What is no number stays none.
        peak / LARGEST + sum
    }
}

/// The products of one row with rows of a weight.
struct Dots<'a> {
    lines: [&'a [i8]; HEIGHT],
    x: &'a [f32],
    scales: &'a [f32],
    outputs: usize,
    first: usize,
}

impl Dots<'_> {
    #[inline(always)]
    fn scale(&self, group: usize, line: usize) -> f32 {
        self.scales[group * self.outputs + (self.first + line).min(self.outputs - 1)]
    }
}

impl Body for Dots<'_> {
    type Output = [f32; HEIGHT];

    #[inline(always)]
    fn run(self) -> [f32; HEIGHT] {
        const LANES: usize = 16;
        let mut sums = [0.0; HEIGHT];
        for (line, sum) in sums.iter_mut().enumerate() {
            let mut lanes = [0f32; LANES];
            let weights = self.lines[line].as_chunks::<GROUP>().0;
            for (group, (weights, x)) in weights
                .iter()
                .zip(self.x.as_chunks::<GROUP>().0)
                .enumerate()
            {
                let scale = self.scale(group, line);
                for lane in 0..LANES {
                    let near = f32::from(weights[lane]) * x[lane];
                    let far = f32::from(weights[lane + LANES]) * x[lane + LANES];
                    lanes[lane] += (near + far) * scale;
                }
            }
            *sum = lanes.iter().sum();
        }
        sums
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Dots, GROUP, HEIGHT};

    /// # Safety
    ///
    /// The processor has AVX-512 F, BW and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    pub unsafe fn dots(dots: Dots<'_>, x: &[i16]) -> [f32; HEIGHT] {
        let lines = dots.lines.map(|line| line.as_chunks::<GROUP>().0);
        let x = x.as_chunks::<GROUP>().0;
        assert!(lines.iter().all(|line| line.len() == x.len()));
        let mut sums = [_mm512_setzero_ps(); HEIGHT];
        for (group, x) in x.iter().enumerate() {
            // SAFETY: a group is 32 numbers. Asking for memory that is not there does nothing.
            unsafe {
                let x = _mm512_loadu_si512(x.as_ptr().cast());
                for (line, sum) in sums.iter_mut().enumerate() {
                    let from = lines[line].as_ptr().add(group);
                    let ahead = from.wrapping_add(HEIGHT * lines[line].len());
                    _mm_prefetch::<_MM_HINT_T0>(ahead.cast());
                    let weights = _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast()));
                    let products = _mm512_dpwssd_epi32(_mm512_setzero_si512(), weights, x);
                    let scale = _mm512_set1_ps(dots.scale(group, line));
                    *sum = _mm512_fmadd_ps(_mm512_cvtepi32_ps(products), scale, *sum);
                }
            }
        }
        // In a loop: what takes a closure has not the instructions.
        let mut totals = [0.0; HEIGHT];
        for (total, sum) in totals.iter_mut().zip(sums) {
            *total = _mm512_reduce_add_ps(sum);
        }
        totals
    }
}
