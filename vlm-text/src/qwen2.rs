//! Qwen2: a Llama with biases on queries, keys and values, and a sliding window in some layers.

use serde_json::{Map, Value, json};
use vlm_core::{ConfigReader, Error};

pub use crate::hf::keys;
use crate::{
    CausalLmConfig,
    hf::{Defaults, common_from_hf, layer_types, windows_by_layer},
};

/// Qwen2 0.5B.
pub fn qwen2_0_5b() -> CausalLmConfig {
    CausalLmConfig::new(151_936, 896, 4864, 24, 14)
        .with_num_key_value_heads(Some(2))
        .with_positions(Some(crate::PositionEmbedding::Rotary(
            vlm_core::nn::RotaryConfig::new(64)
                .with_rope_theta(1_000_000.0)
                .with_max_position_embeddings(32768),
        )))
        .with_qkv_bias(true)
        .with_tie_word_embeddings(true)
}

/// Reads a `config.json`; defaults are those of transformers' `Qwen2Config`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(reader: &mut ConfigReader) -> Result<CausalLmConfig, Error> {
    let defaults = Defaults {
        vocab_size: 151_936,
        intermediate_size: 22016,
        num_key_value_heads: Some(32),
        max_position_embeddings: 32768,
    };
    let config = common_from_hf(reader, &defaults)?.with_qkv_bias(true);
    let layers = config.num_hidden_layers;
    let window = match reader.has("sliding_window") {
        true => reader.get("sliding_window")?,
        false => Some(4096),
    };
    let window: Option<usize> = match reader.or("use_sliding_window", false)? {
        true => window,
        false => None,
    };
    if window == Some(0) {
        return Err(reader.error("sliding_window", "expected a whole number above 0, found 0"));
    }
    let first = reader.or("max_window_layers", 28)?;
    let windows = match windows_by_layer(reader, layers, window)? {
        Some(windows) => windows,
        None => (0..layers)
            .map(|layer| window.filter(|_| layer >= first))
            .collect(),
    };
    Ok(config.with_sliding_windows(windows))
}

/// Adds the keys that Qwen2 alone has.
pub(crate) fn to_hf(config: &CausalLmConfig, keys: &mut Map<String, Value>) -> Result<(), Error> {
    if !config.qkv_bias || config.attention_output_bias || config.mlp_bias {
        return Err(Error::key(
            "attention_bias",
            "a Qwen2 has biases on queries, keys and values and nowhere else",
        ));
    }
    let windows = &config.sliding_windows;
    let window = windows.iter().copied().flatten().next();
    if windows.iter().flatten().any(|other| Some(*other) != window) {
        return Err(Error::key(
            "sliding_window",
            "the windows of a Qwen2 have one size",
        ));
    }
    keys.insert("use_sliding_window".to_owned(), json!(window.is_some()));
    keys.insert("sliding_window".to_owned(), json!(window));
    keys.insert("layer_types".to_owned(), layer_types(config));
    Ok(())
}
