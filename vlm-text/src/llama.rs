//! Llama, and what shares its configuration: Vicuna, Yi, SmolLM.

use serde_json::{Map, Value, json};
use vlm_core::{ConfigReader, Error};

pub use crate::hf::{keys, keys_under};
use crate::{
    CausalLmConfig,
    hf::{Defaults, common_from_hf},
};

/// Vicuna 7B v1.5, the decoder of LLaVA-1.5 7B.
pub fn vicuna_7b() -> CausalLmConfig {
    CausalLmConfig::new(32064, 4096, 11008, 32, 32).with_norm_eps(1e-5)
}

/// Yi 34B, the decoder of LLaVA-v1.6-34B.
pub fn yi_34b() -> CausalLmConfig {
    CausalLmConfig::new(64000, 7168, 20480, 60, 56)
        .with_num_key_value_heads(Some(8))
        .with_norm_eps(1e-5)
        .with_positions(Some(crate::PositionEmbedding::Rotary(
            vlm_core::nn::RotaryConfig::new(128)
                .with_rope_theta(5_000_000.0)
                .with_max_position_embeddings(4096),
        )))
}

/// Llama-3 8B, the decoder of LLaVA-NeXT's Llama-3 model.
pub fn llama3_8b() -> CausalLmConfig {
    CausalLmConfig::new(128_256, 4096, 14336, 32, 32)
        .with_num_key_value_heads(Some(8))
        .with_norm_eps(1e-5)
        .with_positions(Some(crate::PositionEmbedding::Rotary(
            vlm_core::nn::RotaryConfig::new(128)
                .with_rope_theta(500_000.0)
                .with_max_position_embeddings(8192),
        )))
}

/// SmolLM2 135M.
pub fn smollm2_135m() -> CausalLmConfig {
    CausalLmConfig::new(49152, 576, 1536, 30, 9)
        .with_num_key_value_heads(Some(3))
        .with_norm_eps(1e-5)
        .with_positions(Some(crate::PositionEmbedding::Rotary(
            vlm_core::nn::RotaryConfig::new(64)
                .with_rope_theta(100_000.0)
                .with_max_position_embeddings(8192),
        )))
        .with_tie_word_embeddings(true)
}

/// Reads a `config.json`; defaults are those of transformers' `LlamaConfig`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(reader: &mut ConfigReader) -> Result<CausalLmConfig, Error> {
    let defaults = Defaults {
        vocab_size: 32000,
        intermediate_size: 11008,
        num_key_value_heads: None,
        max_position_embeddings: 2048,
    };
    let attention_bias = reader.or("attention_bias", false)?;
    Ok(common_from_hf(reader, &defaults)?
        .with_qkv_bias(attention_bias)
        .with_attention_output_bias(attention_bias)
        .with_mlp_bias(reader.or("mlp_bias", false)?))
}

/// Adds the keys that Llama alone has.
pub(crate) fn to_hf(config: &CausalLmConfig, keys: &mut Map<String, Value>) -> Result<(), Error> {
    if config.qkv_bias != config.attention_output_bias {
        return Err(Error::key(
            "attention_bias",
            "a Llama has biases on all four projections of attention or on none",
        ));
    }
    if config.sliding_windows.iter().any(Option::is_some) {
        return Err(Error::key(
            "sliding_window",
            "a Llama has no sliding window",
        ));
    }
    keys.insert("attention_bias".to_owned(), json!(config.qkv_bias));
    keys.insert("mlp_bias".to_owned(), json!(config.mlp_bias));
    Ok(())
}
