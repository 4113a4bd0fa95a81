use std::sync::Arc;

use rand::{Rng, SeedableRng, rngs::StdRng};
use vlm_core::Error;

use super::{
    CountPenalty, History, LogitsProcessor, MinP, NoRepeatNGram, RepetitionPenalty, SequenceBias,
    Temperature, TopK, TopP,
    filter::{exponentials, log_softmax},
};

/// How a next token is chosen from its scores.
///
/// The steps apply in the order of the fields, which is transformers' order; each default leaves the scores
/// alone.
///
/// ```
/// use vlm_text::SamplingConfig;
/// let sampling = SamplingConfig { temperature: 0.7, top_p: 0.9, seed: 1, ..SamplingConfig::greedy() };
/// assert_eq!(sampling.processors().len(), 2);
/// ```
#[derive(Clone, Debug)]
pub struct SamplingConfig {
    /// Added to the scores of tokens that would complete a sequence; of one token, a logit bias.
    pub sequence_bias: Vec<(Vec<u32>, f32)>,
    /// Divides positive and multiplies negative scores of tokens that already stand in the sequence.
    pub repetition_penalty: f32,
    /// Subtracted from the scores of tokens that were generated.
    pub presence_penalty: f32,
    /// Subtracted from the scores of tokens for each time that they were generated.
    pub frequency_penalty: f32,
    /// No run of so many tokens stands twice in a sequence.
    pub no_repeat_ngram_size: Option<usize>,
    /// The caller's own: constraints, further penalties.
    pub further: Vec<Arc<dyn LogitsProcessor>>,
    /// Divides all scores; 0 takes the best token, and the steps that follow have no effect.
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
            sequence_bias: Vec::new(),
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            no_repeat_ngram_size: None,
            further: Vec::new(),
            temperature: 0.0,
            top_k: None,
            top_p: 1.0,
            min_p: 0.0,
            seed: 0,
        }
    }

    /// Whether tokens are drawn by chance.
    pub fn is_random(&self) -> bool {
        self.temperature != 0.0
    }

    /// Refuses numbers that no step can work with.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |name: &str, expected: &str, found: f32| {
            Err(Error::Request(format!(
                "{name}: expected {expected}, found {found}"
            )))
        };
        let finite = [
            ("presence_penalty", self.presence_penalty),
            ("frequency_penalty", self.frequency_penalty),
        ];
        let shares = [("top_p", self.top_p), ("min_p", self.min_p)];
        if !(self.temperature >= 0.0 && self.temperature.is_finite()) {
            return wrong("temperature", "a number from 0", self.temperature);
        }
        if !(self.repetition_penalty > 0.0 && self.repetition_penalty.is_finite()) {
            let expected = "a number above 0";
            return wrong("repetition_penalty", expected, self.repetition_penalty);
        }
        if let Some((name, found)) = finite.iter().find(|(_, number)| !number.is_finite()) {
            return wrong(name, "a number", *found);
        }
        let is_share = |share: &f32| (0.0..=1.0).contains(share);
        match shares.iter().find(|(_, share)| !is_share(share)) {
            Some((name, found)) => wrong(name, "a number from 0 to 1", *found),
            None => Ok(()),
        }
    }

    /// The steps that change scores, in order: those that greedy decoding has, too, and those of sampling.
    pub fn processors(&self) -> Vec<Arc<dyn LogitsProcessor>> {
        let mut list: Vec<Arc<dyn LogitsProcessor>> = Vec::new();
        if !self.sequence_bias.is_empty() {
            list.push(Arc::new(SequenceBias::new(self.sequence_bias.clone())));
        }
        if self.repetition_penalty != 1.0 {
            list.push(Arc::new(RepetitionPenalty(self.repetition_penalty)));
        }
        let (presence, frequency) = (self.presence_penalty, self.frequency_penalty);
        if presence != 0.0 || frequency != 0.0 {
            list.push(Arc::new(CountPenalty {
                presence,
                frequency,
            }));
        }
        if let Some(size) = self.no_repeat_ngram_size {
            list.push(Arc::new(NoRepeatNGram(size)));
        }
        list.extend(self.further.iter().cloned());
        if !self.is_random() {
            return list;
        }
        if self.temperature != 1.0 {
            list.push(Arc::new(Temperature(self.temperature)));
        }
        if let Some(k) = self.top_k {
            list.push(Arc::new(TopK(k)));
        }
        if self.top_p < 1.0 {
            list.push(Arc::new(TopP(self.top_p)));
        }
        if self.min_p > 0.0 {
            list.push(Arc::new(MinP(self.min_p)));
        }
        list
    }
}

/// Chooses tokens by a [`SamplingConfig`].
///
/// ```
/// use vlm_text::{History, Sampler, SamplingConfig};
/// let mut sampler = Sampler::new(&SamplingConfig::greedy());
/// let history = History { ids: &[], prompt: 0 };
/// assert_eq!(sampler.choose(&mut [0.1, 0.7, 0.2], history).unwrap(), 1);
/// assert!(sampler.choose(&mut [0.1, f32::NAN], history).is_err());
/// ```
#[derive(Clone, Debug)]
pub struct Sampler {
    processors: Vec<Arc<dyn LogitsProcessor>>,
    random: Option<StdRng>,
}

impl Sampler {
    /// A sampler whose random numbers begin at the seed.
    pub fn new(config: &SamplingConfig) -> Self {
        Self::numbered(config, 0)
    }

    /// The sampler of one of several answers to a prompt: each has random numbers of its own.
    ///
    /// ```
    /// use vlm_text::{History, Sampler, SamplingConfig};
    /// let config = SamplingConfig { temperature: 1.0, ..SamplingConfig::greedy() };
    /// let draw = |number| {
    ///     let mut sampler = Sampler::numbered(&config, number);
    ///     let mut next = |_| sampler.choose(&mut [0.0; 9], History { ids: &[], prompt: 0 }).unwrap();
    ///     (0..20).map(&mut next).collect::<Vec<_>>()
    /// };
    /// assert_eq!(draw(1), draw(1));
    /// assert_ne!(draw(1), draw(2));
    /// ```
    pub fn numbered(config: &SamplingConfig, number: u64) -> Self {
        let random = || StdRng::seed_from_u64(config.seed.wrapping_add(number));
        Self {
            processors: config.processors(),
            random: config.is_random().then(random),
        }
    }

    /// Chooses a token from `scores`, which are changed, given what stands before it.
    ///
    /// # Errors
    ///
    /// When a score is not a number, or none is left to choose from.
    pub fn choose(&mut self, scores: &mut [f32], history: History<'_>) -> Result<u32, Error> {
        check(scores)?;
        for processor in &self.processors {
            processor.process(scores, history);
        }
        let best = best(scores)?;
        let Some(random) = &mut self.random else {
            return Ok(best);
        };
        let weights = exponentials(scores);
        let total: f64 = weights.iter().sum();
        let mut left = random.random::<f64>() * total;
        for (token, weight) in weights.iter().enumerate() {
            left -= weight;
            if left < 0.0 {
                return Ok(token as u32);
            }
        }
        Ok(best)
    }
}

/// Refuses scores of a model that computed nonsense.
pub(super) fn check(scores: &[f32]) -> Result<(), Error> {
    let nonsense = |score: &f32| score.is_nan() || *score == f32::INFINITY;
    match scores.iter().position(nonsense) {
        None => Ok(()),
        Some(token) => Err(Error::Request(format!(
            "the model's score of token {token} is {}: the weights are damaged, or too large for this precision",
            scores[token]
        ))),
    }
}

/// The first of the best, as torch's argmax.
fn best(scores: &[f32]) -> Result<u32, Error> {
    let mut best = None;
    let mut highest = f32::NEG_INFINITY;
    for (token, score) in scores.iter().enumerate() {
        if *score > highest {
            (best, highest) = (Some(token as u32), *score);
        }
    }
    best.ok_or_else(|| Error::Request("no token is allowed next".to_owned()))
}

/// The logarithm of a token's probability by the model's own scores.
pub(super) fn log_prob(scores: &[f32], token: u32) -> f32 {
    log_softmax(scores)[token as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTHING: History<'_> = History {
        ids: &[],
        prompt: 0,
    };

    #[test]
    fn samples_follow_the_probabilities_and_the_seed() {
        let config = SamplingConfig {
            temperature: 1.0,
            seed: 7,
            ..SamplingConfig::greedy()
        };
        let draw = |count: usize| -> Vec<u32> {
            let mut sampler = Sampler::new(&config);
            let mut choose = || {
                let mut scores = [0.1_f32, 0.4, 0.3, 0.2].map(f32::ln);
                sampler.choose(&mut scores, NOTHING).unwrap()
            };
            (0..count).map(|_| choose()).collect()
        };
        let drawn = draw(20_000);
        assert_eq!(drawn[..50], draw(50)[..]);
        let share = drawn.iter().filter(|token| **token == 1).count() as f64 / 20_000.0;
        assert!((share - 0.4).abs() < 0.02, "{share}");
    }

    #[test]
    fn nonsense_is_not_token_zero() {
        let mut sampler = Sampler::new(&SamplingConfig::greedy());
        let error = sampler.choose(&mut [f32::NAN; 3], NOTHING).unwrap_err();
        assert!(error.to_string().contains("token 0 is NaN"), "{error}");
        let none = sampler.choose(&mut [f32::NEG_INFINITY; 3], NOTHING);
        assert_eq!(none.unwrap_err().to_string(), "no token is allowed next");
    }
}
