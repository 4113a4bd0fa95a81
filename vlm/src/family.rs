use std::{fmt::Debug, path::Path};

use burn::tensor::Device;
use serde_json::Value;
use vlm_chat_template::{Part, grounding::Grounding};
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

    /// Takes what the other files of the folder say of the family; nothing as it stands.
    ///
    /// # Errors
    ///
    /// When such a file is missing or damaged, or a key cannot be honoured.
    fn read_files(&mut self, folder: &Path) -> Result<(), Error> {
        let _ = folder;
        Ok(())
    }

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

    /// The prompt of a message about pictures of the given sizes where a checkpoint has no chat template; `None`,
    /// as it stands, where the family has no markup to write one with.
    ///
    /// # Errors
    ///
    /// When a part is of another kind than the markup has, or its places are none.
    fn write(
        &self,
        tokenizer: &Tokenizer,
        parts: &[Part],
        images: &[Size],
    ) -> Result<Option<String>, Error> {
        let _ = (tokenizer, parts, images);
        Ok(None)
    }

    /// Whether [`encode`](Self::encode) puts pictures around a text rather than in place of placeholders; no, as it
    /// stands. The text that a chat template writes goes the same way then, and what users write in it is markup.
    fn frames_prompts(&self) -> bool {
        false
    }

    /// The ids of a text that is used as it is, with one placeholder for each of the pictures, whose sizes are
    /// given.
    ///
    /// As it stands, the tokenizer's special tokens are added, unless the text begins with the first of them.
    ///
    /// # Errors
    ///
    /// When the tokenizer fails.
    fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        images: &[Size],
    ) -> Result<Vec<u32>, Error> {
        let _ = images;
        tokenizer.encode(text, !tokenizer.begins_with_bos(text))
    }

    /// The text of an answer about pictures of the given sizes in which [`grounding`](Self::grounding) reads; the
    /// tokenizer's as it stands.
    fn decode(&self, tokenizer: &Tokenizer, tokens: &[u32], images: &[Size]) -> String {
        let _ = images;
        tokenizer.decode(tokens)
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
