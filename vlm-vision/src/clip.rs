//! CLIP's image encoder ([Radford et al. 2021](https://arxiv.org/abs/2103.00020)).

use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::{KeyMap, Layout},
    nn::Activation,
};

use crate::{FeatureSelection, VitConfig, tower};

/// CLIP-L/14 at 336 pixels, the tower of LLaVA-1.5.
pub fn vit_large_patch14_336(features: FeatureSelection) -> VitConfig {
    VitConfig::new(
        1024,
        4096,
        24,
        16,
        336,
        14,
        Activation::QuickGelu,
        1e-5,
        true,
        true,
        false,
        features,
    )
}

/// Reads a `vision_config`; defaults are those of transformers' `CLIPVisionConfig`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader, features: FeatureSelection) -> Result<VitConfig, Error> {
    reader.only("model_type", "clip_vision_model".to_owned())?;
    // Of CLIP's text side and its shared space, which a tower does not have.
    reader.ignore(&["projection_dim", "vocab_size", "dropout"]);
    let defaults = VitConfig::new(
        768,
        3072,
        12,
        12,
        224,
        32,
        Activation::QuickGelu,
        1e-5,
        true,
        true,
        false,
        features,
    );
    tower::from_hf(reader, defaults)
}

/// The configuration as transformers writes it.
pub fn to_hf(config: &VitConfig) -> Value {
    let mut value = tower::to_hf(config);
    value["model_type"] = json!("clip_vision_model");
    value
}

/// Keys of a CLIP vision model.
pub fn keys(config: &VitConfig) -> KeyMap {
    tower::keys(config)
        .tensor(
            "embeddings.class_embedding",
            "class_embedding",
            Layout::Same,
        )
        // The misspelling is the original's.
        .same("pre_layrnorm", "pre_layernorm")
}
