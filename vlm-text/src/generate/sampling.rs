use rand::{Rng, SeedableRng, rngs::StdRng};

/// How a next token is chosen from its scores.
///
/// The steps apply in the order of the fields, which is transformers' order; each default leaves the scores
/// alone.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingConfig {
    /// Divides positive and multiplies negative scores of tokens that already stand in the sequence.
    pub repetition_penalty: f32,
    /// Divides all scores; 0 takes the best token.
    pub temperature: f32,
    /// Keeps the best so many tokens.
    pub top_k: Option<usize>,
    /// Keeps the best tokens that together have this probability.
    pub top_p: f32,
    /// Keeps tokens with at least this share of the best token's probability.
    pub min_p: f32,
    /// Where the random numbers begin.
    pub seed: u64,
}

impl SamplingConfig {
    /// Always the best token.
    pub fn greedy() -> Self {
        Self {
            repetition_penalty: 1.0,
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }
}

/// Chooses tokens by a [`SamplingConfig`].
///
/// ```
/// use vlm_text::{Sampler, SamplingConfig};
/// let mut sampler = Sampler::new(&SamplingConfig::greedy());
/// assert_eq!(sampler.choose(&mut [0.1, 0.7, 0.2], &[]), 1);
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplingConfig,
    random: StdRng,
}

impl Sampler {
    /// A sampler whose random numbers begin at the seed.
    pub fn new(config: &SamplingConfig) -> Self {
        Self {
            config: config.clone(),
            random: StdRng::seed_from_u64(config.seed),
        }
    }

    /// Chooses a token from `logits`, which are changed, given the tokens so far.
    ///
    /// # Panics
    ///
    /// When `logits` is empty.
    pub fn choose(&mut self, logits: &mut [f32], sequence: &[u32]) -> u32 {
        let config = &self.config;
        penalise(logits, sequence, config.repetition_penalty);
        if config.temperature == 0.0 {
            return best(logits);
        }
        for logit in logits.iter_mut() {
            *logit /= config.temperature;
        }
        if let Some(k) = config.top_k {
            keep_top_k(logits, k);
        }
        if config.top_p < 1.0 {
            keep_top_p(logits, config.top_p);
        }
        if config.min_p > 0.0 {
            keep_min_p(logits, config.min_p);
        }
        let weights = exponentials(logits);
        let total: f64 = weights.iter().sum();
        let mut left = self.random.random::<f64>() * total;
        for (token, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return token as u32;
            }
        }
        best(logits)
    }
}

fn best(logits: &[f32]) -> u32 {
    assert!(!logits.is_empty(), "a vocabulary has tokens");
    // The first of equals, as torch's argmax.
    let first_best =
        logits.iter().enumerate().fold(
            0,
            |best, (i, logit)| if *logit > logits[best] { i } else { best },
        );
    first_best as u32
}

fn penalise(logits: &mut [f32], sequence: &[u32], penalty: f32) {
    if penalty == 1.0 {
        return;
    }
    let mut seen: Vec<usize> = sequence.iter().map(|id| *id as usize).collect();
    seen.sort_unstable();
    seen.dedup();
    for id in seen {
        let Some(logit) = logits.get_mut(id) else {
            continue; // an image token's id may lie outside the vocabulary
        };
        *logit = if *logit < 0.0 {
            *logit * penalty
        } else {
            *logit / penalty
        };
    }
}

fn keep_top_k(logits: &mut [f32], k: usize) {
    if k == 0 || k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, threshold, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    let threshold = *threshold;
    drop_where(logits, |logit| logit < threshold);
}

fn keep_top_p(logits: &mut [f32], p: f32) {
    let weights = exponentials(logits);
    let total: f64 = weights.iter().sum();
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|a, b| weights[*a].total_cmp(&weights[*b]));
    // From the least likely upwards, tokens whose sum stays within 1 - p go; the best one stays.
    let mut sum = 0.0;
    let last = order.len() - 1;
    for token in &order[..last] {
        sum += weights[*token] / total;
        if sum > f64::from(1.0 - p) {
            break;
        }
        logits[*token] = f32::NEG_INFINITY;
    }
}

fn keep_min_p(logits: &mut [f32], p: f32) {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let threshold = highest + p.ln();
    drop_where(logits, |logit| logit < threshold);
}

fn drop_where(logits: &mut [f32], drop: impl Fn(f32) -> bool) {
    for logit in logits.iter_mut().filter(|logit| drop(**logit)) {
        *logit = f32::NEG_INFINITY;
    }
}

fn exponentials(logits: &[f32]) -> Vec<f64> {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let weight = |logit: &f32| f64::from(logit - highest).exp();
    logits.iter().map(weight).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(logits: &[f32]) -> Vec<usize> {
        let finite = |(i, logit): (usize, &f32)| logit.is_finite().then_some(i);
        logits.iter().enumerate().filter_map(finite).collect()
    }

    fn logits(probabilities: [f32; 4]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    #[test]
    fn filters_keep_what_transformers_keeps() {
        let mut scores = logits([0.1, 0.4, 0.3, 0.2]);
        keep_top_k(&mut scores, 2);
        assert_eq!(kept(&scores), [1, 2]);
        let mut scores = logits([0.1, 0.4, 0.3, 0.2]);
        keep_top_p(&mut scores, 0.65);
        assert_eq!(kept(&scores), [1, 2]);
        let mut scores = logits([0.1, 0.4, 0.3, 0.2]);
        keep_top_p(&mut scores, 0.75);
        assert_eq!(kept(&scores), [1, 2, 3]);
        let mut scores = logits([0.1, 0.4, 0.3, 0.2]);
        keep_min_p(&mut scores, 0.6);
        assert_eq!(kept(&scores), [1, 2]);
    }

    #[test]
    fn a_penalty_counts_a_token_once() {
        let mut scores = vec![2.0, -2.0, 1.0];
        penalise(&mut scores, &[0, 0, 1, 900], 2.0);
        assert_eq!(scores, [1.0, -4.0, 1.0]);
    }

    #[test]
    fn samples_follow_the_probabilities_and_the_seed() {
        let config = SamplingConfig {
            temperature: 1.0,
            seed: 7,
            ..SamplingConfig::greedy()
        };
        let draw = |count: usize| -> Vec<u32> {
            let mut sampler = Sampler::new(&config);
            let mut choose = || sampler.choose(&mut logits([0.1, 0.4, 0.3, 0.2]), &[]);
            (0..count).map(|_| choose()).collect()
        };
        let drawn = draw(20_000);
        assert_eq!(drawn[..50], draw(50)[..]);
        let share = drawn.iter().filter(|token| **token == 1).count() as f64 / 20_000.0;
        assert!((share - 0.4).abs() < 0.02, "{share}");
    }
}
