//! SigLIP's image encoder ([Zhai et al. 2023](https://arxiv.org/abs/2303.15343)).

use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap, nn::Activation};

use crate::{FeatureSelection, GridPositions, VitConfig, tower};

/// SigLIP-so400m/14 at 384 pixels.
pub fn so400m_patch14_384(features: FeatureSelection) -> VitConfig {
    VitConfig {
        hidden_size: 1152,
        intermediate_size: 4304,
        num_hidden_layers: 27,
        num_attention_heads: 16,
        image_size: 384,
        patch_size: 14,
        ..base_patch16_224(features)
    }
}

/// SigLIP-B/16 at 224 pixels, the defaults of transformers' `SiglipVisionConfig`.
pub fn base_patch16_224(features: FeatureSelection) -> VitConfig {
    VitConfig {
        hidden_size: 768,
        intermediate_size: 3072,
        num_hidden_layers: 12,
        num_attention_heads: 12,
        image_size: 224,
        patch_size: 16,
        hidden_act: Activation::GeluTanh,
        layer_norm_eps: 1e-6,
        class_token: false,
        pre_norm: false,
        patch_bias: true,
        features,
        grid_positions: GridPositions::Interpolated,
    }
}

/// Reads a `vision_config`; what it leaves out is as in [`base_patch16_224`].
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader, features: FeatureSelection) -> Result<VitConfig, Error> {
    reader.only("model_type", "siglip_vision_model".to_owned())?;
    // The pooling head makes one vector of a picture; features are taken before it.
    reader.ignore(&["vision_use_head"]);
    tower::from_hf(reader, base_patch16_224(features))
}

/// The configuration as transformers writes it, without the pooling head.
pub fn to_hf(config: &VitConfig) -> Value {
    let mut value = tower::to_hf(config);
    value["model_type"] = json!("siglip_vision_model");
    value["vision_use_head"] = json!(false);
    value
}

/// Keys of a SigLIP vision model; those of its pooling head are not needed.
pub fn keys(config: &VitConfig) -> KeyMap {
    [
        "probe",
        "attention.in_proj_weight",
        "attention.in_proj_bias",
        "attention.out_proj.weight",
        "attention.out_proj.bias",
        "layernorm.weight",
        "layernorm.bias",
        "mlp.fc1.weight",
        "mlp.fc1.bias",
        "mlp.fc2.weight",
        "mlp.fc2.bias",
    ]
    .iter()
    .fold(tower::keys(config), |keys, key| {
        keys.ignore(&format!("head.{key}"))
    })
}
