//! Kosmos-2 ([Peng et al. 2023](https://arxiv.org/abs/2306.14824)): a CLIP tower, latent queries, a decoder
//! that says where in the picture its words are.
//!
//! The reference gives a `<pad>` of the text no position. Here a prompt with one is refused; one that the model
//! writes, which a trained one does not, is read at its place as any other token.

mod hf;
mod tokens;

use std::path::Path;

use burn::{config::Config, tensor::Device};
use serde_json::Value;
use vlm_chat_template::{
    Part,
    grounding::{Grounding, Kosmos2Markup},
};
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, Vlm, checkpoint::KeyMap};
use vlm_projector::{Resampler, ResamplerConfig};
use vlm_text::{CausalLm, CausalLmConfig, PositionEmbedding, Tokenizer};
use vlm_vision::{
    FeatureSelection, Vit, VitConfig, clip,
    processor::{PlainProcessor, ProcessorClass},
};

use crate::{AnyVlm, Family};

pub use tokens::Kosmos2Tokens;

/// The composition.
pub type Kosmos2 = Vlm<Vit, Resampler, CausalLm>;

/// Configuration of a [`Kosmos2`].
#[derive(Config, Debug)]
pub struct Kosmos2Config {
    /// The image encoder.
    pub vision: VitConfig,
    /// The language model.
    pub text: CausalLmConfig,
    /// Visual tokens of a picture.
    #[config(default = 64)]
    pub latent_query_num: usize,
}

/// `microsoft/kosmos-2-patch14-224`.
pub fn kosmos_2_patch14_224() -> Kosmos2Config {
    Kosmos2Config::new(
        clip::vit_large_patch14_224(features()),
        vlm_text::kosmos2::patch14_224(),
    )
}

/// All tokens of the last layer, normalised.
fn features() -> FeatureSelection {
    FeatureSelection::new(vec![-1], false).with_post_norm(true)
}

impl Kosmos2Config {
    /// A model with fresh weights.
    pub fn init(&self, device: &Device) -> Kosmos2 {
        let projector = ResamplerConfig::new(
            self.vision.feature_size(),
            self.text.hidden_size,
            self.latent_query_num,
            self.text.num_attention_heads,
        );
        Vlm::new(
            self.vision.init(device),
            projector.init(device),
            self.text.init(device),
        )
    }
}

impl Family for Kosmos2Config {
    fn to_hf(&self) -> Result<Value, Error> {
        self.to_hf()
    }

    fn keys(&self) -> KeyMap {
        self.keys()
    }

    fn init(&self, device: &Device) -> AnyVlm {
        AnyVlm::Kosmos2(self.init(device))
    }

    fn text(&self) -> &CausalLmConfig {
        &self.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.text
    }

    fn extend_tokenizer(&self, tokenizer: &mut Tokenizer, folder: &Path) -> Result<(), Error> {
        tokens::add_tokens(tokenizer, folder)
    }

    fn image_tokens(&self, tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        let side = self.vision.image_size;
        let tokens = Kosmos2Tokens::new(tokenizer, self.latent_query_num, side)?;
        Ok(Some(Box::new(tokens)))
    }

    fn image_processor(
        &self,
        folder: &Path,
        _tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        let processor = PlainProcessor::read(folder, Some(ProcessorClass::Clip))?;
        Ok(Box::new(processor))
    }

    fn usual_prompt(&self, question: &str, _placeholder: &str, _images: usize) -> String {
        format!("Question: {question} Answer:")
    }

    fn write(
        &self,
        tokenizer: &Tokenizer,
        parts: &[Part],
        _images: &[Size],
    ) -> Result<Option<String>, Error> {
        let prompt = Kosmos2Markup::new(tokens::patches_per_side(tokenizer)).prompt(parts);
        prompt
            .map(Some)
            .map_err(|error| Error::Request(error.to_string()))
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
        let ids = tokens::encode(tokenizer, text, images.len())?;
        let pad = match self.text.position_embedding() {
            PositionEmbedding::Sinusoidal(positions) => positions.first_position.checked_sub(1),
            PositionEmbedding::Rotary(_) => None,
        };
        match pad.filter(|pad| ids.contains(pad)) {
            None => Ok(ids),
            Some(pad) => {
                let token = tokenizer.token(pad).unwrap_or_default();
                let message =
                    format!("a Kosmos-2 has no position for `{token}`, which stands in the prompt");
                Err(Error::Request(message))
            }
        }
    }

    fn grounding(&self, answer: &str, _images: &[Size]) -> Result<Option<Grounding>, Error> {
        // The reference reads every answer on a grid of 32 × 32, whatever the tokenizer's grid.
        Ok(Some(Kosmos2Markup::default().parse(answer)))
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}
