use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap};
use vlm_projector::PixelShuffleProjector;
use vlm_text::decoder_from_hf;
use vlm_vision::idefics3;

use super::{Idefics3Config, Idefics3Kind};

/// The largest scale factor that is believed.
const MAX_SCALE_FACTOR: usize = 1024;

impl Idefics3Config {
    /// Reads a `config.json`; defaults are those of transformers' `Idefics3Config` and `SmolVLMConfig`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(mut reader: ConfigReader) -> Result<Self, Error> {
        let kind = match reader.get::<String>("model_type")?.as_deref() {
            None | Some("idefics3") => Idefics3Kind::Idefics3,
            Some("smolvlm") => Idefics3Kind::SmolVlm,
            Some(other) => {
                let message = format!("expected idefics3 or smolvlm, found `{other}`");
                return Err(reader.error("model_type", message));
            }
        };
        let vision = match reader.object("vision_config")? {
            None => idefics3::base_patch32_224(),
            Some(vision) => idefics3::from_hf(vision)?,
        };
        let text = match reader.object("text_config")? {
            Some(text) => text,
            // This default stands for the whole object, not for its key.
            None => ConfigReader::new(json!({ "rms_norm_eps": 1e-5 }))?,
        };
        let (decoder, mut text) = decoder_from_hf(without_leftovers(text)?)?;
        // The language model's own key has no head to act on.
        text.tie_word_embeddings = reader.or("tie_word_embeddings", false)?;
        let config = Self::new(vision, text, decoder)
            .with_kind(kind)
            .with_image_token_id(reader.or("image_token_id", 128_257)?)
            .with_scale_factor(reader.size_up_to(MAX_SCALE_FACTOR, "scale_factor", 2)?);
        // The first two act in no pass; the size of the vocabulary is the language model's.
        reader.ignore(&["_pad_token_id", "neftune_noise_alpha", "vocab_size"]);
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
        let architecture = match self.kind {
            Idefics3Kind::Idefics3 => "Idefics3ForConditionalGeneration",
            Idefics3Kind::SmolVlm => "SmolVLMForConditionalGeneration",
        };
        let model_type = self.kind.model_type();
        Ok(json!({
            "architectures": [architecture],
            "model_type": model_type,
            "image_token_id": self.image_token_id,
            "scale_factor": self.scale_factor,
            "tie_word_embeddings": self.text.tie_word_embeddings,
            "vision_config": idefics3::to_hf(&self.vision, &format!("{model_type}_vision")),
            "text_config": self.decoder.to_hf(&self.text)?,
        }))
    }

    /// Keys of a checkpoint.
    pub fn keys(&self) -> KeyMap {
        KeyMap::new()
            .nest(
                "model.vision_model",
                "encoder",
                idefics3::keys(&self.vision),
            )
            .nest(
                "model.connector",
                "projector",
                PixelShuffleProjector::keys(),
            )
            .nest(
                "",
                "decoder",
                vlm_text::llama::keys_under("model.text_model", &self.text),
            )
    }
}

/// Takes the keys of a perceiver, which the published checkpoints name and no model has.
fn without_leftovers(mut text: ConfigReader) -> Result<ConfigReader, Error> {
    text.only("use_resampler", false)?;
    text.only("qk_layer_norms", false)?;
    text.ignore(&[
        "neftune_noise_alpha",
        "perceiver_config",
        "pixel_shuffle_factor",
    ]);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: Value) -> Result<Idefics3Config, Error> {
        Idefics3Config::from_hf(ConfigReader::new(value)?)
    }

    /// As SmolVLM 256M has it on the hub.
    fn of_the_hub() -> Value {
        json!({
            "architectures": ["Idefics3ForConditionalGeneration"],
            "image_token_id": 49190,
            "model_type": "idefics3",
            "scale_factor": 4,
            "text_config": {
                "_flash_attn_2_enabled": true, "_name_or_path": "None",
                "architectures": ["VLlama3ForCausalLM"], "head_dim": 64, "hidden_size": 576,
                "intermediate_size": 1536, "is_llama_config": true,
                "max_position_embeddings": 8192, "model_type": "llama", "neftune_noise_alpha": 0.0,
                "num_attention_heads": 9, "num_hidden_layers": 30, "num_key_value_heads": 3,
                "pad_token_id": 2, "perceiver_config": { "model_type": "vllama3", "resampler_depth": 6 },
                "pixel_shuffle_factor": 4, "qk_layer_norms": false, "rms_norm_eps": 1e-05,
                "rope_interleaved": false, "rope_theta": 100000, "torch_dtype": "bfloat16",
                "transformers.js_config": { "kv_cache_dtype": {} }, "use_cache": true,
                "use_resampler": false, "vocab_size": 49280,
            },
            "tie_word_embeddings": false,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.46.0",
            "use_cache": true,
            "vision_config": {
                "hidden_size": 768, "image_size": 512, "max_image_size": { "longest_edge": 512 },
                "model_type": "idefics3", "num_attention_heads": 12, "patch_size": 16,
                "size": { "longest_edge": 2048 }, "tie_word_embeddings": false,
                "use_base_siglip": false,
            },
            "vocab_size": 49280,
        })
    }

    #[test]
    fn the_configuration_of_the_hub_is_the_preset() {
        let read = read(of_the_hub()).unwrap();
        let preset = super::super::smolvlm_256m();
        assert_eq!(read.to_hf().unwrap(), preset.to_hf().unwrap());
    }

    #[test]
    fn what_it_writes_it_reads() {
        for model_type in ["idefics3", "smolvlm"] {
            let mut value = of_the_hub();
            value["model_type"] = json!(model_type);
            value["tie_word_embeddings"] = json!(true);
            let written = read(value).unwrap().to_hf().unwrap();
            assert_eq!(
                written["vision_config"]["model_type"],
                format!("{model_type}_vision")
            );
            assert_eq!(read(written.clone()).unwrap().to_hf().unwrap(), written);
        }
    }

    #[test]
    fn defaults_are_those_of_the_classes() {
        let config = read(json!({})).unwrap();
        assert_eq!((config.image_token_id, config.scale_factor), (128_257, 2));
        assert_eq!(
            (config.vision.hidden_size, config.vision.patch_size),
            (1152, 32)
        );
        assert_eq!(
            (config.text.vocab_size, config.text.norm_eps),
            (32000, 1e-5)
        );
        let config = read(json!({ "text_config": { "tie_word_embeddings": true } })).unwrap();
        assert_eq!(
            (config.text.tie_word_embeddings, config.text.norm_eps),
            (false, 1e-6)
        );
    }

    #[test]
    fn what_cannot_be_served_is_refused_by_name() {
        for (keys, expected) in [
            (
                json!({ "model_type": "idefics2" }),
                "key `model_type`: expected idefics3 or smolvlm",
            ),
            (
                json!({ "scale_factor": 0 }),
                "key `scale_factor`: expected a whole number",
            ),
            (json!({ "scale": 2 }), "key `scale`: not a key"),
            (
                json!({ "text_config": { "use_resampler": true } }),
                "key `text_config.use_resampler`",
            ),
            (
                json!({ "vision_config": { "model_type": "clip" } }),
                "key `vision_config.model_type`",
            ),
            (
                json!({ "quantization_config": {} }),
                "key `quantization_config`: quantised",
            ),
        ] {
            let error = read(keys).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
