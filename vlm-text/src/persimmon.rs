//! Persimmon, the decoder of Fuyu ([Elsen et al. 2023](https://www.adept.ai/blog/persimmon-8b)): layer norms
//! with biases, also of each head's queries and keys, half of whose dimensions turn, and a squared ReLU.
//!
//! Source: transformers' `modeling_persimmon.py`.

use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::KeyMap,
    nn::{Activation, NormKind, RotaryConfig},
};

use crate::{CausalLmConfig, PositionEmbedding, rope};

/// Where a configuration says nothing; the released models say 25000.
const ROPE: rope::Defaults = rope::Defaults {
    theta: 10000.0,
    partial: Some(0.5),
};

/// `adept/persimmon-8b-base`, the decoder of `adept/fuyu-8b` as well.
pub fn persimmon_8b() -> CausalLmConfig {
    let rotary = RotaryConfig::new(64)
        .with_rope_theta(25000.0)
        .with_partial_rotary_factor(0.5)
        .with_max_position_embeddings(16384);
    with_sizes(262_144, 4096, 16384, 36, 64).with_positions(Some(PositionEmbedding::Rotary(rotary)))
}

/// The family's structure with other sizes, in the order of [`CausalLmConfig::new`].
fn with_sizes(
    vocab_size: usize,
    hidden_size: usize,
    intermediate_size: usize,
    layers: usize,
    heads: usize,
) -> CausalLmConfig {
    CausalLmConfig::new(vocab_size, hidden_size, intermediate_size, layers, heads)
        .with_hidden_act(Activation::Relu2)
        .with_gated_mlp(false)
        .with_norm(NormKind::Layer)
        .with_norm_eps(1e-5)
        .with_qk_norm(true)
        .with_qkv_bias(true)
        .with_attention_output_bias(true)
        .with_mlp_bias(true)
}

/// Reads a `config.json`; defaults are those of transformers' `PersimmonConfig`.
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(reader: &mut ConfigReader) -> Result<CausalLmConfig, Error> {
    let heads = reader.size("num_attention_heads", 64)?;
    let hidden_size = reader.size("hidden_size", 4096)?;
    if !hidden_size.is_multiple_of(heads) {
        return Err(reader.error(
            "hidden_size",
            format!("{hidden_size} is not a multiple of num_attention_heads {heads}"),
        ));
    }
    let longest = reader.size("max_position_embeddings", 16384)?;
    let rotary = rope::from_hf(reader, hidden_size / heads, longest, ROPE)?;
    rope::check_pairs(reader, "partial_rotary_factor", &rotary)?;
    let vocab_size = reader.size("vocab_size", 262_144)?;
    let intermediate_size = reader.size("intermediate_size", 16384)?;
    let layers = reader.size_up_to(4096, "num_hidden_layers", 36)?;
    let config = with_sizes(vocab_size, hidden_size, intermediate_size, layers, heads)
        .with_hidden_act(reader.or("hidden_act", Activation::Relu2)?)
        .with_norm_eps(reader.or("layer_norm_eps", 1e-5)?)
        .with_qk_norm(reader.or("qk_layernorm", true)?)
        .with_positions(Some(PositionEmbedding::Rotary(rotary)))
        .with_tie_word_embeddings(reader.or("tie_word_embeddings", false)?);
    // Act in training only.
    for key in ["hidden_dropout", "attention_dropout"] {
        reader.or(key, 0.0)?;
    }
    reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
    Ok(config)
}

/// The configuration as transformers writes it.
///
/// # Errors
///
/// When this family has no key for a setting of `config`.
pub fn to_hf(config: &CausalLmConfig) -> Result<Value, Error> {
    let PositionEmbedding::Rotary(rotary) = config.position_embedding() else {
        let message = "a Persimmon has rotary positions";
        return Err(Error::key("rope_parameters", message));
    };
    let written = with_sizes(
        config.vocab_size,
        config.hidden_size,
        config.intermediate_size,
        config.num_hidden_layers,
        config.num_attention_heads,
    );
    let written = CausalLmConfig {
        hidden_act: config.hidden_act,
        norm_eps: config.norm_eps,
        qk_norm: config.qk_norm,
        positions: config.positions.clone(),
        tie_word_embeddings: config.tie_word_embeddings,
        ..written
    };
    if written.to_string() != config.to_string() {
        let message = "a Persimmon has no key for a setting of this decoder";
        return Err(Error::key("model_type", message));
    }
    let mut parameters = rope::to_hf(&rotary);
    // Left out, it is not 1 in this family.
    parameters["partial_rotary_factor"] = json!(rotary.partial_rotary_factor);
    Ok(json!({
        "model_type": "persimmon",
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.norm_eps,
        "qk_layernorm": config.qk_norm,
        "max_position_embeddings": rotary.max_position_embeddings,
        "rope_parameters": parameters,
        "tie_word_embeddings": config.tie_word_embeddings,
    }))
}

/// Keys of a checkpoint, `model.*` and `lm_head.*`.
pub fn keys(config: &CausalLmConfig) -> KeyMap {
    let layer = KeyMap::new()
        .same("input_layernorm", "input_layernorm")
        .turns(
            "self_attn.query_key_value",
            &["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            config.head_size(),
        )
        .linear("self_attn.dense", "self_attn.o_proj")
        .same("self_attn.q_layernorm", "self_attn.q_norm")
        .same("self_attn.k_layernorm", "self_attn.k_norm")
        .same("post_attention_layernorm", "post_attention_layernorm")
        .linear("mlp.dense_h_to_4h", "mlp.up_proj")
        .linear("mlp.dense_4h_to_h", "mlp.down_proj")
        .ignore("self_attn.rotary_emb.inv_freq");
    let keys = KeyMap::new()
        .table(
            "model.embed_tokens",
            "embed_tokens",
            config.tie_word_embeddings,
        )
        .nest("model.layers.{}", "layers.{}", layer)
        .same("model.final_layernorm", "norm")
        .ignore("model.rotary_emb.inv_freq");
    match config.tie_word_embeddings {
        true => keys
            .ignore("lm_head.weight")
            .stand_in("model.embed_tokens.weight", "lm_head.weight"),
        false => keys.linear("lm_head", "lm_head"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<CausalLmConfig, Error> {
        let mut reader = ConfigReader::new(value)?;
        reader.only("model_type", "persimmon".to_owned())?;
        let config = from_hf(&mut reader)?;
        reader.finish()?;
        Ok(config)
    }

    #[test]
    fn nothing_is_lost_in_writing_and_reading() {
        let small = json!({
            "hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48,
            "vocab_size": 90, "qk_layernorm": false, "layer_norm_eps": 1e-3, "hidden_act": "gelu",
            "max_position_embeddings": 64, "rope_theta": 100.0, "partial_rotary_factor": 1.0,
            "rope_scaling": { "type": "linear", "factor": 2.0 }, "tie_word_embeddings": true,
        });
        for config in [
            read(json!({})).unwrap(),
            read(small).unwrap(),
            persimmon_8b(),
        ] {
            let again = read(to_hf(&config).unwrap()).unwrap();
            assert_eq!(again.to_string(), config.to_string());
        }
        let released = read(json!({ "rope_theta": 25000.0 })).unwrap();
        assert_eq!(released.to_string(), persimmon_8b().to_string());
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (value, message) in [
            (
                json!({ "hidden_size": 100 }),
                "key `hidden_size`: 100 is not a multiple",
            ),
            (
                json!({ "partial_rotary_factor": 0.01 }),
                "key `partial_rotary_factor`: 0 rotary",
            ),
            (
                json!({ "partial_rotary_factor": 2.0 }),
                "key `partial_rotary_factor`: 128 rotary",
            ),
            (
                json!({ "hidden_act": "relu3" }),
                "key `hidden_act`: unknown variant",
            ),
            (
                json!({ "num_key_value_heads": 8 }),
                "key `num_key_value_heads`: not a key",
            ),
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let error = to_hf(&persimmon_8b().with_gated_mlp(true)).unwrap_err();
        let wanted = "key `model_type`: a Persimmon has no key for a setting of this decoder";
        assert_eq!(error.to_string(), wanted);
    }
}
