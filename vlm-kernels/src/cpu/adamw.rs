//! AdamW, and the sum of squares that gradients are clipped by.

use crate::{AdamWStep, Path};

use super::{
    matrix::Filled,
    pool::parallel,
    vectors::{Body, with_path},
};

/// Numbers that a thread takes at a time.
const CHUNK: usize = 1 << 13;
/// Lanes of a sum, which the compiler puts into vectors.
const LANES: usize = 16;

/// Steps a parameter and the means of its gradients.
pub fn adamw(
    path: Path,
    step: AdamWStep,
    gradient: &[f32],
    parameter: &mut [f32],
    means: [&mut [f32]; 2],
) {
    let len = gradient.len();
    assert!(parameter.len() == len && means.iter().all(|means| means.len() == len));
    let parameter = Filled::new(parameter, CHUNK);
    let means = means.map(|means| Filled::new(means, CHUNK));
    let [debias_1, debias_2] = step.debias();
    let factors = Factors {
        kept: (1.0 - step.learning_rate * f64::from(step.weight_decay)) as f32,
        rate: step.learning_rate as f32,
        scale: step.scale as f32,
        betas: step.betas,
        debias: [debias_1.recip(), debias_2.recip()],
        epsilon: step.epsilon,
    };
    parallel(len.div_ceil(CHUNK), &|chunk| {
        let range = chunk * CHUNK..((chunk + 1) * CHUNK).min(len);
        // SAFETY: chunks do not overlap.
        let part = unsafe {
            Part {
                factors,
                gradient: &gradient[range.clone()],
                parameter: parameter.part(chunk, 0, range.len()),
                first: means[0].part(chunk, 0, range.len()),
                second: means[1].part(chunk, 0, range.len()),
            }
        };
        with_path(path, part);
    });
}

#[derive(Clone, Copy)]
struct Factors {
    kept: f32,
    rate: f32,
    scale: f32,
    betas: [f32; 2],
    debias: [f32; 2],
    epsilon: f32,
}

struct Part<'a> {
    factors: Factors,
    gradient: &'a [f32],
    parameter: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
}

impl Body for Part<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let factors = self.factors;
        let [beta_1, beta_2] = factors.betas;
        let [debias_1, debias_2] = factors.debias;
        let means = self.first.iter_mut().zip(self.second);
        let values = self.gradient.iter().zip(self.parameter);
        for ((gradient, parameter), (first, second)) in values.zip(means) {
            let gradient = gradient * factors.scale;
            *first = *first * beta_1 + gradient * (1.0 - beta_1);
            *second = *second * beta_2 + gradient * gradient * (1.0 - beta_2);
            let root = (*second * debias_2).sqrt() + factors.epsilon;
            *parameter = *parameter * factors.kept - factors.rate * (*first * debias_1 / root);
        }
    }
}

/// The sum of all squares: that of each chunk, one after the other, whatever the number of threads.
pub fn square_sum(path: Path, x: &[f32]) -> f32 {
    let mut sums = vec![0f32; x.len().div_ceil(CHUNK)];
    let filled = Filled::new(&mut sums, 1);
    parallel(x.len().div_ceil(CHUNK), &|chunk| {
        let x = &x[chunk * CHUNK..((chunk + 1) * CHUNK).min(x.len())];
        // SAFETY: each chunk has a sum of its own.
        unsafe { filled.part(chunk, 0, 1)[0] = with_path(path, Squares { x }) };
    });
    sums.iter().map(|sum| f64::from(*sum)).sum::<f64>() as f32
}

struct Squares<'a> {
    x: &'a [f32],
}

impl Body for Squares<'_> {
    type Output = f32;

    #[inline(always)]
    fn run(self) -> f32 {
        let mut sums = [0f32; LANES];
        let (chunks, rest) = self.x.as_chunks::<LANES>();
        for chunk in chunks {
            for (sum, x) in sums.iter_mut().zip(chunk) {
                *sum += x * x;
            }
        }
        sums.iter().sum::<f32>() + rest.iter().map(|x| x * x).sum::<f32>()
    }
}
