use std::{fmt::Debug, path::Path};

use burn::tensor::Device;
use serde_json::Value;
use vlm_chat_template::grounding::Grounding;
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, checkpoint::KeyMap};
use vlm_text::{CausalLmConfig, Tokenizer};

use crate::AnyVlm;

/// A family of models as data: what the facade has to know of one in order to load, run and save it.
///
/// A family's configuration implements it; [`AnyConfig`](crate::AnyConfig) finds the family by `model_type`.
pub trait Family: Debug + Send + Sync {
    /// The configuration as transformers writes it.
    ///
    /// # Errors
    ///
    /// When the family has no key for one of its settings.
    fn to_hf(&self) -> Result<Value, Error>;

    /// Keys of a checkpoint.
    fn keys(&self) -> KeyMap;

    /// A model with fresh weights; those that are never used are never made.
    fn init(&self, device: &Device) -> AnyVlm;

    /// The language model's part.
    fn text(&self) -> &CausalLmConfig;

    /// The language model's part, to be changed.
    fn text_mut(&mut self) -> &mut CausalLmConfig;

    /// Adds the tokens that the family's processor in transformers adds to every tokenizer; none as it stands.
    ///
    /// # Errors
    ///
    /// When a file that tells their number is damaged.
    fn extend_tokenizer(&self, tokenizer: &mut Tokenizer, folder: &Path) -> Result<(), Error> {
        let _ = (tokenizer, folder);
        Ok(())
    }

    /// The tokenizer of a checkpoint folder: `tokenizer.json` as it stands, with the tokens of the files beside it.
    ///
    /// # Errors
    ///
    /// When a file is missing or damaged, or a key cannot be honoured.
    fn tokenizer(&self, folder: &Path) -> Result<Tokenizer, Error> {
        Tokenizer::from_folder(folder)
    }

    /// How pictures become tokens; none for a language model alone.
    ///
    /// # Errors
    ///
    /// When the tokenizer has not the tokens that the family needs.
    fn image_tokens(&self, tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error>;

    /// What makes pixel values of pictures, from the folder's files.
    ///
    /// # Errors
    ///
    /// When the file is missing or damaged, a key cannot be honoured, or the model takes no pictures.
    fn image_processor(
        &self,
        folder: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error>;

    /// What people write around a question about pictures where a checkpoint has no chat template.
    fn usual_prompt(&self, question: &str, placeholder: &str, images: usize) -> String;

    /// The ids of a text that is used as it is, with one placeholder for each picture.
    ///
    /// As it stands, the tokenizer's special tokens are added, unless the text begins with the first of them.
    ///
    /// # Errors
    ///
    /// When the tokenizer fails.
    fn encode(&self, tokenizer: &Tokenizer, text: &str, images: usize) -> Result<Vec<u32>, Error> {
        let _ = images;
        tokenizer.encode(text, !tokenizer.begins_with_bos(text))
    }

    /// What an answer's markup says about pictures of the given sizes; `None`, as it stands, where the family
    /// writes none.
    ///
    /// # Errors
    ///
    /// When the markup needs a picture that is not there.
    fn grounding(&self, answer: &str, images: &[Size]) -> Result<Option<Grounding>, Error> {
        let _ = (answer, images);
        Ok(None)
    }

    /// The same configuration once more.
    fn boxed(&self) -> Box<dyn Family>;
}
