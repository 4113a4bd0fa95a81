use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, s};
use vlm_core::{Error, Images, Sequence, VisionLanguageModel, VlmInput, nn::KvCache};

use super::{GenerationConfig, Sampler};

/// Why a row ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The model wrote an end-of-sequence token.
    EndOfSequence,
    /// `max_new_tokens` was reached.
    Length,
    /// The caller asked for it.
    Stopped,
}

/// The answer to one sequence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The new tokens, without the one that ended the sequence.
    pub tokens: Vec<u32>,
    /// Why there are no more.
    pub end: EndReason,
}

/// What a model makes of prompts, before the first token is chosen.
#[derive(Debug)]
pub struct Prefilled {
    /// Hidden states of the prompts, `[batch, seq, hidden_size]`, padded on the left.
    pub hidden: Tensor<3>,
    /// Keys and values of the prompts.
    pub cache: KvCache,
    input: VlmInput,
    lengths: Vec<u32>,
}

/// Runs a model over prompts, with room for `max_new_tokens` more.
///
/// # Errors
///
/// When there is no prompt, or an empty one.
pub fn prefill(
    model: &impl VisionLanguageModel,
    prompts: &[Sequence],
    images: Option<Images>,
    config: &GenerationConfig,
    device: &Device,
) -> Result<Prefilled, Error> {
    if prompts.is_empty() || prompts.iter().any(Sequence::is_empty) {
        return Err(Error::Request("a prompt has no token".to_owned()));
    }
    let mut input = VlmInput::left_padded(prompts, images, device);
    let mut cache = KvCache::new(input.positions.seq().saturating_add(config.max_new_tokens));
    let hidden = model.forward(input.clone(), Some(&mut cache));
    input.images = None;
    Ok(Prefilled {
        hidden,
        cache,
        input,
        lengths: prompts.iter().map(|prompt| prompt.len() as u32).collect(),
    })
}

/// Generates an answer to each prompt. The rows are one batch, and each answer equals the one that its
/// prompt alone gets.
///
/// # Errors
///
/// When there is no prompt, or an empty one.
pub fn generate(
    model: &impl VisionLanguageModel,
    prompts: &[Sequence],
    images: Option<Images>,
    config: &GenerationConfig,
    device: &Device,
) -> Result<Vec<Generated>, Error> {
    let prefilled = prefill(model, prompts, images, config, device)?;
    let next = |_: usize, _: u32| ControlFlow::Continue(());
    generate_with(model, prompts, prefilled, config, next)
}

/// Generates from prompts that were [`prefill`]ed, and shows each token with the number of its row as it is
/// chosen; a row for which `on_token` breaks ends there.
///
/// # Errors
///
/// When the cache of `prefilled` is too small for `max_new_tokens`.
pub fn generate_with(
    model: &impl VisionLanguageModel,
    prompts: &[Sequence],
    prefilled: Prefilled,
    config: &GenerationConfig,
    mut on_token: impl FnMut(usize, u32) -> ControlFlow<()>,
) -> Result<Vec<Generated>, Error> {
    let Prefilled {
        hidden,
        mut cache,
        input,
        lengths: mut positions,
    } = prefilled;
    // The last token is chosen and never read.
    cache.reserve(config.max_new_tokens.saturating_sub(1))?;
    let device = hidden.device();
    let mut mask = input.mask;
    // A sampler a row: what a row draws does not depend on its neighbours.
    let mut samplers = vec![Sampler::new(&config.sampling); prompts.len()];
    let mut sequences: Vec<Vec<u32>> = prompts.iter().map(Sequence::ids).collect();
    let mut answers: Vec<Generated> = prompts
        .iter()
        .map(|_| Generated {
            tokens: Vec::new(),
            end: EndReason::Length,
        })
        .collect();
    let mut rows: Vec<usize> = (0..prompts.len()).collect();
    let mut hidden = last_position(hidden);
    for step in 0..config.max_new_tokens {
        let mut logits = scores(model.logits(hidden));
        let vocab_size = logits.len() / rows.len();
        let mut chosen = Vec::with_capacity(rows.len());
        let mut kept = Vec::with_capacity(rows.len());
        for (index, (row, logits)) in rows.iter().zip(logits.chunks_mut(vocab_size)).enumerate() {
            let token = samplers[*row].choose(logits, &sequences[*row]);
            if config.eos_token_ids.contains(&token) {
                answers[*row].end = EndReason::EndOfSequence;
                continue;
            }
            answers[*row].tokens.push(token);
            sequences[*row].push(token);
            if on_token(*row, token).is_break() {
                answers[*row].end = EndReason::Stopped;
                continue;
            }
            chosen.push(token);
            kept.push(index);
        }
        if kept.is_empty() || step + 1 == config.max_new_tokens {
            break;
        }
        if kept.len() < rows.len() {
            // Rows that ended leave the work.
            let indices: Vec<i64> = kept.iter().map(|index| *index as i64).collect();
            cache.select(Tensor::<1, Int>::from_data(&indices[..], &device));
            mask.select(&kept);
            rows = kept.iter().map(|index| rows[*index]).collect();
            positions = kept.iter().map(|index| positions[*index]).collect();
        }
        mask.push();
        let input = VlmInput::step(&chosen, &positions, mask.clone(), &device);
        hidden = model.forward(input, Some(&mut cache));
        for position in &mut positions {
            *position += 1;
        }
    }
    Ok(answers)
}

/// `[batch, seq, hidden] -> [batch, 1, hidden]`: generation scores one position only.
fn last_position(hidden: Tensor<3>) -> Tensor<3> {
    let seq = hidden.dims()[1];
    hidden.slice(s![.., seq - 1.., ..])
}

fn scores(logits: Tensor<3>) -> Vec<f32> {
    let data = logits.into_data().convert::<f32>();
    data.try_into_vec().expect("converted to f32")
}
