use burn::tensor::{Device, Tensor, TensorData};
use vlm_core::{
    Error, Images, Positions, Sequence, Source, VisionLanguageModel, VlmInput,
    nn::{AttentionMask, KvCache},
};

use super::GenerationConfig;

/// What a model makes of prompts, before the first token is chosen: by [`prefill`] or [`prefill_rest`].
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

/// Runs a model over the rest of one prompt whose first positions a cache holds, as the turns of a conversation
/// leave it. `images` are the pictures of the whole prompt.
///
/// ```
/// use burn::tensor::Device;
/// use vlm_core::{Sequence, nn::KvCache};
/// use vlm_text::{CausalLmConfig, prefill_rest};
///
/// let device = Device::default();
/// let model = CausalLmConfig::new(32, 16, 32, 2, 4).init(&device);
/// let cache = KvCache::new(10);
/// let first = prefill_rest(&model, &Sequence::text(&[1, 2, 3]), None, cache, &device)?;
/// let longer = Sequence::text(&[1, 2, 3, 4, 5]);
/// let second = prefill_rest(&model, &longer, None, first.cache, &device)?;
/// assert_eq!(second.hidden.dims(), [1, 2, 16]);
/// # Ok::<(), vlm_core::Error>(())
/// ```
///
/// # Errors
///
/// When no position is left to read, or the prompt does not fit the cache.
pub fn prefill_rest(
    model: &impl VisionLanguageModel,
    prompt: &Sequence,
    images: Option<Images>,
    mut cache: KvCache,
    device: &Device,
) -> Result<Prefilled, Error> {
    let held = cache.len();
    let Some(rest) = prompt.slots.get(held..).filter(|rest| !rest.is_empty()) else {
        return Err(Error::Request(
            "a prompt has no token that was not read before".to_owned(),
        ));
    };
    cache.reserve(rest.len())?;
    // Nothing reads the ids of visual positions, which may lie outside the vocabulary.
    let ids = rest.iter().map(|slot| match slot.source {
        Source::Text => i64::from(slot.id),
        _ => 0,
    });
    let ids: Vec<i64> = ids.collect();
    let positions = (held..prompt.len()).map(|position| position as u32);
    let input = VlmInput {
        ids: Tensor::from_data(TensorData::new(ids, [1, rest.len()]), device),
        images,
        sources: rest.iter().map(|slot| slot.source).collect(),
        positions: Positions::rows(&[positions.collect()]),
        mask: AttentionMask::causal(),
    };
    let hidden = model.forward(input, Some(&mut cache));
    Ok(Prefilled {
        hidden,
        cache,
        mask: AttentionMask::causal(),
        prompts: vec![prompt.ids()],
    })
}
