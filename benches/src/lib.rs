//! What the measurements share: models of real proportions with random weights.

use burn::tensor::Device;
use vlm::{
    clip, llama,
    llava::Llava,
    nn::Activation,
    prelude::{FeatureSelection, MlpProjectorConfig, Vlm},
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
