//! What the measurements share: models of real proportions with random weights.

use burn::tensor::Device;
use vlm::{
    clip, llama,
    llava::Llava,
    nn::{Activation, RotaryConfig},
    prelude::{CausalLmConfig, FeatureSelection, MlpProjectorConfig, VitConfig, Vlm},
    text::PositionEmbedding,
};

/// A LLaVA with the tower of the real one, cut to four layers, and a decoder of SmolLM2-135M's proportions.
pub fn small_llava(device: &Device) -> Llava {
    let mut vision = clip::vit_large_patch14_336(FeatureSelection::new(vec![-2], true));
    vision.num_hidden_layers = 4;
    let text = llama::smollm2_135m();
    let projector =
        MlpProjectorConfig::new(vision.feature_size(), text.hidden_size, Activation::Gelu);
    Vlm::new(
        vision.init(device),
        projector.init(device),
        text.init(device),
    )
}

/// The proportions of the picture world's model: four million parameters, 64 tokens a picture of 96 pixels.
pub fn world_llava(device: &Device) -> Llava {
    let vision = VitConfig {
        hidden_size: 192,
        intermediate_size: 640,
        num_hidden_layers: 6,
        num_attention_heads: 3,
        image_size: 96,
        patch_size: 12,
        hidden_act: Activation::Gelu,
        ..clip::vit_base_patch32(FeatureSelection::new(vec![-1], true))
    };
    let text = CausalLmConfig::new(572, 192, 512, 4, 4)
        .with_positions(Some(PositionEmbedding::Rotary(RotaryConfig::new(48))))
        .with_tie_word_embeddings(true);
    let projector = MlpProjectorConfig::new(192, 192, Activation::Gelu);
    Vlm::new(
        vision.init(device),
        projector.init(device),
        text.init(device),
    )
}
