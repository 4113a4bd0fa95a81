//! The decoders that checkpoints are read for, and what Llama, Mistral and Qwen2 have in common in a `config.json` and in the keys of a checkpoint.

use burn::config::Config;
use serde_json::{Map, Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::KeyMap,
    nn::{Activation, NormKind},
};

use crate::{CausalLmConfig, PositionEmbedding, llama, mistral, persimmon, qwen2, rope};

/// The families of decoders that checkpoints are read for, named by `model_type`.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum DecoderKind {
    /// `llama`.
    Llama,
    /// `mistral`.
    Mistral,
    /// `qwen2`.
    Qwen2,
    /// `persimmon`.
    Persimmon,
}

/// Reads the decoder that `model_type` names; Llama when the key is absent.
///
/// # Errors
///
/// When the family is not known, or a key cannot be honoured.
pub fn decoder_from_hf(mut reader: ConfigReader) -> Result<(DecoderKind, CausalLmConfig), Error> {
    let kind: Option<String> = reader.get("model_type")?;
    let (kind, config) = match kind.as_deref() {
        None | Some("llama") => (DecoderKind::Llama, llama::from_hf(&mut reader)?),
        Some("mistral") => (DecoderKind::Mistral, mistral::from_hf(&mut reader)?),
        Some("qwen2") => (DecoderKind::Qwen2, qwen2::from_hf(&mut reader)?),
        Some("persimmon") => (DecoderKind::Persimmon, persimmon::from_hf(&mut reader)?),
        Some(other) => {
            return Err(reader.error(
                "model_type",
                format!("expected llama, mistral, qwen2 or persimmon, found `{other}`"),
            ));
        }
    };
    reader.finish()?;
    Ok((kind, config))
}

impl DecoderKind {
    /// The value of `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Persimmon => "persimmon",
        }
    }

    /// The class of transformers that a model alone has.
    pub fn architecture(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Persimmon => "PersimmonForCausalLM",
        }
    }

    /// Keys of a checkpoint, `model.*` and `lm_head.*`.
    pub fn keys(self, config: &CausalLmConfig) -> KeyMap {
        match self {
            Self::Llama | Self::Mistral | Self::Qwen2 => keys(config),
            Self::Persimmon => persimmon::keys(config),
        }
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When this family has no key for a setting of `config`.
    pub fn to_hf(self, config: &CausalLmConfig) -> Result<Value, Error> {
        let add = match self {
            Self::Llama => llama::to_hf,
            Self::Mistral => mistral::to_hf,
            Self::Qwen2 => qwen2::to_hf,
            Self::Persimmon => return persimmon::to_hf(config),
        };
        let mut keys = common_to_hf(self.model_type(), config)?;
        add(config, &mut keys)?;
        Ok(Value::Object(keys))
    }
}

/// Defaults that differ between the families' configuration classes.
pub(crate) struct Defaults {
    pub vocab_size: usize,
    pub intermediate_size: usize,
    pub num_key_value_heads: Option<usize>,
    pub max_position_embeddings: usize,
}

/// Reads the keys that all the families have.
pub(crate) fn common_from_hf(
    reader: &mut ConfigReader,
    defaults: &Defaults,
) -> Result<CausalLmConfig, Error> {
    let heads = reader.size("num_attention_heads", 32)?;
    let hidden_size = reader.size("hidden_size", 4096)?;
    // Null means as many as queries; an absent key means the family's default.
    let default = defaults.num_key_value_heads;
    let kv_heads = match reader.has("num_key_value_heads") {
        true => reader.size("num_key_value_heads", heads)?,
        false => default.unwrap_or(heads),
    };
    if !heads.is_multiple_of(kv_heads) {
        return Err(reader.error(
            "num_key_value_heads",
            format!("num_attention_heads {heads} is not a multiple of {kv_heads}"),
        ));
    }
    let head_dim = reader.get::<usize>("head_dim")?;
    if head_dim.is_none() && !hidden_size.is_multiple_of(heads) {
        return Err(reader.error(
            "hidden_size",
            format!("{hidden_size} is not a multiple of num_attention_heads {heads}"),
        ));
    }
    let head_size = head_dim.unwrap_or(hidden_size / heads);
    let max_position_embeddings =
        reader.size("max_position_embeddings", defaults.max_position_embeddings)?;
    let defaults_of_rope = rope::Defaults::WHOLE_HEADS;
    let rotary = rope::from_hf(reader, head_size, max_position_embeddings, defaults_of_rope)?;
    rope::check_pairs(reader, "head_dim", &rotary)?;
    let epsilon = reader.or("rms_norm_eps", 1e-6)?;
    let config = CausalLmConfig::new(
        reader.size("vocab_size", defaults.vocab_size)?,
        hidden_size,
        reader.size("intermediate_size", defaults.intermediate_size)?,
        reader.size_up_to(4096, "num_hidden_layers", 32)?,
        heads,
    )
    .with_num_key_value_heads(Some(kv_heads))
    .with_head_dim(Some(head_size))
    .with_hidden_act(reader.or("hidden_act", Activation::Silu)?)
    .with_norm_eps(epsilon)
    .with_positions(Some(PositionEmbedding::Rotary(rotary)))
    .with_tie_word_embeddings(reader.or("tie_word_embeddings", false)?);
    // Acts in training only.
    reader.or("attention_dropout", 0.0)?;
    reader.only("rope_interleaved", false)?;
    reader.only("use_mrope", false)?;
    reader.ignore(&["pretraining_tp", "is_llama_config", "max_sequence_length"]);
    reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
    Ok(config)
}

fn common_to_hf(model_type: &str, config: &CausalLmConfig) -> Result<Map<String, Value>, Error> {
    let PositionEmbedding::Rotary(rotary) = config.position_embedding() else {
        return Err(no_key(model_type, "positions"));
    };
    let others = [
        ("norm", config.norm == NormKind::Rms),
        ("gated_mlp", config.gated_mlp),
        ("qk_norm", !config.qk_norm),
        ("sub_norm", !config.sub_norm),
        ("embed_scale", config.embed_scale.is_none()),
    ];
    if let Some((name, _)) = others.iter().find(|(_, usual)| !usual) {
        return Err(no_key(model_type, name));
    }
    let value = json!({
        "model_type": model_type,
        "vocab_size": config.vocab_size,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads.unwrap_or(config.num_attention_heads),
        "head_dim": config.head_size(),
        "hidden_act": config.hidden_act,
        "rms_norm_eps": config.norm_eps,
        "tie_word_embeddings": config.tie_word_embeddings,
    });
    let Value::Object(mut keys) = value else {
        unreachable!("json! of an object is an object")
    };
    let longest = json!(rotary.max_position_embeddings);
    keys.insert("max_position_embeddings".to_owned(), longest);
    keys.insert("rope_parameters".to_owned(), rope::to_hf(&rotary));
    Ok(keys)
}

fn no_key(model_type: &str, setting: &str) -> Error {
    let message = format!("a model of type {model_type} has no key for this setting");
    Error::key(setting, message)
}

/// Reads `layer_types`, which says of each layer whether it has the sliding window; `None` when it is absent.
pub(crate) fn windows_by_layer(
    reader: &mut ConfigReader,
    layers: usize,
    window: Option<usize>,
) -> Result<Option<Vec<Option<usize>>>, Error> {
    let Some(kinds) = reader.get::<Vec<String>>("layer_types")? else {
        return Ok(None);
    };
    if kinds.len() != layers {
        let message = format!("expected {layers} entries, found {}", kinds.len());
        return Err(reader.error("layer_types", message));
    }
    let window_of = |kind: &String| match kind.as_str() {
        "full_attention" => Ok(None),
        "sliding_attention" => Ok(window),
        other => Err(reader.error(
            "layer_types",
            format!("expected full_attention or sliding_attention, found `{other}`"),
        )),
    };
    kinds
        .iter()
        .map(window_of)
        .collect::<Result<_, _>>()
        .map(Some)
}

/// The value of `layer_types`.
pub(crate) fn layer_types(config: &CausalLmConfig) -> Value {
    let kind = |layer: usize| match config.sliding_windows.get(layer).copied().flatten() {
        Some(_) => "sliding_attention",
        None => "full_attention",
    };
    (0..config.num_hidden_layers).map(kind).collect()
}

/// Keys of a decoder's checkpoint, `model.*` and `lm_head.*`.
pub fn keys(config: &CausalLmConfig) -> KeyMap {
    keys_under("model", config)
}

/// As [`keys`], with another prefix than `model`; the head is `lm_head.*` all the same.
pub fn keys_under(prefix: &str, config: &CausalLmConfig) -> KeyMap {
    let layer = KeyMap::new()
        .same("input_layernorm", "input_layernorm")
        .linear("self_attn.q_proj", "self_attn.q_proj")
        .linear("self_attn.k_proj", "self_attn.k_proj")
        .linear("self_attn.v_proj", "self_attn.v_proj")
        .linear("self_attn.o_proj", "self_attn.o_proj")
        .same("post_attention_layernorm", "post_attention_layernorm")
        .linear("mlp.gate_proj", "mlp.gate_proj")
        .linear("mlp.up_proj", "mlp.up_proj")
        .linear("mlp.down_proj", "mlp.down_proj")
        .ignore("self_attn.rotary_emb.inv_freq");
    let model = KeyMap::new()
        .table("embed_tokens", "embed_tokens", config.tie_word_embeddings)
        .nest("layers.{}", "layers.{}", layer)
        .same("norm", "norm")
        .ignore("rotary_emb.inv_freq");
    let keys = KeyMap::new().nest(prefix, "", model);
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

    #[test]
    fn a_setting_without_a_key_is_refused_by_name() {
        let config = CausalLmConfig::new(8, 4, 8, 1, 1).with_embed_scale(Some(2.0));
        let error = DecoderKind::Llama.to_hf(&config).unwrap_err().to_string();
        assert!(error.starts_with("key `embed_scale`"), "{error}");
    }
}
