use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap};
use vlm_projector::Resampler;
use vlm_text::kosmos2 as decoder;
use vlm_vision::clip;

use super::{Kosmos2Config, features};

impl Kosmos2Config {
    /// Reads a `config.json`; defaults are those of transformers' `Kosmos2Config`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(mut reader: ConfigReader) -> Result<Self, Error> {
        reader.only("model_type", "kosmos-2".to_owned())?;
        let mut vision = object(&mut reader, "vision_config")?;
        vision.only("model_type", "kosmos_2_vision_model".to_owned())?;
        let vision = clip::from_hf_over(vision, clip::vit_large_patch14_224(features()))?;
        let mut text = decoder::from_hf(object(&mut reader, "text_config")?)?;
        // Tied when either says so, as in the reference.
        text.tie_word_embeddings |= reader.or("tie_word_embeddings", true)?;
        let latents = reader.size("latent_query_num", 64)?;
        reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
        reader.finish()?;
        Ok(Self::new(vision, text).with_latent_query_num(latents))
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When the family has no key for one of its settings.
    pub fn to_hf(&self) -> Result<Value, Error> {
        if self.vision.features != features() {
            let message = "a Kosmos-2 looks at all tokens of its tower's normalised output";
            return Err(Error::key("vision_config", message));
        }
        let mut vision = clip::to_hf(&self.vision);
        vision["model_type"] = json!("kosmos_2_vision_model");
        Ok(json!({
            "architectures": ["Kosmos2ForConditionalGeneration"],
            "model_type": "kosmos-2",
            "latent_query_num": self.latent_query_num,
            "tie_word_embeddings": self.text.tie_word_embeddings,
            "vision_config": vision,
            "text_config": decoder::to_hf(&self.text)?,
        }))
    }

    /// Keys of a checkpoint.
    pub fn keys(&self) -> KeyMap {
        KeyMap::new()
            .nest("vision_model.model", "encoder", clip::keys(&self.vision))
            .nest("image_to_text_projection", "projector", Resampler::keys())
            .nest("text_model", "decoder", decoder::keys(&self.text))
    }
}

fn object(reader: &mut ConfigReader, key: &str) -> Result<ConfigReader, Error> {
    match reader.object(key)? {
        Some(object) => Ok(object),
        None => ConfigReader::new(json!({})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kosmos2::kosmos_2_patch14_224;

    fn read(value: Value) -> Result<Kosmos2Config, Error> {
        Kosmos2Config::from_hf(ConfigReader::new(value)?)
    }

    #[test]
    fn an_empty_file_means_the_released_model() {
        let empty = read(json!({})).unwrap();
        let released = kosmos_2_patch14_224();
        assert_eq!(empty.to_string(), released.to_string());
        let again = read(released.to_hf().unwrap()).unwrap();
        assert_eq!(again.to_string(), released.to_string());
    }

    #[test]
    fn errors_have_the_whole_path() {
        for (value, message) in [
            (
                json!({ "text_config": { "embed_dim": 30 } }),
                "key `text_config.embed_dim`: expected a multiple",
            ),
            (
                json!({ "vision_config": { "model_type": "clip_vision_model" } }),
                "key `vision_config.model_type`: only",
            ),
            (
                json!({ "latent_query_num": 0 }),
                "key `latent_query_num`: expected",
            ),
            (
                json!({ "image_token_id": 3 }),
                "key `image_token_id`: not a key",
            ),
        ] {
            let error = read(value).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
