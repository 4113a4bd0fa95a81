//! A model that recites: whatever it reads, its rows answer with given tokens.

use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor, TensorData},
};
use vlm_core::{ImageBatch, VisionLanguageModel, VlmInput, nn::KvCache};

/// Prompts have `prompt` tokens; then come `tokens`.
#[derive(Module, Debug)]
pub struct Script {
    /// `[vocab]`: what each position scores highest, one-hot times this.
    scale: Param<Tensor<1>>,
    #[module(skip)]
    tokens: Vec<u32>,
    vocab: usize,
    prompt: usize,
}

impl Script {
    pub fn new(tokens: &[u32], vocab: usize, prompt: usize, device: &Device) -> Self {
        Self {
            scale: Param::from_tensor(Tensor::from_data([9.0], (device, DType::F32))),
            tokens: tokens.to_vec(),
            vocab,
            prompt,
        }
    }
}

impl VisionLanguageModel for Script {
    fn encode_images(&self, _images: &ImageBatch) -> Tensor<3> {
        unreachable!("nobody shows it a picture")
    }

    /// `[batch, seq, 1]`: each token's position.
    fn forward(&self, input: VlmInput, _cache: Option<&mut KvCache>) -> Tensor<3> {
        let (batch, seq) = (input.positions.batch(), input.positions.seq());
        let positions: Vec<f32> = input.positions.axis(0).iter().map(|p| *p as f32).collect();
        let data = TensorData::new(positions, [batch, seq, 1]);
        Tensor::from_data(data, &input.ids.device())
    }

    fn logits(&self, hidden: Tensor<3>) -> Tensor<3> {
        let [batch, seq, _] = hidden.dims();
        let device = hidden.device();
        let positions: Vec<f32> = hidden.into_data().try_into_vec().unwrap();
        let mut scores = vec![0.0; positions.len() * self.vocab];
        for (index, position) in positions.iter().enumerate() {
            let next = (*position as usize + 1).saturating_sub(self.prompt);
            if let Some(token) = self.tokens.get(next) {
                scores[index * self.vocab + *token as usize] = 9.0;
            }
        }
        let data = TensorData::new(scores, [batch, seq, self.vocab]);
        Tensor::<3>::from_data(data, &device)
    }
}
