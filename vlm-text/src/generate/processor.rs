use std::{collections::BTreeMap, fmt::Debug};

/// What stands before the token that is chosen next.
#[derive(Clone, Copy, Debug)]
pub struct History<'a> {
    /// The prompt, image placeholders expanded, and what was generated.
    pub ids: &'a [u32],
    /// How many of the ids are the prompt's.
    pub prompt: usize,
}

impl<'a> History<'a> {
    /// The ids that were generated.
    ///
    /// ```
    /// use vlm_text::History;
    /// assert_eq!(History { ids: &[5, 6, 7], prompt: 2 }.generated(), [7]);
    /// ```
    pub fn generated(&self) -> &'a [u32] {
        &self.ids[self.prompt..]
    }
}

/// Changes the scores of the next token; a score of minus infinity forbids one.
///
/// A processor has no state of its own: what it needs to know is in the [`History`]. So it serves every row
/// of a batch and every beam of a search.
///
/// ```
/// use vlm_text::{History, LogitsProcessor};
///
/// /// Token 3 is never written twice.
/// #[derive(Debug)]
/// struct Once;
///
/// impl LogitsProcessor for Once {
///     fn process(&self, scores: &mut [f32], history: History<'_>) {
///         if history.generated().contains(&3) {
///             scores[3] = f32::NEG_INFINITY;
///         }
///     }
/// }
/// ```
pub trait LogitsProcessor: Debug + Send + Sync {
    /// Changes `scores`, one for each token of the vocabulary.
    fn process(&self, scores: &mut [f32], history: History<'_>);
}

/// Adds to the scores of tokens that would complete a sequence: `SequenceBiasLogitsProcessor`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, SequenceBias};
/// let bias = SequenceBias::new([(vec![1], -2.0), (vec![7, 0], 5.0)]);
/// let mut scores = [0.0, 0.0];
/// bias.process(&mut scores, History { ids: &[4, 7], prompt: 2 });
/// assert_eq!(scores, [5.0, -2.0]);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SequenceBias {
    biases: Vec<(Vec<u32>, f32)>,
}

impl SequenceBias {
    /// What is added for each sequence; an empty sequence is passed over.
    pub fn new(biases: impl IntoIterator<Item = (Vec<u32>, f32)>) -> Self {
        Self {
            biases: biases.into_iter().collect(),
        }
    }

    /// Sequences that are never completed (`bad_words_ids`, `suppress_tokens`).
    ///
    /// ```
    /// use std::sync::Arc;
    /// use vlm_text::{SamplingConfig, SequenceBias};
    /// let mut sampling = SamplingConfig::greedy();
    /// sampling.further.push(Arc::new(SequenceBias::forbid([vec![5], vec![7, 8]])));
    /// assert_eq!(sampling.processors().len(), 1);
    /// ```
    pub fn forbid(sequences: impl IntoIterator<Item = Vec<u32>>) -> Self {
        let biases = sequences.into_iter();
        Self::new(biases.map(|sequence| (sequence, f32::NEG_INFINITY)))
    }
}

impl LogitsProcessor for SequenceBias {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        for (sequence, bias) in &self.biases {
            let Some((last, before)) = sequence.split_last() else {
                continue;
            };
            if history.ids.ends_with(before)
                && let Some(score) = scores.get_mut(*last as usize)
            {
                *score += bias;
            }
        }
    }
}

/// Divides positive and multiplies negative scores of tokens that stand in the history
/// ([Keskar et al. 2019](https://arxiv.org/abs/1909.05858)): `RepetitionPenaltyLogitsProcessor`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, RepetitionPenalty};
/// let mut scores = [2.0, -2.0, 1.0];
/// RepetitionPenalty(2.0).process(&mut scores, History { ids: &[0, 0, 1], prompt: 2 });
/// assert_eq!(scores, [1.0, -4.0, 1.0]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RepetitionPenalty(pub f32);

impl LogitsProcessor for RepetitionPenalty {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        for id in counts(history.ids).into_keys() {
            // An image token's id may lie outside the vocabulary.
            if let Some(score) = scores.get_mut(id as usize) {
                *score = match *score < 0.0 {
                    true => *score * self.0,
                    false => *score / self.0,
                };
            }
        }
    }
}

/// Lowers the scores of tokens that were generated: by `presence` once, and by `frequency` each time.
///
/// The two penalties of OpenAI's API, as vLLM computes them; transformers has none of them.
///
/// ```
/// use vlm_text::{CountPenalty, History, LogitsProcessor};
/// let penalty = CountPenalty { presence: 1.0, frequency: 0.5 };
/// let mut scores = [0.0; 3];
/// // The prompt does not count.
/// penalty.process(&mut scores, History { ids: &[0, 1, 2, 1], prompt: 1 });
/// assert_eq!(scores, [0.0, -2.0, -1.5]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountPenalty {
    /// Subtracted once.
    pub presence: f32,
    /// Subtracted for each time.
    pub frequency: f32,
}

impl LogitsProcessor for CountPenalty {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        for (id, count) in counts(history.generated()) {
            if let Some(score) = scores.get_mut(id as usize) {
                *score -= self.frequency * count as f32;
                *score -= self.presence;
            }
        }
    }
}

/// Forbids tokens that would repeat a run of this many tokens: `NoRepeatNGramLogitsProcessor`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, NoRepeatNGram};
/// let mut scores = [0.0; 3];
/// NoRepeatNGram(2).process(&mut scores, History { ids: &[1, 2, 1], prompt: 1 });
/// assert_eq!(scores, [0.0, 0.0, f32::NEG_INFINITY]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRepeatNGram(pub usize);

impl LogitsProcessor for NoRepeatNGram {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        let ids = history.ids;
        if self.0 == 0 || ids.len() < self.0 {
            return;
        }
        let begun = &ids[ids.len() + 1 - self.0..];
        for run in ids.windows(self.0) {
            let (last, before) = (run[self.0 - 1], &run[..self.0 - 1]);
            if before == begun
                && let Some(score) = scores.get_mut(last as usize)
            {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// Forbids to end before so many tokens were generated: `MinNewTokensLengthLogitsProcessor`.
///
/// ```
/// use vlm_text::{History, LogitsProcessor, MinNewTokens};
/// let longer = MinNewTokens { tokens: 1, eos_token_ids: vec![0] };
/// let mut scores = [0.0; 2];
/// longer.process(&mut scores, History { ids: &[5], prompt: 1 });
/// assert_eq!(scores, [f32::NEG_INFINITY, 0.0]);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MinNewTokens {
    /// Tokens that an answer has at least.
    pub tokens: usize,
    /// What would end it.
    pub eos_token_ids: Vec<u32>,
}

impl LogitsProcessor for MinNewTokens {
    fn process(&self, scores: &mut [f32], history: History<'_>) {
        if history.generated().len() < self.tokens {
            forbid(scores, &self.eos_token_ids);
        }
    }
}

fn forbid(scores: &mut [f32], ids: &[u32]) {
    for id in ids {
        if let Some(score) = scores.get_mut(*id as usize) {
            *score = f32::NEG_INFINITY;
        }
    }
}

fn counts(ids: &[u32]) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    for id in ids {
        *counts.entry(*id).or_default() += 1;
    }
    counts
}
