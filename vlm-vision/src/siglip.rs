//! SigLIP's image encoder ([Zhai et al. 2023](https://arxiv.org/abs/2303.15343)).

use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap, nn::Activation};

use crate::{FeatureSelection, VitConfig, tower};

/// SigLIP-so400m/14 at 384 pixels.
pub fn so400m_patch14_384(features: FeatureSelection) -> VitConfig {
    VitConfig::new(
        1152,
        4304,
        27,
        16,
        384,
        14,
        Activation::GeluTanh,
        1e-6,
        false,
        false,
        true,
        features,
    )
}

/// Reads a `vision_config`; defaults are those of transformers' `SiglipVisionConfig`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader, features: FeatureSelection) -> Result<VitConfig, Error> {
    reader.only("model_type", "siglip_vision_model".to_owned())?;
    // The pooling head makes one vector of a picture; features are taken before it.
    reader.ignore(&["vision_use_head"]);
    let defaults = VitConfig::new(
        768,
        3072,
        12,
        12,
        224,
        16,
        Activation::GeluTanh,
        1e-6,
        false,
        false,
        true,
        features,
    );
    tower::from_hf(reader, defaults)
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
