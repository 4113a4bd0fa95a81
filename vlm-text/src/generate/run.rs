use std::{
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use burn::tensor::Device;
use vlm_core::{Error, Images, Sequence, VisionLanguageModel, nn::KvCache};

use super::{
    GenerationConfig, History, Prefilled, Sampler, batch::Batch, beam::beam_search, prefill,
    sampling::log_prob,
};

/// Why a row ended: see [`Generated`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The model wrote an end-of-sequence token.
    EndOfSequence,
    /// The text has a stop string.
    StopString,
    /// `max_new_tokens` was reached.
    Length,
    /// `max_time` was over.
    Time,
    /// The caller asked for it.
    Stopped,
}

/// The answer to one sequence.
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, EndReason, GenerationConfig, generate};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let mut config = GenerationConfig::new(3);
/// config.log_probs = true;
/// let answers = generate(&model, &[Sequence::text(&[1, 2])], None, &config, &device)?;
/// assert_eq!((answers[0].tokens.len(), answers[0].end), (3, EndReason::Length));
/// assert!(answers[0].log_probs.as_ref().unwrap().iter().all(|log_prob| *log_prob < 0.0));
/// # Ok::<(), vlm_core::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// The new tokens, without the one that ended the sequence.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub end: EndReason,
    /// Of a beam search: the sum of the tokens' log-probabilities, the ending token's included, divided by the
    /// length to the power of `length_penalty`.
    pub score: Option<f32>,
    /// On request: the logarithm of each token's probability by the model's own scores, before penalties,
    /// temperature and filters.
    pub log_probs: Option<Vec<f32>>,
}

/// A token that was just chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Number of the answer.
    pub row: usize,
    /// The token.
    pub id: u32,
}

/// Answers while they are written, one token of each row a [`step`](Self::step).
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, Decoding, EndReason, GenerationConfig, prefill};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let config = GenerationConfig::new(100);
/// let prefilled = prefill(&model, &[Sequence::text(&[1, 2])], None, &config, &device)?;
/// let mut decoding = Decoding::new(&model, prefilled, &config)?;
/// for _ in 0..3 {
///     assert_eq!(decoding.step()?.unwrap()[0].row, 0);
/// }
/// decoding.stop(0);
/// assert!(decoding.step()?.is_none());
/// let (answers, _) = decoding.finish();
/// assert_eq!((answers[0].tokens.len(), answers[0].end), (3, EndReason::Stopped));
/// # Ok::<(), vlm_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Decoding<'a, M> {
    model: &'a M,
    config: GenerationConfig,
    clock: Clock,
    batch: Batch,
    // Of the rows of the batch, when they are not used up.
    scores: Option<Vec<Vec<f32>>>,
    // Which answer each row of the batch belongs to.
    rows: Vec<usize>,
    answers: Vec<Answer>,
}

#[derive(Debug)]
struct Answer {
    sampler: Sampler,
    ids: Vec<u32>,
    prompt: usize,
    log_probs: Vec<f32>,
    end: Option<EndReason>,
}

/// Ends a generation from outside.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    max_time: Option<Duration>,
    cancel: Option<Arc<AtomicBool>>,
}

impl Clock {
    pub fn new(config: &GenerationConfig) -> Self {
        Self {
            start: Instant::now(),
            max_time: config.max_time,
            cancel: config.cancel.clone(),
        }
    }

    /// Why no further token is wanted, once that is so.
    pub fn over(&self) -> Option<EndReason> {
        let cancelled = self.cancel.as_ref();
        if cancelled.is_some_and(|cancelled| cancelled.load(Ordering::Relaxed)) {
            return Some(EndReason::Stopped);
        }
        let is_late = self.max_time.is_some_and(|max| self.start.elapsed() > max);
        is_late.then_some(EndReason::Time)
    }
}

impl<'a, M: VisionLanguageModel> Decoding<'a, M> {
    /// Begins answers to prompts that were [`prefill`]ed.
    ///
    /// # Errors
    ///
    /// When the cache is too small for `max_new_tokens`, or the configuration asks for beams (a search has its
    /// answers at the end only) or contradicts itself.
    pub fn new(
        model: &'a M,
        prefilled: Prefilled,
        config: &GenerationConfig,
    ) -> Result<Self, Error> {
        config.check()?;
        if config.beams.num_beams > 1 {
            let message = "num_beams: a search has its answers at the end, expected 1 beam";
            return Err(Error::Request(message.to_owned()));
        }
        let prompts = prefilled.prompts.clone();
        let (mut batch, scores) = Batch::new(model, prefilled, config)?;
        let count = config.num_return_sequences;
        let sources: Vec<usize> = (0..prompts.len() * count).map(|row| row / count).collect();
        batch.select(&sources);
        let answer = |row: usize| Answer {
            // A sampler a row: what a row draws does not depend on its neighbours.
            sampler: Sampler::numbered(&config.sampling, (row % count) as u64),
            ids: prompts[row / count].clone(),
            prompt: prompts[row / count].len(),
            log_probs: Vec::new(),
            end: (config.max_new_tokens == 0).then_some(EndReason::Length),
        };
        Ok(Self {
            model,
            config: config.clone(),
            clock: Clock::new(config),
            batch,
            scores: Some(sources.iter().map(|row| scores[*row].clone()).collect()),
            rows: (0..sources.len()).collect(),
            answers: (0..sources.len()).map(answer).collect(),
        })
    }

    /// Chooses the next token of each row; `None` when all rows have ended. A row that ends by an
    /// end-of-sequence token gets no new one.
    ///
    /// # Errors
    ///
    /// When the model's scores are not numbers, or a constraint leaves no token.
    pub fn step(&mut self) -> Result<Option<Vec<NewToken>>, Error> {
        let ended = |rows: &[usize]| rows.iter().all(|row| self.answers[*row].end.is_some());
        if ended(&self.rows) {
            return Ok(None);
        }
        let scores = match self.scores.take() {
            Some(scores) => scores,
            None => self.read(),
        };
        let mut chosen = Vec::with_capacity(self.rows.len());
        for (row, mut scores) in self.rows.iter().copied().zip(scores) {
            let answer = &mut self.answers[row];
            let own = self.config.log_probs.then(|| scores.clone());
            let history = History {
                ids: &answer.ids,
                prompt: answer.prompt,
            };
            let id = answer.sampler.choose(&mut scores, history)?;
            if self.config.eos_token_ids.contains(&id) {
                answer.end = Some(EndReason::EndOfSequence);
                continue;
            }
            answer.ids.push(id);
            answer.log_probs.extend(own.map(|own| log_prob(&own, id)));
            chosen.push(NewToken { row, id });
            if answer.ids.len() - answer.prompt == self.config.max_new_tokens {
                answer.end = Some(EndReason::Length);
            }
        }
        if let Some(reason) = self.clock.over() {
            self.end_all(reason);
        }
        Ok(Some(chosen))
    }

    /// Reads the newest token of each row that goes on; rows that ended leave the work.
    fn read(&mut self) -> Vec<Vec<f32>> {
        let open = |index: &usize| self.answers[self.rows[*index]].end.is_none();
        let kept: Vec<usize> = (0..self.rows.len()).filter(open).collect();
        self.batch.select(&kept);
        self.rows = kept.iter().map(|index| self.rows[*index]).collect();
        let newest = |row: &usize| self.answers[*row].ids.last().copied().unwrap_or_default();
        let tokens: Vec<u32> = self.rows.iter().map(newest).collect();
        self.batch.read(self.model, &tokens)
    }

    /// Ends a row after the tokens that it has; one that had ended stays as it is.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn stop(&mut self, row: usize) {
        self.answers[row].end.get_or_insert(EndReason::Stopped);
    }

    /// Number of answers.
    pub fn rows(&self) -> usize {
        self.answers.len()
    }

    /// Why a row ended; `None` while it goes on.
    ///
    /// # Panics
    ///
    /// When there is no such row.
    pub fn end(&self, row: usize) -> Option<EndReason> {
        self.answers[row].end
    }

    pub(super) fn set_end(&mut self, row: usize, reason: EndReason) {
        self.answers[row].end = Some(reason);
    }

    fn end_all(&mut self, reason: EndReason) {
        for answer in &mut self.answers {
            answer.end.get_or_insert(reason);
        }
    }

    /// The answers so far, and the cache with all rows that had not ended before the last token was read.
    pub fn finish(mut self) -> (Vec<Generated>, KvCache) {
        self.end_all(EndReason::Stopped);
        let log_probs = self.config.log_probs;
        let generated = self.answers.into_iter().map(|answer| Generated {
            tokens: answer.ids[answer.prompt..].to_vec(),
            end: answer.end.unwrap_or(EndReason::Stopped),
            score: None,
            log_probs: log_probs.then_some(answer.log_probs),
        });
        (generated.collect(), self.batch.cache)
    }
}

/// Generates answers to each prompt, `num_return_sequences` in a row. The prompts are one batch, and each
/// answer equals the one that its prompt alone gets.
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{BeamConfig, CausalLmConfig, GenerationConfig, generate};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let mut config = GenerationConfig::new(5).with_beams(BeamConfig::new(3));
/// config.num_return_sequences = 2;
/// let prompts = [Sequence::text(&[1, 2, 3]), Sequence::text(&[4])];
/// let answers = generate(&model, &prompts, None, &config, &device).unwrap();
/// assert_eq!(answers.len(), 4);
/// assert!(answers[0].score >= answers[1].score);
/// ```
///
/// # Errors
///
/// When there is no prompt, or an empty one, or as [`generate_with`].
pub fn generate(
    model: &impl VisionLanguageModel,
    prompts: &[Sequence],
    images: Option<Images>,
    config: &GenerationConfig,
    device: &Device,
) -> Result<Vec<Generated>, Error> {
    let prefilled = prefill(model, prompts, images, config, device)?;
    generate_with(model, prefilled, config, |_, _| ControlFlow::Continue(()))
}

/// Generates from prompts that were [`prefill`]ed, and shows each token with the number of its answer as it is
/// chosen; an answer for which `on_token` breaks ends there. A beam search shows its tokens at the end.
///
/// ```
/// use std::ops::ControlFlow;
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, EndReason, GenerationConfig, generate_with, prefill};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let config = GenerationConfig::new(100);
/// let prefilled = prefill(&model, &[Sequence::text(&[1, 2])], None, &config, &device)?;
/// let mut seen = Vec::new();
/// let answers = generate_with(&model, prefilled, &config, |_row, token| {
///     seen.push(token);
///     if seen.len() < 4 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
/// })?;
/// assert_eq!((&answers[0].tokens, answers[0].end), (&seen, EndReason::Stopped));
/// # Ok::<(), vlm_core::Error>(())
/// ```
///
/// # Errors
///
/// When the cache of `prefilled` is too small for `max_new_tokens`, the model's scores are not numbers, or the
/// configuration contradicts itself or has stop strings, which need a tokenizer
/// ([`generate_text`](super::generate_text)).
pub fn generate_with(
    model: &impl VisionLanguageModel,
    prefilled: Prefilled,
    config: &GenerationConfig,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, Error> {
    config.check()?;
    if !config.stop_strings.is_empty() {
        let message = "stop_strings: tokens alone cannot show them, a tokenizer is needed";
        return Err(Error::Request(message.to_owned()));
    }
    if config.beams.num_beams > 1 {
        let mut answers = beam_search(model, prefilled, config, |_| false)?;
        for (row, answer) in answers.iter_mut().enumerate() {
            let shown = |token: &u32| on_token(row, *token).is_break();
            if let Some(last) = answer.tokens.iter().position(shown) {
                answer.tokens.truncate(last + 1);
                answer.end = EndReason::Stopped;
            }
        }
        return Ok(answers);
    }
    let mut decoding = Decoding::new(model, prefilled, config)?;
    while let Some(tokens) = decoding.step()? {
        for token in tokens {
            if on_token(token.row, token.id).is_break() {
                decoding.stop(token.row);
            }
        }
    }
    Ok(decoding.finish().0)
}
