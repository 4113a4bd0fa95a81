use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, checkpoint::KeyMap, nn::Activation};
use vlm_projector::MlpProjector;
use vlm_text::decoder_from_hf;
use vlm_vision::{FeatureSelection, clip, siglip};

use super::{LlavaConfig, Tower};

impl LlavaConfig {
    /// Reads a `config.json`; defaults are those of transformers' `LlavaConfig`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(mut reader: ConfigReader) -> Result<Self, Error> {
        reader.only("model_type", "llava".to_owned())?;
        let config = Self::parts(&mut reader)?;
        reader.finish()?;
        Ok(config)
    }

    /// Reads the keys that LLaVA-NeXT has as well.
    pub(crate) fn parts(reader: &mut ConfigReader) -> Result<Self, Error> {
        let features = features(reader)?;
        let (tower, vision) = match reader.object("vision_config")? {
            None => (Tower::Clip, clip::vit_large_patch14_336(features)),
            Some(vision) => match vision.peek("model_type").and_then(Value::as_str) {
                Some("siglip_vision_model") => (Tower::Siglip, siglip::from_hf(vision, features)?),
                Some("clip_vision_model") | None => (Tower::Clip, clip::from_hf(vision, features)?),
                Some(other) => {
                    let message = format!(
                        "expected clip_vision_model or siglip_vision_model, found `{other}`"
                    );
                    return Err(vision.error("model_type", message));
                }
            },
        };
        let text = match reader.object("text_config")? {
            Some(text) => text,
            None => ConfigReader::new(json!({}))?,
        };
        let (decoder, mut text) = decoder_from_hf(text)?;
        // Tied when either says so, as in the reference.
        text.tie_word_embeddings |= reader.or("tie_word_embeddings", false)?;
        let newer: Option<u32> = reader.get("image_token_id")?;
        let older: Option<u32> = reader.get("image_token_index")?;
        let config = Self::new(vision, tower, text, decoder)
            .with_image_token_id(newer.or(older).unwrap_or(32000))
            .with_projector_hidden_act(reader.or("projector_hidden_act", Activation::Gelu)?)
            .with_multimodal_projector_bias(reader.or("multimodal_projector_bias", true)?);
        // Follow from other keys.
        reader.ignore(&["image_seq_length", "vocab_size"]);
        reader.only_absent("quantization_config", "quantised checkpoints are not read")?;
        Ok(config)
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When the language model's family has no key for one of its settings.
    pub fn to_hf(&self) -> Result<Value, Error> {
        let vision = match self.tower {
            Tower::Clip => clip::to_hf(&self.vision),
            Tower::Siglip => siglip::to_hf(&self.vision),
        };
        let features = &self.vision.features;
        let layers = match features.layers[..] {
            [layer] => json!(layer),
            _ => json!(features.layers),
        };
        let strategy = match features.drop_first_token {
            true => "default",
            false => "full",
        };
        Ok(json!({
            "architectures": ["LlavaForConditionalGeneration"],
            "model_type": "llava",
            "image_token_index": self.image_token_id,
            "projector_hidden_act": self.projector_hidden_act,
            "multimodal_projector_bias": self.multimodal_projector_bias,
            "vision_feature_layer": layers,
            "vision_feature_select_strategy": strategy,
            "tie_word_embeddings": self.text.tie_word_embeddings,
            "vision_config": vision,
            "text_config": self.decoder.to_hf(&self.text)?,
        }))
    }

    /// Keys of a checkpoint: the layout that transformers 5.23 writes, and through renames the one it has in
    /// memory, the one of 2023, and that of LLaVA's own repository.
    pub fn keys(&self) -> KeyMap {
        let vision = match self.tower {
            Tower::Clip => clip::keys(&self.vision),
            Tower::Siglip => siglip::keys(&self.vision),
        };
        KeyMap::new()
            .rename("model.vision_tower.vision_tower.", "vision_tower.")
            .rename("model.mm_projector.0.", "multi_modal_projector.linear_1.")
            .rename("model.mm_projector.2.", "multi_modal_projector.linear_2.")
            .rename("model.layers.", "language_model.model.layers.")
            .rename("model.embed_tokens.", "language_model.model.embed_tokens.")
            .rename("model.norm.", "language_model.model.norm.")
            .modules("model.language_model.", "language_model.model.")
            .modules("lm_head.", "language_model.lm_head.")
            .modules("model.vision_tower.", "vision_tower.")
            .modules("model.multi_modal_projector.", "multi_modal_projector.")
            .nest("vision_tower", "encoder", vision)
            .nest("multi_modal_projector", "projector", MlpProjector::keys())
            .nest("language_model", "decoder", self.decoder.keys(&self.text))
    }
}

fn features(reader: &mut ConfigReader) -> Result<FeatureSelection, Error> {
    let layers = match reader.peek("vision_feature_layer") {
        Some(Value::Array(_)) => reader.or("vision_feature_layer", Vec::new())?,
        _ => vec![reader.or("vision_feature_layer", -2)?],
    };
    if layers.is_empty() {
        return Err(reader.error(
            "vision_feature_layer",
            "expected a layer, found an empty list",
        ));
    }
    let strategy = reader.or("vision_feature_select_strategy", "default".to_owned())?;
    let drop_first_token = match strategy.as_str() {
        "default" => true,
        "full" => false,
        other => {
            return Err(reader.error(
                "vision_feature_select_strategy",
                format!("expected default or full, found `{other}`"),
            ));
        }
    };
    Ok(FeatureSelection::new(layers, drop_first_token))
}
