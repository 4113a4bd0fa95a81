use burn::tensor::{Device, Int, Tensor, s};
use vlm_core::{
    Error, VisionLanguageModel, VlmInput,
    nn::{AttentionMask, KvCache},
};

use super::{GenerationConfig, Prefilled};

/// The rows of a batch that are still being written: what a model needs to read one more token of each.
#[derive(Debug)]
pub(super) struct Batch {
    pub cache: KvCache,
    mask: AttentionMask,
    // Where each row's next token stands.
    positions: Vec<u32>,
    device: Device,
}

impl Batch {
    /// The rows of prompts and the model's scores of their first new tokens.
    pub fn new(
        model: &impl VisionLanguageModel,
        prefilled: Prefilled,
        config: &GenerationConfig,
    ) -> Result<(Self, Vec<Vec<f32>>), Error> {
        let Prefilled {
            hidden,
            cache,
            mask,
            prompts,
        } = prefilled;
        // The last token is chosen and never read.
        cache.reserve(config.max_new_tokens.saturating_sub(1))?;
        let batch = Self {
            cache,
            mask,
            positions: prompts.iter().map(|prompt| prompt.len() as u32).collect(),
            device: hidden.device(),
        };
        let scores = scores(model, hidden);
        Ok((batch, scores))
    }

    /// Keeps the given rows, in the given order: rows that ended leave the work, beams change places.
    pub fn select(&mut self, rows: &[usize]) {
        if rows.iter().copied().eq(0..self.positions.len()) {
            return;
        }
        let indices: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
        let indices = Tensor::<1, Int>::from_data(&indices[..], &self.device);
        self.cache.select(indices);
        self.mask.select(rows);
        self.positions = rows.iter().map(|row| self.positions[*row]).collect();
    }

    /// Reads a token of each row and scores those that may follow.
    pub fn read(&mut self, model: &impl VisionLanguageModel, tokens: &[u32]) -> Vec<Vec<f32>> {
        self.mask.push();
        let input = VlmInput::step(tokens, &self.positions, self.mask.clone(), &self.device);
        let hidden = model.forward(input, Some(&mut self.cache));
        for position in &mut self.positions {
            *position += 1;
        }
        scores(model, hidden)
    }
}

/// The scores after the last position of each row, `[batch, seq, hidden] -> [batch][vocab]`.
fn scores(model: &impl VisionLanguageModel, hidden: Tensor<3>) -> Vec<Vec<f32>> {
    let [batch, seq, _] = hidden.dims();
    let logits = model.logits(hidden.slice(s![.., seq - 1.., ..]));
    let data = logits.into_data().convert::<f32>();
    let values: Vec<f32> = data.try_into_vec().expect("converted to f32");
    let vocab_size = values.len() / batch;
    values.chunks(vocab_size).map(<[f32]>::to_vec).collect()
}
