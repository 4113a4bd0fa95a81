//! The image encoder of Idefics3 ([Laurençon et al. 2024](https://arxiv.org/abs/2408.12637)) and SmolVLM
//! ([Marafioti et al. 2025](https://arxiv.org/abs/2504.05299)): SigLIP's, with positions by fraction of the
//! picture.

use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap};

use crate::{FeatureSelection, GridPositions, VitConfig, siglip, tower};

/// The defaults of transformers' `Idefics3VisionConfig` and `SmolVLMVisionConfig`.
pub fn base_patch32_224() -> VitConfig {
    VitConfig {
        hidden_size: 1152,
        intermediate_size: 3072,
        num_attention_heads: 16,
        patch_size: 32,
        grid_positions: GridPositions::Bucketed,
        ..siglip::base_patch16_224(FeatureSelection::new(vec![-1], false).with_post_norm(true))
    }
}

/// SigLIP-so400m/14 at 364 pixels, the tower of Idefics3 8B.
pub fn so400m_patch14_364() -> VitConfig {
    VitConfig {
        intermediate_size: 4304,
        num_hidden_layers: 27,
        image_size: 364,
        patch_size: 14,
        ..base_patch32_224()
    }
}

/// SigLIP-B/16 at 512 pixels, the tower of SmolVLM 256M and 500M.
pub fn base_patch16_512() -> VitConfig {
    VitConfig {
        hidden_size: 768,
        num_attention_heads: 12,
        image_size: 512,
        patch_size: 16,
        ..base_patch32_224()
    }
}

/// Reads a `vision_config`; what it leaves out is as in [`base_patch32_224`].
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader) -> Result<VitConfig, Error> {
    const NAMES: [&str; 5] = [
        "idefics3_vision",
        "smolvlm_vision",
        // In files of 2024 and early 2025; the reference does not look at the name.
        "idefics3",
        "smolvlm",
        "siglip_vision_model",
    ];
    match reader.get::<String>("model_type")? {
        Some(name) if !NAMES.contains(&name.as_str()) => {
            let message = format!("expected {} or {}, found `{name}`", NAMES[0], NAMES[1]);
            return Err(reader.error("model_type", message));
        }
        _ => {}
    }
    // Of the image processor, which has a file of its own, and of how the tower was made.
    reader.ignore(&[
        "max_image_size",
        "size",
        "use_base_siglip",
        "vision_use_head",
    ]);
    tower::from_hf(reader, base_patch32_224())
}

/// The configuration as transformers writes it for `model_type`, `idefics3_vision` or `smolvlm_vision`.
pub fn to_hf(config: &VitConfig, model_type: &str) -> Value {
    let mut value = tower::to_hf(config);
    value["model_type"] = json!(model_type);
    value
}

/// Keys of a `vision_model`.
pub fn keys(config: &VitConfig) -> KeyMap {
    tower::keys(config)
}
