use std::{cmp::Ordering, sync::Arc};

use vlm_core::{Error, VisionLanguageModel};

use super::{
    EndReason, Generated, GenerationConfig, History, LogitsProcessor, Prefilled, batch::Batch,
    filter::log_softmax, run::Clock, sampling::check,
};

/// When a search ends that has as many whole answers as beams: `early_stopping`.
///
/// ```
/// use vlm_text::{BeamConfig, EarlyStopping, GenerationConfig};
/// // The search of the textbooks.
/// let beams = BeamConfig {
///     length_penalty: 0.0,
///     early_stopping: EarlyStopping::Never,
///     ..BeamConfig::new(4)
/// };
/// let config = GenerationConfig::new(20).with_beams(beams);
/// assert!(!config.sampling.is_random());
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EarlyStopping {
    /// When the best running beam, taken at its present length, is no better than the worst answer: `false`.
    #[default]
    Heuristic,
    /// At once: `true`.
    AtOnce,
    /// When no running beam can become better, at the greatest length where length is rewarded: `"never"`.
    Never,
}

/// Beam search as transformers has it.
///
/// ```
/// use vlm_text::{BeamConfig, EarlyStopping};
/// let beams = BeamConfig::new(3);
/// assert_eq!((beams.length_penalty, beams.early_stopping), (1.0, EarlyStopping::Heuristic));
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeamConfig {
    /// Answers that are written side by side; 1 is no search.
    pub num_beams: usize,
    /// Power of the length by which the sum of log-probabilities is divided; above 0 rewards length.
    pub length_penalty: f64,
    /// When the search ends.
    pub early_stopping: EarlyStopping,
}

impl BeamConfig {
    /// So many beams, no further preference.
    pub fn new(num_beams: usize) -> Self {
        Self {
            num_beams,
            length_penalty: 1.0,
            early_stopping: EarlyStopping::Heuristic,
        }
    }
}

/// One way to continue a prompt.
#[derive(Clone, Debug)]
struct Beam {
    tokens: Vec<u32>,
    // Of the tokens, by the model's own scores; kept on request.
    log_probs: Vec<f32>,
    score: f32,
    end: EndReason,
}

/// The search for one prompt.
#[derive(Debug)]
struct Search {
    // Best first.
    running: Vec<Beam>,
    finished: Vec<Beam>,
}

struct Candidate {
    beam: usize,
    token: u32,
    score: f32,
}

/// Writes the best answers to each prompt, `num_return_sequences` a prompt, best first. `stops` says whether
/// generated tokens are whole for another reason than an end-of-sequence token.
pub(super) fn beam_search(
    model: &impl VisionLanguageModel,
    prefilled: Prefilled,
    config: &GenerationConfig,
    mut stops: impl FnMut(&[u32]) -> bool,
) -> Result<Vec<Generated>, Error> {
    if config.sampling.is_random() {
        let message =
            "num_beams: sampling and beam search exclude each other, expected temperature 0";
        return Err(Error::Request(message.to_owned()));
    }
    let processors = config.sampling.processors();
    let prompts = prefilled.prompts.clone();
    let mut searches: Vec<Search> = prompts.iter().map(|_| Search::new()).collect();
    if config.max_new_tokens == 0 {
        let nothing = Generated {
            tokens: Vec::new(),
            end: EndReason::Length,
            score: Some(0.0),
            log_probs: config.log_probs.then(Vec::new),
        };
        return Ok(vec![nothing; prompts.len() * config.num_return_sequences]);
    }
    let clock = Clock::new(config);
    let (mut batch, mut scores) = Batch::new(model, prefilled, config)?;
    let mut open: Vec<usize> = (0..prompts.len()).collect();
    for length in 1..=config.max_new_tokens {
        let last = match length == config.max_new_tokens {
            true => Some(EndReason::Length),
            false => clock.is_over().then_some(EndReason::Time),
        };
        let (mut still_open, mut rows, mut tokens) = (Vec::new(), Vec::new(), Vec::new());
        let mut first_row = 0;
        for prompt in open {
            let search = &mut searches[prompt];
            let beams = search.running.len();
            let scores = &scores[first_row..first_row + beams];
            let candidates = search.candidates(scores, &prompts[prompt], &processors, config)?;
            let parents = search.advance(candidates, scores, length, last, config, &mut stops);
            if !search.is_over(length, config) && last.is_none() {
                still_open.push(prompt);
                rows.extend(parents.iter().map(|parent| first_row + parent));
                let newest = |beam: &Beam| beam.tokens.last().copied().unwrap_or_default();
                tokens.extend(search.running.iter().map(newest));
            }
            first_row += beams;
        }
        open = still_open;
        if open.is_empty() {
            break;
        }
        batch.select(&rows);
        scores = batch.read(model, &tokens);
    }
    config.num_return_sequences_of(&searches)
}

impl GenerationConfig {
    fn num_return_sequences_of(&self, searches: &[Search]) -> Result<Vec<Generated>, Error> {
        let count = self.num_return_sequences;
        let mut answers = Vec::with_capacity(searches.len() * count);
        for search in searches {
            if search.finished.len() < count {
                return Err(Error::Request(format!(
                    "num_return_sequences: {count} are asked for, and the search found {}",
                    search.finished.len()
                )));
            }
            answers.extend(search.finished.iter().take(count).map(|beam| Generated {
                tokens: beam.tokens.clone(),
                end: beam.end,
                score: Some(beam.score),
                log_probs: self.log_probs.then(|| beam.log_probs.clone()),
            }));
        }
        Ok(answers)
    }
}

impl Search {
    fn new() -> Self {
        let start = Beam {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            score: 0.0,
            end: EndReason::Length,
        };
        Self {
            running: vec![start],
            finished: Vec::new(),
        }
    }

    /// The best continuations of all running beams: as many as must be seen for `num_beams` of them to go on
    /// when all others end.
    fn candidates(
        &self,
        scores: &[Vec<f32>],
        prompt: &[u32],
        processors: &[Arc<dyn LogitsProcessor>],
        config: &GenerationConfig,
    ) -> Result<Vec<Candidate>, Error> {
        let mut all = Vec::new();
        for (index, (beam, scores)) in self.running.iter().zip(scores).enumerate() {
            check(scores)?;
            let mut scores = log_softmax(scores);
            let ids = [prompt, &beam.tokens].concat();
            let history = History {
                ids: &ids,
                prompt: prompt.len(),
            };
            for processor in processors {
                processor.process(&mut scores, history);
            }
            let candidate = |(token, score): (usize, &f32)| Candidate {
                beam: index,
                token: token as u32,
                score: beam.score + score,
            };
            let candidates = scores.iter().enumerate().map(candidate);
            all.extend(candidates.filter(|candidate| candidate.score > f32::NEG_INFINITY));
        }
        let count = config.beams.num_beams * (1 + config.eos_token_ids.len()).max(2);
        // The first of equals.
        let order = |a: &Candidate, b: &Candidate| {
            let place = |c: &Candidate| (c.beam, c.token);
            descending(a.score, b.score).then_with(|| place(a).cmp(&place(b)))
        };
        if count < all.len() {
            all.select_nth_unstable_by(count, order);
            all.truncate(count);
        }
        all.sort_by(order);
        Ok(all)
    }

    /// Takes over the candidates and returns which beam each new one continues; after a `last` step, all end.
    fn advance(
        &mut self,
        candidates: Vec<Candidate>,
        scores: &[Vec<f32>],
        length: usize,
        last: Option<EndReason>,
        config: &GenerationConfig,
        stops: &mut impl FnMut(&[u32]) -> bool,
    ) -> Vec<usize> {
        let BeamConfig {
            num_beams,
            length_penalty,
            early_stopping,
        } = config.beams;
        let full = self.finished.len() == num_beams && early_stopping == EarlyStopping::AtOnce;
        let (mut running, mut parents) = (Vec::new(), Vec::new());
        for (rank, candidate) in candidates.into_iter().enumerate() {
            let parent = &self.running[candidate.beam];
            let mut tokens = parent.tokens.clone();
            let mut log_probs = parent.log_probs.clone();
            let is_eos = config.eos_token_ids.contains(&candidate.token);
            if !is_eos {
                tokens.push(candidate.token);
                if config.log_probs {
                    let own = log_softmax(&scores[candidate.beam]);
                    log_probs.push(own[candidate.token as usize]);
                }
            }
            let end = match is_eos {
                true => Some(EndReason::EndOfSequence),
                false if stops(&tokens) => Some(EndReason::StopString),
                false => last,
            };
            let beam = Beam {
                tokens,
                log_probs,
                score: candidate.score,
                end: end.unwrap_or(EndReason::Length),
            };
            match end {
                None if running.len() < num_beams => {
                    running.push(beam);
                    parents.push(candidate.beam);
                }
                // What ends below the best `num_beams` is no answer, as in the reference.
                Some(_) if rank < num_beams && !full => self.finished.push(Beam {
                    score: beam.score / (length as f64).powf(length_penalty) as f32,
                    ..beam
                }),
                _ => {}
            }
        }
        self.finished.sort_by(|a, b| descending(a.score, b.score));
        self.finished.truncate(num_beams);
        self.running = running;
        parents
    }

    /// Whether going on cannot change the answers.
    fn is_over(&self, length: usize, config: &GenerationConfig) -> bool {
        let beams = config.beams;
        let Some(best) = self.running.first() else {
            return true;
        };
        if self.finished.len() < beams.num_beams {
            return false;
        }
        if beams.early_stopping == EarlyStopping::AtOnce {
            return true;
        }
        let length = match beams.early_stopping {
            EarlyStopping::Never if beams.length_penalty > 0.0 => config.max_new_tokens,
            _ => length,
        };
        let possible = best.score / (length as f64).powf(beams.length_penalty) as f32;
        let worst = self.finished.last();
        worst.is_none_or(|worst| possible <= worst.score)
    }
}

fn descending(a: f32, b: f32) -> Ordering {
    b.total_cmp(&a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beam(score: f32) -> Beam {
        Beam {
            tokens: Vec::new(),
            log_probs: Vec::new(),
            score,
            end: EndReason::Length,
        }
    }

    /// Whether a search is over after two of ten tokens whose best running sum is -2.
    fn is_over(early_stopping: EarlyStopping, length_penalty: f64, finished: &[f32]) -> bool {
        let search = Search {
            running: vec![beam(-2.0), beam(-3.0)],
            finished: finished.iter().copied().map(beam).collect(),
        };
        let config = GenerationConfig::new(10).with_beams(BeamConfig {
            early_stopping,
            length_penalty,
            ..BeamConfig::new(2)
        });
        search.is_over(2, &config)
    }

    #[test]
    fn a_search_is_over_when_nothing_better_can_come() {
        use EarlyStopping::{AtOnce, Heuristic, Never};
        // Fewer answers than beams are never enough.
        for early_stopping in [AtOnce, Heuristic, Never] {
            assert!(!is_over(early_stopping, 1.0, &[-0.1]));
        }
        // At its present length the best becomes -2 / 2, at the greatest -2 / 10.
        for (worst, at_once, heuristic, never) in [
            (-0.1, true, true, true),
            (-0.2, true, true, true),
            (-0.5, true, true, false),
            (-1.0, true, true, false),
            (-1.1, true, false, false),
        ] {
            let finished = [-0.01, worst];
            assert_eq!(is_over(AtOnce, 1.0, &finished), at_once, "{worst}");
            assert_eq!(is_over(Heuristic, 1.0, &finished), heuristic, "{worst}");
            assert_eq!(is_over(Never, 1.0, &finished), never, "{worst}");
        }
        // Where length is punished, the present length is the best that can be: -2 * 2.
        for (worst, over) in [(-3.9, true), (-4.1, false)] {
            assert_eq!(is_over(Never, -1.0, &[-0.01, worst]), over);
        }
    }
}
