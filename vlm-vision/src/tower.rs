//! What CLIP's and SigLIP's towers have in common in a `config.json` and in the keys of a checkpoint.

use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error,
    checkpoint::{KeyMap, Layout},
};

use crate::VitConfig;

/// Reads the keys of a tower over the family's defaults.
pub(crate) fn from_hf(mut reader: ConfigReader, defaults: VitConfig) -> Result<VitConfig, Error> {
    let mut config = defaults;
    config.hidden_size = reader.size("hidden_size", config.hidden_size)?;
    config.intermediate_size = reader.size("intermediate_size", config.intermediate_size)?;
    config.num_hidden_layers =
        reader.size_up_to(4096, "num_hidden_layers", config.num_hidden_layers)?;
    let heads = reader.size("num_attention_heads", config.num_attention_heads)?;
    if !config.hidden_size.is_multiple_of(heads) {
        let message = format!(
            "{heads} heads do not divide hidden_size {}",
            config.hidden_size
        );
        return Err(reader.error("num_attention_heads", message));
    }
    config.num_attention_heads = heads;
    config.image_size = square(&mut reader, "image_size", config.image_size)?;
    config.patch_size = square(&mut reader, "patch_size", config.patch_size)?;
    if config.patch_size > config.image_size {
        let message = format!(
            "{} is larger than image_size {}",
            config.patch_size, config.image_size
        );
        return Err(reader.error("patch_size", message));
    }
    config.hidden_act = reader.or("hidden_act", config.hidden_act)?;
    config.layer_norm_eps = reader.or("layer_norm_eps", config.layer_norm_eps)?;
    reader.only("num_channels", 3)?;
    // Acts in training only.
    reader.or("attention_dropout", 0.0)?;
    reader.ignore(&["tie_word_embeddings"]);
    let count = config.num_hidden_layers as isize;
    let absent = |layer: &&isize| !(-count - 1..=count).contains(*layer);
    if let Some(layer) = config.features.layers.iter().find(absent) {
        return Err(Error::key(
            "vision_feature_layer",
            format!("{layer} does not exist among {count} layers"),
        ));
    }
    reader.finish()?;
    Ok(config)
}

/// A number, or a list of two equal ones.
fn square(reader: &mut ConfigReader, key: &str, default: usize) -> Result<usize, Error> {
    match reader.peek(key) {
        Some(Value::Array(_)) => {
            let sides: Vec<usize> = reader.or(key, Vec::new())?;
            match sides[..] {
                [height, width] if height == width && height > 0 => Ok(height),
                _ => Err(reader.error(key, format!("only squares are supported, found {sides:?}"))),
            }
        }
        _ => reader.size(key, default),
    }
}

/// The keys of a tower, all of them.
pub(crate) fn to_hf(config: &VitConfig) -> Value {
    json!({
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "num_channels": 3,
        "image_size": config.image_size,
        "patch_size": config.patch_size,
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.layer_norm_eps,
        "attention_dropout": 0.0,
    })
}

/// The keys that both towers have; older checkpoints put `vision_model.` before them.
pub(crate) fn keys(config: &VitConfig) -> KeyMap {
    let layer = KeyMap::new()
        .same("layer_norm1", "layer_norm1")
        .linear("self_attn.q_proj", "self_attn.q_proj")
        .linear("self_attn.k_proj", "self_attn.k_proj")
        .linear("self_attn.v_proj", "self_attn.v_proj")
        .linear("self_attn.out_proj", "self_attn.o_proj")
        .same("layer_norm2", "layer_norm2")
        .linear("mlp.fc1", "mlp.up_proj")
        .linear("mlp.fc2", "mlp.down_proj");
    KeyMap::new()
        .patches(
            "embeddings.patch_embedding",
            "patch_embedding",
            config.patch_size,
        )
        .tensor(
            "embeddings.position_embedding.weight",
            "position_embedding",
            Layout::Same,
        )
        .ignore("embeddings.position_ids")
        .nest("encoder.layers.{}", "layers.{}", layer)
        .same("post_layernorm", "post_layernorm")
        .rename("vision_model.", "")
}
