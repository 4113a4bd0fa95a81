use burn::tensor::{Device, Tensor};
use vlm_core::{
    Error, Images, Sequence, VisionLanguageModel, VlmInput,
    nn::{AttentionMask, KvCache},
};

use super::GenerationConfig;

/// What a model makes of prompts, before the first token is chosen.
#[derive(Debug)]
pub struct Prefilled {
    /// Hidden states of the prompts, `[batch, seq, hidden_size]`, padded on the left.
    pub hidden: Tensor<3>,
    /// Keys and values of the prompts.
    pub cache: KvCache,
    pub(super) mask: AttentionMask,
    // Each prompt's ids, image placeholders expanded, without padding.
    pub(super) prompts: Vec<Vec<u32>>,
}

/// Runs a model over prompts, with room for `max_new_tokens` more.
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::Sequence;
/// use vlm_text::{CausalLmConfig, GenerationConfig, prefill};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let prompts = [Sequence::text(&[1, 2, 3]), Sequence::text(&[4])];
/// let prefilled = prefill(&model, &prompts, None, &GenerationConfig::new(5), &device).unwrap();
/// assert_eq!(prefilled.hidden.dims(), [2, 3, 16]);
/// ```
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
    let input = VlmInput::left_padded(prompts, images, device);
    let mut cache = KvCache::new(input.positions.seq().saturating_add(config.max_new_tokens));
    let mask = input.mask.clone();
    let hidden = model.forward(input, Some(&mut cache));
    Ok(Prefilled {
        hidden,
        cache,
        mask,
        prompts: prompts.iter().map(Sequence::ids).collect(),
    })
}
