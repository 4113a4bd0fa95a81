use std::path::Path;

use burn::tensor::Device;
use serde_json::{Value, json};
use vlm_core::{ConfigReader, Error, ImageProcessor, ImageTokens, checkpoint::KeyMap};
use vlm_text::{CausalLmConfig, DecoderKind, Tokenizer, decoder_from_hf};

use crate::{AnyVlm, Family};

/// A language model alone.
#[derive(Clone, Debug)]
pub struct TextOnly {
    /// Which family it is of.
    pub kind: DecoderKind,
    /// Its numbers.
    pub text: CausalLmConfig,
}

impl TextOnly {
    /// Reads a `config.json`.
    ///
    /// # Errors
    ///
    /// When a key cannot be honoured.
    pub fn from_hf(reader: ConfigReader) -> Result<Self, Error> {
        let (kind, text) = decoder_from_hf(reader)?;
        Ok(Self { kind, text })
    }
}

impl Family for TextOnly {
    fn to_hf(&self) -> Result<Value, Error> {
        let mut value = self.kind.to_hf(&self.text)?;
        value["architectures"] = json!([self.kind.architecture()]);
        Ok(value)
    }

    fn keys(&self) -> KeyMap {
        self.kind.keys(&self.text)
    }

    fn init(&self, device: &Device) -> AnyVlm {
        AnyVlm::Text(self.text.init(device))
    }

    fn text(&self) -> &CausalLmConfig {
        &self.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.text
    }

    fn tokenizer(&self, folder: &Path) -> Result<Tokenizer, Error> {
        Tokenizer::of_decoder(folder, self.kind)
    }

    fn image_tokens(&self, _tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        Ok(None)
    }

    fn image_processor(
        &self,
        folder: &Path,
        _tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        let message = "a language model alone has no image processor";
        Err(Error::file(folder, message))
    }

    fn usual_prompt(&self, question: &str, _placeholder: &str, _images: usize) -> String {
        question.to_owned()
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}
