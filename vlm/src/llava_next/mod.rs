//! LLaVA-NeXT or 1.6 ([Liu et al. 2024](https://llava-vl.github.io/blog/2024-01-30-llava-next)): LLaVA over an
//! overview and tiles of a picture, whose rows end in a learned vector.

mod hf;
mod tokens;

use std::path::Path;

use burn::{
    config::Config,
    module::Param,
    nn::Initializer,
    tensor::{Device, Tensor},
};
use serde_json::Value;
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, checkpoint::KeyMap};
use vlm_text::{CausalLmConfig, DecoderKind, Tokenizer};
use vlm_vision::processor::{AnyResProcessor, ProcessorFile};

use crate::{
    AnyVlm, Family,
    llava::{Llava, LlavaConfig, llava_1_5_7b},
};

pub use tokens::LlavaNextTokens;

/// The composition: a LLaVA whose separator is `image_newline`.
pub type LlavaNext = Llava;

/// Configuration of a [`LlavaNext`].
#[derive(Config, Debug)]
pub struct LlavaNextConfig {
    /// Tower, projector and language model.
    pub llava: LlavaConfig,
    /// Heights and widths that a picture may be tiled at.
    #[config(default = "vec![[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]")]
    pub image_grid_pinpoints: Vec<[usize; 2]>,
}

/// LLaVA-v1.6-Mistral-7B: CLIP-L/14 at 336 pixels, Mistral 7B v0.2.
pub fn llava_1_6_mistral_7b() -> LlavaNextConfig {
    let mut llava = llava_1_5_7b();
    llava.text = vlm_text::mistral::mistral_7b();
    llava.text.vocab_size = 32064;
    llava.decoder = DecoderKind::Mistral;
    LlavaNextConfig::new(llava)
}

/// LLaVA-v1.6-Vicuna-7B: CLIP-L/14 at 336 pixels, Vicuna 7B v1.5.
pub fn llava_1_6_vicuna_7b() -> LlavaNextConfig {
    LlavaNextConfig::new(llava_1_5_7b())
}

/// LLaVA-v1.6-34B: CLIP-L/14 at 336 pixels, Nous-Hermes-2-Yi-34B.
pub fn llava_1_6_34b() -> LlavaNextConfig {
    let mut llava = llava_1_5_7b();
    llava.text = vlm_text::llama::yi_34b();
    llava.text.vocab_size = 64064;
    llava.image_token_id = 64000;
    LlavaNextConfig::new(llava)
}

/// LLaVA-NeXT Llama-3 8B: CLIP-L/14 at 336 pixels, Llama-3 8B Instruct.
pub fn llava_next_llama3_8b() -> LlavaNextConfig {
    let mut llava = llava_1_5_7b();
    llava.text = vlm_text::llama::llama3_8b();
    llava.text.vocab_size = 128_320;
    llava.image_token_id = 128_256;
    LlavaNextConfig::new(llava)
}

impl LlavaNextConfig {
    /// A model with fresh weights.
    pub fn init(&self, device: &Device) -> LlavaNext {
        let hidden_size = self.llava.text.hidden_size;
        let initializer = Initializer::Normal {
            mean: 0.0,
            std: 1.0 / (hidden_size as f64).sqrt(),
        };
        let newline: Param<Tensor<2>> = initializer.init([1, hidden_size], device);
        self.llava.init(device).with_separators(newline)
    }
}

impl Family for LlavaNextConfig {
    fn to_hf(&self) -> Result<Value, Error> {
        self.to_hf()
    }

    fn keys(&self) -> KeyMap {
        self.keys()
    }

    fn init(&self, device: &Device) -> AnyVlm {
        AnyVlm::Llava(self.init(device))
    }

    fn text(&self) -> &CausalLmConfig {
        &self.llava.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.llava.text
    }

    fn image_tokens(&self, _tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        let tokens = LlavaNextTokens::new(self.llava.image_token_id, &self.llava.vision);
        Ok(Some(Box::new(tokens)))
    }

    fn image_processor(
        &self,
        folder: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        self.llava.check_processor_keys(folder, tokenizer)?;
        let processor = AnyResProcessor::read(folder)?;
        let pinpoints = self.image_grid_pinpoints.iter();
        let pinpoints: Vec<Size> = pinpoints.map(|[h, w]| Size::new(*h, *w)).collect();
        if processor.grid_pinpoints() != pinpoints {
            let message = "differs from image_grid_pinpoints in config.json";
            let error = Error::key("image_grid_pinpoints", message);
            return Err(ProcessorFile::find(folder)?.explain(error));
        }
        Ok(Box::new(processor))
    }

    fn usual_prompt(&self, question: &str, placeholder: &str, images: usize) -> String {
        self.llava.usual_prompt(question, placeholder, images)
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}
