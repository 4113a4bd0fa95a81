//! Mistral: a Llama with grouped queries and a sliding window.

use serde_json::{Map, Value, json};
use vlm_core::{ConfigReader, Error};

pub use crate::hf::keys;
use crate::{
    CausalLmConfig,
    hf::{Defaults, common_from_hf, layer_types, windows_by_layer},
};

/// Mistral 7B v0.2, the decoder of LLaVA-NeXT 7B.
pub fn mistral_7b() -> CausalLmConfig {
    CausalLmConfig::new(32064, 4096, 14336, 32, 32)
        .with_num_key_value_heads(Some(8))
        .with_norm_eps(1e-5)
        .with_positions(Some(crate::PositionEmbedding::Rotary(
            vlm_core::nn::RotaryConfig::new(128)
                .with_rope_theta(1_000_000.0)
                .with_max_position_embeddings(32768),
        )))
}

/// Reads a `config.json`; defaults are those of transformers' `MistralConfig`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(reader: &mut ConfigReader) -> Result<CausalLmConfig, Error> {
    let defaults = Defaults {
        vocab_size: 32000,
        intermediate_size: 14336,
        num_key_value_heads: Some(8),
        max_position_embeddings: 4096 * 32,
    };
    // Absent is the class's default, null is none.
    let window = match reader.has("sliding_window") {
        true => reader.get("sliding_window")?,
        false => Some(4096),
    };
    if window == Some(0) {
        return Err(reader.error("sliding_window", "expected a whole number above 0, found 0"));
    }
    let config = common_from_hf(reader, &defaults)?;
    let layers = config.num_hidden_layers;
    // Not a key of its configuration class, but the reference builds a Ministral from a Mistral that has it.
    let windows = windows_by_layer(reader, layers, window)?;
    Ok(config.with_sliding_windows(windows.unwrap_or_else(|| vec![window; layers])))
}

/// Adds the keys that Mistral alone has.
pub(crate) fn to_hf(config: &CausalLmConfig, keys: &mut Map<String, Value>) -> Result<(), Error> {
    if config.qkv_bias || config.attention_output_bias || config.mlp_bias {
        return Err(Error::key("attention_bias", "a Mistral has no biases"));
    }
    let windows = &config.sliding_windows;
    let window = windows.iter().copied().flatten().next();
    if windows.iter().flatten().any(|other| Some(*other) != window) {
        return Err(Error::key(
            "sliding_window",
            "the windows of a Mistral have one size",
        ));
    }
    keys.insert("sliding_window".to_owned(), json!(window));
    if window.is_some() && windows.iter().any(Option::is_none) {
        keys.insert("layer_types".to_owned(), layer_types(config));
    }
    Ok(())
}
