//! The decoder of Kosmos-2 ([Peng et al. 2023](https://arxiv.org/abs/2306.14824)): layer norms, also inside
//! of attention and MLP, and sinusoidal positions.
//!
//! Source: transformers' `modeling_kosmos2.py`. Its positions are not the paper's XPOS.

use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::KeyMap,
    nn::{Activation, NormKind, SinusoidalConfig},
};

use crate::{CausalLmConfig, PositionEmbedding};

/// The decoder of `microsoft/kosmos-2-patch14-224`, the defaults of transformers' `Kosmos2TextConfig`.
pub fn patch14_224() -> CausalLmConfig {
    with_sizes(65037, 2048, 8192, 24, 32)
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
        .with_hidden_act(Activation::Gelu)
        .with_gated_mlp(false)
        .with_norm(NormKind::Layer)
        .with_norm_eps(1e-5)
        .with_sub_norm(true)
        .with_positions(Some(positions(hidden_size, 1, 2048)))
        .with_embed_scale(Some((hidden_size as f64).sqrt()))
        .with_qkv_bias(true)
        .with_attention_output_bias(true)
        .with_mlp_bias(true)
        .with_tie_word_embeddings(true)
}

/// The first position's row is the one after the padding token's.
fn positions(hidden_size: usize, pad_token_id: u32, longest: usize) -> PositionEmbedding {
    let sinusoidal = SinusoidalConfig::new(hidden_size)
        .with_first_position(pad_token_id.saturating_add(1))
        .with_max_position_embeddings(longest);
    PositionEmbedding::Sinusoidal(sinusoidal)
}

/// Reads a `text_config`; defaults are those of [`patch14_224`].
///
/// # Errors
///
/// When a key cannot be honoured.
pub fn from_hf(mut reader: ConfigReader) -> Result<CausalLmConfig, Error> {
    reader.only("model_type", "kosmos_2_text_model".to_owned())?;
    let hidden_size = size(&mut reader, ["embed_dim", "hidden_size"], 2048)?;
    let heads = size(&mut reader, ["attention_heads", "num_attention_heads"], 32)?;
    let layers = size(&mut reader, ["layers", "num_hidden_layers"], 24)?;
    if !hidden_size.is_multiple_of(heads) || hidden_size < 4 {
        let message =
            format!("expected a multiple of attention_heads {heads} from 4, found {hidden_size}");
        return Err(reader.error("embed_dim", message));
    }
    if layers > 4096 {
        let message = format!("expected a whole number from 1 to 4096, found {layers}");
        return Err(reader.error("layers", message));
    }
    // Positions are counted from it, so null has no meaning here.
    let pad_token_id = match (
        reader.has("pad_token_id"),
        reader.get::<u32>("pad_token_id")?,
    ) {
        (_, Some(id)) => id,
        (false, None) => 1,
        (true, None) => return Err(reader.error("pad_token_id", "expected an id, found null")),
    };
    let longest = reader.size("max_position_embeddings", 2048)?;
    let scaled = reader.or("scale_embedding", true)?;
    let vocab_size = reader.size("vocab_size", 65037)?;
    let intermediate_size = reader.size("ffn_dim", 8192)?;
    let config = with_sizes(vocab_size, hidden_size, intermediate_size, layers, heads)
        .with_hidden_act(reader.or("activation_function", Activation::Gelu)?)
        .with_norm_eps(reader.or("layer_norm_eps", 1e-5)?)
        .with_positions(Some(positions(hidden_size, pad_token_id, longest)))
        .with_embed_scale(scaled.then(|| (hidden_size as f64).sqrt()))
        .with_tie_word_embeddings(reader.or("tie_word_embeddings", true)?);
    reader.only("add_cross_attention", false)?;
    // Act in training only.
    for key in [
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "layerdrop",
        "init_std",
    ] {
        reader.or(key, 0.0)?;
    }
    reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
    reader.finish()?;
    Ok(config)
}

/// A size under its name in this family, or under the usual one, which transformers takes as well.
fn size(
    reader: &mut ConfigReader,
    [own, usual]: [&str; 2],
    default: usize,
) -> Result<usize, Error> {
    if reader.peek(usual).is_none() {
        return reader.size(own, default);
    }
    let size = reader.size(usual, default)?;
    let other = reader.size(own, size)?;
    match size == other {
        true => Ok(size),
        false => Err(reader.error(own, format!("{other} is not `{usual}`, which is {size}"))),
    }
}

/// The configuration as transformers writes it.
///
/// # Errors
///
/// When this family has no key for a setting of `config`.
pub fn to_hf(config: &CausalLmConfig) -> Result<Value, Error> {
    let PositionEmbedding::Sinusoidal(sinusoidal) = config.position_embedding() else {
        let message = "a Kosmos-2 has sinusoidal positions";
        return Err(Error::key("max_position_embeddings", message));
    };
    let Some(pad_token_id) = sinusoidal.first_position.checked_sub(1) else {
        let message = "the first position of a Kosmos-2 is the one after it";
        return Err(Error::key("pad_token_id", message));
    };
    let scaled = config.embed_scale.is_some();
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
        positions: config.positions.clone(),
        embed_scale: written.embed_scale.filter(|_| scaled),
        tie_word_embeddings: config.tie_word_embeddings,
        ..written
    };
    if written.to_string() != config.to_string() {
        let message = "a Kosmos-2 has no key for a setting of this decoder";
        return Err(Error::key("text_config", message));
    }
    Ok(json!({
        "model_type": "kosmos_2_text_model",
        "vocab_size": config.vocab_size,
        "max_position_embeddings": sinusoidal.max_position_embeddings,
        "embed_dim": config.hidden_size,
        "layers": config.num_hidden_layers,
        "ffn_dim": config.intermediate_size,
        "attention_heads": config.num_attention_heads,
        "activation_function": config.hidden_act,
        "layer_norm_eps": config.norm_eps,
        "scale_embedding": scaled,
        "pad_token_id": pad_token_id,
        "tie_word_embeddings": config.tie_word_embeddings,
    }))
}

/// Keys of the decoder's checkpoint, `model.*` and `lm_head.*`.
pub fn keys(config: &CausalLmConfig) -> KeyMap {
    let layer = KeyMap::new()
        .same("self_attn_layer_norm", "input_layernorm")
        .linear("self_attn.q_proj", "self_attn.q_proj")
        .linear("self_attn.k_proj", "self_attn.k_proj")
        .linear("self_attn.v_proj", "self_attn.v_proj")
        .linear("self_attn.out_proj", "self_attn.o_proj")
        .same("self_attn.inner_attn_ln", "self_attn.inner_norm")
        .same("final_layer_norm", "post_attention_layernorm")
        .linear("ffn.fc1", "mlp.up_proj")
        .linear("ffn.fc2", "mlp.down_proj")
        .same("ffn.ffn_layernorm", "mlp.inner_norm");
    let keys = KeyMap::new()
        .table(
            "model.embed_tokens",
            "embed_tokens",
            config.tie_word_embeddings,
        )
        .nest("model.layers.{}", "layers.{}", layer)
        .same("model.layer_norm", "norm")
        // Calculated; older files have the table.
        .ignore("model.embed_positions.weights");
    match config.tie_word_embeddings {
        true => keys.ignore("lm_head.weight"),
        false => keys.linear("lm_head", "lm_head"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<CausalLmConfig, Error> {
        from_hf(ConfigReader::new(value)?)
    }

    #[test]
    fn nothing_is_lost_in_writing_and_reading() {
        let small = json!({
            "embed_dim": 32, "num_attention_heads": 4, "layers": 2, "ffn_dim": 48, "vocab_size": 90,
            "pad_token_id": 7, "scale_embedding": false, "layer_norm_eps": 1e-3,
            "activation_function": "relu", "max_position_embeddings": 64, "tie_word_embeddings": false,
        });
        for config in [read(json!({})).unwrap(), read(small).unwrap()] {
            let again = read(to_hf(&config).unwrap()).unwrap();
            assert_eq!(again.to_string(), config.to_string());
        }
        assert_eq!(
            read(json!({})).unwrap().to_string(),
            patch14_224().to_string()
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (value, message) in [
            (
                json!({ "add_cross_attention": true }),
                "key `add_cross_attention`: only false",
            ),
            (
                json!({ "pad_token_id": null }),
                "key `pad_token_id`: expected an id",
            ),
            (
                json!({ "embed_dim": 30 }),
                "key `embed_dim`: expected a multiple",
            ),
            (
                json!({ "embed_dim": 64, "hidden_size": 32 }),
                "key `embed_dim`: 64 is not",
            ),
            (json!({ "rope_theta": 1.0 }), "key `rope_theta`: not a key"),
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let other = to_hf(&patch14_224().with_gated_mlp(true))
            .unwrap_err()
            .to_string();
        assert!(
            other.starts_with("key `text_config`: a Kosmos-2 has no key"),
            "{other}"
        );
    }
}
