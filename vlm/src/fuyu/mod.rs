//! Fuyu ([Bavishi et al. 2023](https://www.adept.ai/blog/fuyu-8b)): no image encoder, a picture's patches are
//! projected and read by the decoder, row by row.

mod hf;
mod places;
mod tokens;

use std::path::Path;

use burn::{config::Config, tensor::Device};
use serde_json::Value;
use vlm_chat_template::{
    Part,
    grounding::{FuyuMarkup, Grounding},
};
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, Vlm, checkpoint::KeyMap};
use vlm_projector::{LinearProjector, LinearProjectorConfig};
use vlm_text::{CausalLm, CausalLmConfig, Tokenizer};
use vlm_vision::{Patchify, PatchifyConfig, processor::ShrinkProcessor};

use crate::{AnyVlm, Family};
use places::Scale;

pub use tokens::FuyuTokens;

/// The composition.
pub type Fuyu = Vlm<Patchify, LinearProjector, CausalLm>;

/// Configuration of a [`Fuyu`].
#[derive(Config, Debug)]
pub struct FuyuConfig {
    /// The language model.
    pub text: CausalLmConfig,
    /// Height and width of a patch.
    #[config(default = 30)]
    pub patch_size: usize,
    /// Id of the token that stands for a patch.
    #[config(default = 71011)]
    pub image_token_id: u32,
    /// Height and width that larger pictures are shrunk into. It is a key of the image processor, by which places
    /// are scaled, and none of `config.json`.
    #[config(default = "[1080, 1920]")]
    pub size: [usize; 2],
}

/// `adept/fuyu-8b`.
pub fn fuyu_8b() -> FuyuConfig {
    FuyuConfig::new(vlm_text::persimmon::persimmon_8b())
}

impl FuyuConfig {
    /// A model with fresh weights.
    pub fn init(&self, device: &Device) -> Fuyu {
        let patches = PatchifyConfig::new(self.patch_size);
        let projector = LinearProjectorConfig::new(patches.feature_size(), self.text.hidden_size);
        Vlm::new(
            patches.init(),
            projector.init(device),
            self.text.init(device),
        )
    }

    fn scale(&self, original: Size) -> Scale {
        let [height, width] = self.size;
        Scale::new(original, Size::new(height, width))
    }
}

impl Family for FuyuConfig {
    fn to_hf(&self) -> Result<Value, Error> {
        self.to_hf()
    }

    fn keys(&self) -> KeyMap {
        self.keys()
    }

    fn init(&self, device: &Device) -> AnyVlm {
        AnyVlm::Fuyu(self.init(device))
    }

    fn text(&self) -> &CausalLmConfig {
        &self.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.text
    }

    fn read_files(&mut self, folder: &Path) -> Result<(), Error> {
        let processor = ShrinkProcessor::read(folder, self.patch_size)?;
        let limit = processor.limit();
        let Size { height, width } = limit.unwrap_or(Size::new(usize::MAX, usize::MAX));
        self.size = [height, width];
        Ok(())
    }

    fn image_tokens(&self, tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        Ok(Some(Box::new(FuyuTokens::new(tokenizer, self.patch_size)?)))
    }

    fn image_processor(
        &self,
        folder: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        tokens::check_image_token(tokenizer, self.image_token_id)
            .map_err(|error| error.in_file(folder.join("config.json")))?;
        let processor = ShrinkProcessor::read(folder, self.patch_size)?;
        Ok(Box::new(processor))
    }

    fn usual_prompt(&self, question: &str, _placeholder: &str, _images: usize) -> String {
        format!("{question}\n")
    }

    fn write(
        &self,
        _tokenizer: &Tokenizer,
        parts: &[Part],
        images: &[Size],
    ) -> Result<Option<String>, Error> {
        let size = images.first().copied();
        let Size { height, width } = size.unwrap_or(Size::new(1, 1));
        let prompt = FuyuMarkup::new(height, width).prompt(parts);
        let prompt = prompt.map_err(|error| Error::Request(error.to_string()))?;
        let has_places = |part: &Part| {
            let keys = ["boxes", "points"].map(|key| part.as_json().get(key));
            keys.iter()
                .flatten()
                .any(|places| **places != Value::Array(Vec::new()))
        };
        match size.is_none() && parts.iter().any(has_places) {
            true => Err(no_picture()),
            false => Ok(Some(prompt)),
        }
    }

    fn frames_prompts(&self) -> bool {
        true
    }

    fn encode(
        &self,
        tokenizer: &Tokenizer,
        text: &str,
        images: &[Size],
    ) -> Result<Vec<u32>, Error> {
        match images {
            // As the reference, which gives a text without a picture no beginning of an answer, either.
            [] => tokenizer.encode(text, !tokenizer.begins_with_bos(text)),
            [original] => tokens::encode(tokenizer, text, self.scale(*original)),
            _ => {
                let found = images.len();
                let message = format!("a Fuyu reads one image with a prompt, found {found}");
                Err(Error::Request(message))
            }
        }
    }

    fn decode(&self, tokenizer: &Tokenizer, tokens: &[u32], images: &[Size]) -> String {
        match images.first() {
            None => tokenizer.decode(tokens),
            Some(original) => places::decode(tokenizer, tokens, self.scale(*original)),
        }
    }

    fn grounding(&self, answer: &str, images: &[Size]) -> Result<Option<Grounding>, Error> {
        let size = images.first().copied();
        let Size { height, width } = size.unwrap_or(Size::new(1, 1));
        let answer = places::readable(answer, self.scale(Size::new(height, width)));
        let grounding = FuyuMarkup::new(height, width).parse(&answer);
        match size.is_none() && !grounding.entities.is_empty() {
            false => Ok(Some(grounding)),
            true => Err(no_picture()),
        }
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}

fn no_picture() -> Error {
    let message =
        "the boxes and points of a Fuyu are pixels of its image: expected one, found none";
    Error::Request(message.to_owned())
}
