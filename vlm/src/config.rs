use std::path::Path;

use burn::tensor::{Device, FloatDType};
use serde_json::{Value, json};
use vlm_core::{
    ConfigReader, Error, ImageProcessor, ImageTokens,
    checkpoint::{Checkpoint, KeyMap},
};
use vlm_text::{CausalLmConfig, DecoderKind, decoder_from_hf};
use vlm_vision::processor::{PlainProcessor, ProcessorClass};

use crate::{
    AnyVlm,
    llava::{LlavaConfig, LlavaTokens},
};

/// The configuration of any model that can be loaded, as `model_type` names it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum AnyConfig {
    /// `llava`.
    Llava(Box<LlavaConfig>),
    /// `llama`, `mistral` or `qwen2`: a language model alone.
    Text(DecoderKind, Box<CausalLmConfig>),
}

impl AnyConfig {
    /// Reads `config.json` of a folder.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, the model is not known, or a key cannot be honoured.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let path = folder.as_ref().join("config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value = serde_json::from_str(&text).map_err(Error::json(&path))?;
        Self::from_hf(value).map_err(|error| error.in_file(&path))
    }

    /// Reads the content of a `config.json`.
    ///
    /// # Errors
    ///
    /// When the model is not known, or a key cannot be honoured.
    pub fn from_hf(value: Value) -> Result<Self, Error> {
        let reader = ConfigReader::new(value)?;
        match reader.peek("model_type").and_then(Value::as_str) {
            Some("llava") => Ok(Self::Llava(Box::new(LlavaConfig::from_hf(reader)?))),
            Some("llama" | "mistral" | "qwen2") => {
                let (kind, config) = decoder_from_hf(reader)?;
                Ok(Self::Text(kind, Box::new(config)))
            }
            Some(other) => Err(Error::key(
                "model_type",
                format!("expected llava, llama, mistral or qwen2, found `{other}`"),
            )),
            None => Err(Error::key(
                "model_type",
                "expected a model's name, found none",
            )),
        }
    }

    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When a family has no key for one of its settings.
    pub fn to_hf(&self) -> Result<Value, Error> {
        match self {
            Self::Llava(config) => config.to_hf(),
            Self::Text(kind, config) => {
                let mut value = kind.to_hf(config)?;
                value["architectures"] = json!([match kind {
                    DecoderKind::Llama => "LlamaForCausalLM",
                    DecoderKind::Mistral => "MistralForCausalLM",
                    DecoderKind::Qwen2 => "Qwen2ForCausalLM",
                }]);
                Ok(value)
            }
        }
    }

    /// A model with fresh weights; those that are never used are never made.
    pub fn init(&self, device: &Device) -> AnyVlm {
        match self {
            Self::Llava(config) => AnyVlm::Llava(config.init(device)),
            Self::Text(_, config) => AnyVlm::Text(config.init(device)),
        }
    }

    /// Keys of a checkpoint.
    pub fn keys(&self) -> KeyMap {
        match self {
            Self::Llava(config) => config.keys(),
            Self::Text(_, config) => vlm_text::llama::keys(config),
        }
    }

    /// How pictures become tokens; none for a language model alone.
    pub fn image_tokens(&self) -> Option<Box<dyn ImageTokens>> {
        match self {
            Self::Llava(config) => {
                let tokens = LlavaTokens::new(config.image_token_id, &config.vision);
                Some(Box::new(tokens))
            }
            Self::Text(..) => None,
        }
    }

    /// What makes pixel values of pictures, from the folder's files.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, a key cannot be honoured, or the model takes no pictures.
    pub fn image_processor(
        &self,
        folder: impl AsRef<Path>,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        let folder = folder.as_ref();
        match self {
            Self::Llava(_) => {
                let processor = PlainProcessor::read(folder, Some(ProcessorClass::Llava))?;
                Ok(Box::new(processor))
            }
            Self::Text(..) => {
                let message = "a language model alone has no image processor";
                Err(Error::file(folder, message))
            }
        }
    }

    /// Takes a head of its own where the configuration ties it to the embedding table and the checkpoint has
    /// both with different values, as the reference does.
    pub(crate) fn untie(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let (prefix, text) = match self {
            Self::Llava(config) => ("language_model.", &config.text),
            Self::Text(_, config) => ("", &**config),
        };
        if !text.tie_word_embeddings {
            return Ok(());
        }
        let keys = self.keys();
        let read = |name: &str| {
            let wanted = format!("{prefix}{name}");
            let key = checkpoint.keys().find(|key| keys.canonical(key) == wanted);
            key.map(|key| checkpoint.read(key, FloatDType::F32))
                .transpose()
        };
        let (Some(head), Some(table)) =
            (read("lm_head.weight")?, read("model.embed_tokens.weight")?)
        else {
            return Ok(());
        };
        let text = match self {
            Self::Llava(config) => &mut config.text,
            Self::Text(_, config) => config,
        };
        text.tie_word_embeddings = head.as_bytes() == table.as_bytes();
        Ok(())
    }

    /// The language model's part.
    pub fn text(&self) -> &CausalLmConfig {
        match self {
            Self::Llava(config) => &config.text,
            Self::Text(_, config) => config,
        }
    }

    /// What people write before and after a question where a checkpoint has no chat template.
    pub(crate) fn usual_prompt(&self, question: &str, image_token: &str, images: usize) -> String {
        match self {
            Self::Llava(_) => {
                let pictures = format!("{image_token}\n").repeat(images);
                format!("USER: {pictures}{question} ASSISTANT:")
            }
            Self::Text(..) => question.to_owned(),
        }
    }
}
