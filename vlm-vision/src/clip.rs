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
    VitConfig {
        hidden_size: 1024,
        intermediate_size: 4096,
        num_hidden_layers: 24,
        num_attention_heads: 16,
        image_size: 336,
        patch_size: 14,
        ..vit_base_patch32(features)
    }
}

/// CLIP-L/14 at 224 pixels, the tower of Kosmos-2.
pub fn vit_large_patch14_224(features: FeatureSelection) -> VitConfig {
    VitConfig {
        image_size: 224,
        ..vit_large_patch14_336(features)
    }
}

/// CLIP-B/32 at 224 pixels, the defaults of transformers' `CLIPVisionConfig`.
pub fn vit_base_patch32(features: FeatureSelection) -> VitConfig {
    VitConfig {
        hidden_size: 768,
        intermediate_size: 3072,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        image_size: 224,
        patch_size: 32,
        hidden_act: Activation::QuickGelu,
        layer_norm_eps: 1e-5,
        class_token: true,
        pre_norm: true,
        patch_bias: false,
        features,
    }
}

/// Reads a `vision_config`; what it leaves out is as in [`vit_base_patch32`].
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader, features: FeatureSelection) -> Result<VitConfig, Error> {
    reader.only("model_type", "clip_vision_model".to_owned())?;
    // Of CLIP's text side and its shared space, which a tower does not have.
    reader.ignore(&["projection_dim", "vocab_size", "dropout"]);
    from_hf_over(reader, vit_base_patch32(features))
}

/// Reads the `vision_config` of a family whose tower is CLIP's under another `model_type`, which is taken
/// before; what it leaves out is as in `defaults`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf_over(reader: ConfigReader, defaults: VitConfig) -> Result<VitConfig, Error> {
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
