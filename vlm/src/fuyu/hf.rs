use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap};
use vlm_projector::LinearProjector;
use vlm_text::persimmon;

use super::FuyuConfig;

/// Keys of the language model, which older files have at the top. The reference does not read them there where
/// there is a `text_config`.
const TEXT_KEYS: [&str; 14] = [
    "attention_dropout",
    "hidden_act",
    "hidden_dropout",
    "hidden_size",
    "intermediate_size",
    "layer_norm_eps",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "partial_rotary_factor",
    "qk_layernorm",
    "rope_scaling",
    "rope_theta",
    "vocab_size",
];

impl FuyuConfig {
    /// Reads a `config.json`; defaults are those of transformers' `FuyuConfig`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(mut reader: ConfigReader) -> Result<Self, Error> {
        reader.only("model_type", "fuyu".to_owned())?;
        // The head is this model's, and so is the key; the language model's own is not looked at.
        let tied = reader.or("tie_word_embeddings", false)?;
        let mut text = match reader.object("text_config")? {
            Some(mut text) => {
                reader.ignore(&TEXT_KEYS);
                text.only("model_type", "persimmon".to_owned())?;
                let config = persimmon::from_hf(&mut text)?;
                text.finish()?;
                config
            }
            None => {
                // The reference reads the older form alone at this place, and no other share.
                let message = "expected it in text_config, or rope_theta and rope_scaling";
                reader.only_absent("rope_parameters", message)?;
                reader.only("partial_rotary_factor", 0.5)?;
                persimmon::from_hf(&mut reader)?
            }
        };
        text.tie_word_embeddings = tied;
        let config = Self::new(text)
            .with_patch_size(reader.size_up_to(MAX_PATCH_SIZE, "patch_size", 30)?)
            .with_image_token_id(reader.or("image_token_id", 71011)?);
        reader.only("num_channels", 3)?;
        // Of no use to a model that takes pictures of any size.
        reader.ignore(&["image_size"]);
        reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
        reader.finish()?;
        Ok(config)
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When the language model's family has no key for one of its settings.
    pub fn to_hf(&self) -> Result<Value, Error> {
        let text = persimmon::to_hf(&self.text).map_err(|error| error.under("text_config"))?;
        Ok(json!({
            "architectures": ["FuyuForCausalLM"],
            "model_type": "fuyu",
            "patch_size": self.patch_size,
            "num_channels": 3,
            "image_token_id": self.image_token_id,
            "tie_word_embeddings": self.text.tie_word_embeddings,
            "text_config": text,
        }))
    }

    /// Keys of a checkpoint: the layout that transformers writes, from 2023 to 5.23, and through renames the one
    /// that 5.23 has in memory.
    pub fn keys(&self) -> KeyMap {
        KeyMap::new()
            .modules("model.language_model.", "language_model.model.")
            .modules("lm_head.", "language_model.lm_head.")
            .modules("model.vision_embed_tokens.", "vision_embed_tokens.")
            .nest("vision_embed_tokens", "projector", LinearProjector::keys())
            .nest("language_model", "decoder", persimmon::keys(&self.text))
    }
}

/// The largest patch that is believed.
const MAX_PATCH_SIZE: usize = 1 << 11;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuyu::fuyu_8b;

    fn read(value: Value) -> Result<FuyuConfig, Error> {
        FuyuConfig::from_hf(ConfigReader::new(value)?)
    }

    /// As the released file has it.
    fn flat() -> Value {
        json!({
            "architectures": ["FuyuForCausalLM"], "attention_dropout": 0.0, "bos_token_id": 1, "eos_token_id": 2,
            "hidden_act": "relu2", "hidden_dropout": 0.0, "hidden_size": 4096, "image_size": 300,
            "initializer_range": 0.02, "intermediate_size": 16384, "layer_norm_eps": 1e-05,
            "max_position_embeddings": 16384, "model_type": "fuyu", "num_attention_heads": 64,
            "num_channels": 3, "num_hidden_layers": 36, "pad_token_id": null, "partial_rotary_factor": 0.5,
            "patch_size": 30, "qk_layernorm": true, "rope_scaling": null, "rope_theta": 25000.0,
            "tie_word_embeddings": false, "torch_dtype": "bfloat16", "use_cache": true, "vocab_size": 262144,
        })
    }

    #[test]
    fn both_forms_mean_the_released_model() {
        let released = fuyu_8b();
        assert_eq!(read(flat()).unwrap().to_string(), released.to_string());
        let nested = released.to_hf().unwrap();
        assert_eq!(read(nested).unwrap().to_string(), released.to_string());
        // What stands beside text_config does not count.
        let mut both = flat();
        both["text_config"] = json!({ "hidden_size": 1024, "rope_theta": 25000.0 });
        both["hidden_size"] = json!("wide");
        assert_eq!(read(both).unwrap().text.hidden_size, 1024);
    }

    #[test]
    fn the_head_is_tied_by_the_outer_key() {
        for (outer, inner) in [(false, true), (true, false)] {
            let value = json!({
                "tie_word_embeddings": outer, "text_config": { "tie_word_embeddings": inner },
            });
            assert_eq!(read(value).unwrap().text.tie_word_embeddings, outer);
            let flat = read(json!({ "tie_word_embeddings": outer })).unwrap();
            assert_eq!(flat.text.tie_word_embeddings, outer);
        }
    }

    #[test]
    fn errors_have_the_whole_path() {
        for (value, message) in [
            (
                json!({ "text_config": { "hidden_size": 30 } }),
                "key `text_config.hidden_size`: 30 is not a multiple",
            ),
            (
                json!({ "text_config": { "model_type": "llama" } }),
                "key `text_config.model_type`: only",
            ),
            (
                json!({ "text_config": { "hiden_size": 32 } }),
                "key `text_config.hiden_size`: not a key",
            ),
            (json!({ "hiden_size": 32 }), "key `hiden_size`: not a key"),
            (json!({ "num_channels": 1 }), "key `num_channels`: only 3"),
            (
                json!({ "patch_size": 0 }),
                "key `patch_size`: expected a whole number from 1 to 2048",
            ),
            (
                json!({ "partial_rotary_factor": 1.0 }),
                "key `partial_rotary_factor`: only 0.5",
            ),
            (
                json!({ "rope_parameters": { "rope_theta": 1.0 } }),
                "key `rope_parameters`: expected it in text_config",
            ),
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
        let other = fuyu_8b();
        let text = other.text.clone().with_gated_mlp(true);
        let error = FuyuConfig { text, ..other }.to_hf().unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("key `text_config.model_type`")
        );
    }
}
