use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

use burn::tensor::FloatDType;
use serde_json::Value;
use vlm_core::{ConfigReader, Error, checkpoint::Checkpoint};

use crate::{
    Family, fuyu::FuyuConfig, idefics3::Idefics3Config, kosmos2::Kosmos2Config, llava::LlavaConfig,
    llava_next::LlavaNextConfig, text_only::TextOnly,
};

/// The configuration of any model that can be loaded: the family that `model_type` names.
#[derive(Debug)]
pub struct AnyConfig(Box<dyn Family>);

type Reader = fn(ConfigReader) -> Result<Box<dyn Family>, Error>;

/// `model_type` and who reads the rest.
const FAMILIES: &[(&str, Reader)] = &[
    ("llava", |reader| {
        Ok(Box::new(LlavaConfig::from_hf(reader)?))
    }),
    ("llava_next", |reader| {
        Ok(Box::new(LlavaNextConfig::from_hf(reader)?))
    }),
    ("kosmos-2", |reader| {
        Ok(Box::new(Kosmos2Config::from_hf(reader)?))
    }),
    ("fuyu", |reader| Ok(Box::new(FuyuConfig::from_hf(reader)?))),
    ("idefics3", |reader| {
        Ok(Box::new(Idefics3Config::from_hf(reader)?))
    }),
    ("smolvlm", |reader| {
        Ok(Box::new(Idefics3Config::from_hf(reader)?))
    }),
    ("llama", |reader| Ok(Box::new(TextOnly::from_hf(reader)?))),
    ("mistral", |reader| Ok(Box::new(TextOnly::from_hf(reader)?))),
    ("qwen2", |reader| Ok(Box::new(TextOnly::from_hf(reader)?))),
    ("persimmon", |reader| {
        Ok(Box::new(TextOnly::from_hf(reader)?))
    }),
];

impl AnyConfig {
    /// Reads `config.json` of a folder, and what other files of it say of the family.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, the model is not known, or a key cannot be honoured.
    pub fn from_folder(folder: impl AsRef<Path>) -> Result<Self, Error> {
        let path = folder.as_ref().join("config.json");
        let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
        let value = serde_json::from_str(&text).map_err(Error::json(&path))?;
        let mut config = Self::from_hf(value).map_err(|error| error.in_file(&path))?;
        config.read_files(folder.as_ref())?;
        Ok(config)
    }

    /// Reads the content of a `config.json`.
    ///
    /// # Errors
    ///
    /// When the model is not known, or a key cannot be honoured.
    pub fn from_hf(value: Value) -> Result<Self, Error> {
        let reader = ConfigReader::new(value)?;
        let Some(model_type) = reader.peek("model_type").and_then(Value::as_str) else {
            let message = "expected a model's name, found none";
            return Err(Error::key("model_type", message));
        };
        match FAMILIES.iter().find(|(name, _)| *name == model_type) {
            Some((_, read)) => Ok(Self(read(reader)?)),
            None => {
                let known: Vec<&str> = FAMILIES.iter().map(|(name, _)| *name).collect();
                let message = format!("expected one of {}, found `{model_type}`", known.join(", "));
                Err(Error::key("model_type", message))
            }
        }
    }

    /// Takes a head of its own where the configuration ties it to the embedding table and the checkpoint has
    /// both with different values, as the reference does.
    pub(crate) fn untie(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        if !self.text().tie_word_embeddings {
            return Ok(());
        }
        self.text_mut().tie_word_embeddings = false;
        let keys = self.keys();
        let read = |name: &str| {
            let paths = [format!("decoder.{name}"), name.to_owned()];
            let wanted = paths.iter().find_map(|path| keys.key_of(path));
            let key = wanted.and_then(|(wanted, _)| {
                checkpoint.keys().find(|key| keys.canonical(key) == wanted)
            });
            key.map(|key| checkpoint.read(key, FloatDType::F32))
                .transpose()
        };
        let tied = match (read("lm_head.weight")?, read("embed_tokens.weight")?) {
            (Some(head), Some(table)) => head.as_bytes() == table.as_bytes(),
            _ => true,
        };
        self.text_mut().tie_word_embeddings = tied;
        Ok(())
    }
}

impl<F: Family + 'static> From<F> for AnyConfig {
    fn from(family: F) -> Self {
        Self(Box::new(family))
    }
}

impl Clone for AnyConfig {
    fn clone(&self) -> Self {
        Self(self.boxed())
    }
}

impl Deref for AnyConfig {
    type Target = dyn Family;

    fn deref(&self) -> &Self::Target {
        self.0.as_ref()
    }
}

impl DerefMut for AnyConfig {
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.0.as_mut()
    }
}
