use super::{History, LogitsProcessor};

/// Divides all scores: `TemperatureLogitsWarper`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, Temperature};
/// let mut scores = [1.0, 3.0];
/// Temperature(2.0).process(&mut scores, History { ids: &[], prompt: 0 });
/// assert_eq!(scores, [0.5, 1.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Temperature(pub f32);

impl LogitsProcessor for Temperature {
    fn process(&self, scores: &mut [f32], _history: History<'_>) {
        for score in scores.iter_mut() {
            *score /= self.0;
        }
    }
}

/// Keeps the best so many tokens, and those that equal the last of them: `TopKLogitsWarper`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, TopK};
/// let mut scores = [1.0, 3.0, 2.0];
/// TopK(2).process(&mut scores, History { ids: &[], prompt: 0 });
/// assert_eq!(scores, [f32::NEG_INFINITY, 3.0, 2.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK(pub usize);

impl LogitsProcessor for TopK {
    fn process(&self, scores: &mut [f32], _history: History<'_>) {
        if self.0 == 0 || self.0 >= scores.len() {
            return;
        }
        let mut sorted = scores.to_vec();
        let (_, threshold, _) = sorted.select_nth_unstable_by(self.0 - 1, |a, b| b.total_cmp(a));
        let threshold = *threshold;
        drop_where(scores, |score| score < threshold);
    }
}

/// Keeps the best tokens that together have this probability
/// ([Holtzman et al. 2019](https://arxiv.org/abs/1904.09751)): `TopPLogitsWarper`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, TopP};
/// let mut scores = [0.1_f32, 0.6, 0.3].map(f32::ln);
/// TopP(0.8).process(&mut scores, History { ids: &[], prompt: 0 });
/// assert!(scores[0].is_infinite() && scores[2].is_finite());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopP(pub f32);

impl LogitsProcessor for TopP {
    fn process(&self, scores: &mut [f32], _history: History<'_>) {
        let weights = exponentials(scores);
        let total: f64 = weights.iter().sum();
        let mut order: Vec<usize> = (0..scores.len()).collect();
        order.sort_by(|a, b| scores[*a].total_cmp(&scores[*b]));
        // From the least likely upwards, tokens whose sum stays within 1 - p go; the best one stays.
        let Some((_, lower)) = order.split_last() else {
            return;
        };
        let mut sum = 0.0;
        for token in lower {
            sum += weights[*token] / total;
            if sum > 1.0 - f64::from(self.0) {
                break;
            }
            scores[*token] = f32::NEG_INFINITY;
        }
    }
}

/// Keeps tokens with at least this share of the best token's probability
/// ([Nguyen et al. 2024](https://arxiv.org/abs/2407.01082)): `MinPLogitsWarper`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, MinP};
/// let mut scores = [0.1_f32, 0.6, 0.3].map(f32::ln);
/// MinP(0.4).process(&mut scores, History { ids: &[], prompt: 0 });
/// assert!(scores[0].is_infinite() && scores[2].is_finite());
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MinP(pub f32);

impl LogitsProcessor for MinP {
    fn process(&self, scores: &mut [f32], _history: History<'_>) {
        let threshold = highest(scores) + self.0.ln();
        drop_where(scores, |score| score < threshold);
    }
}

fn drop_where(scores: &mut [f32], drop: impl Fn(f32) -> bool) {
    for score in scores.iter_mut().filter(|score| drop(**score)) {
        *score = f32::NEG_INFINITY;
    }
}

fn highest(scores: &[f32]) -> f32 {
    scores.iter().copied().fold(f32::NEG_INFINITY, f32::max)
}

/// Numbers in proportion to the probabilities; the best token's is one.
pub(super) fn exponentials(scores: &[f32]) -> Vec<f64> {
    let highest = highest(scores);
    let weight = |score: &f32| f64::from(score - highest).exp();
    scores.iter().map(weight).collect()
}

/// Logarithms of the probabilities.
pub(super) fn log_softmax(scores: &[f32]) -> Vec<f32> {
    let highest = f64::from(highest(scores));
    let shifted = || scores.iter().map(|score| f64::from(*score) - highest);
    let log_total = shifted().map(f64::exp).sum::<f64>().ln();
    shifted().map(|score| (score - log_total) as f32).collect()
}
