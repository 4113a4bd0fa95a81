//! LLaVA-1.5 ([Liu et al. 2024](https://arxiv.org/abs/2310.03744)): a CLIP or SigLIP tower, an MLP, a
//! language model.

mod hf;
mod processor_keys;
mod tokens;

use std::path::Path;

use burn::{config::Config, tensor::Device};
use serde_json::Value;
use vlm_chat_template::grounding::{Grounding, LocationMarkup};
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, Vlm, checkpoint::KeyMap, nn::Activation};
use vlm_projector::{MlpProjector, MlpProjectorConfig};
use vlm_text::{CausalLm, CausalLmConfig, DecoderKind, Tokenizer};
use vlm_vision::{
    FeatureSelection, Vit, VitConfig, clip,
    processor::{PlainProcessor, ProcessorClass},
};

use crate::{AnyVlm, Family};

pub use tokens::LlavaTokens;
pub(crate) use tokens::check_crop;

/// The composition.
pub type Llava = Vlm<Vit, MlpProjector, CausalLm>;

/// Which tower a LLaVA looks through.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Tower {
    /// CLIP's.
    Clip,
    /// SigLIP's.
    Siglip,
}

/// Configuration of a [`Llava`].
#[derive(Config, Debug)]
pub struct LlavaConfig {
    /// The image encoder.
    pub vision: VitConfig,
    /// Which family it is of.
    pub tower: Tower,
    /// The language model.
    pub text: CausalLmConfig,
    /// Which family it is of.
    pub decoder: DecoderKind,
    /// Id of the token that stands for a picture.
    #[config(default = 32000)]
    pub image_token_id: u32,
    /// Activation of the projector.
    #[config(default = "Activation::Gelu")]
    pub projector_hidden_act: Activation,
    /// Whether the projector has biases.
    #[config(default = true)]
    pub multimodal_projector_bias: bool,
}

/// LLaVA-1.5 7B: CLIP-L/14 at 336 pixels, Vicuna 7B v1.5.
pub fn llava_1_5_7b() -> LlavaConfig {
    LlavaConfig::new(
        clip::vit_large_patch14_336(FeatureSelection::new(vec![-2], true)),
        Tower::Clip,
        vlm_text::llama::vicuna_7b(),
        DecoderKind::Llama,
    )
}

impl LlavaConfig {
    /// A model with fresh weights.
    pub fn init(&self, device: &Device) -> Llava {
        let projector = MlpProjectorConfig::new(
            self.vision.feature_size(),
            self.text.hidden_size,
            self.projector_hidden_act,
        )
        .with_bias(self.multimodal_projector_bias);
        Vlm::new(
            self.vision.init(device),
            projector.init(device),
            self.text.init(device),
        )
    }
}

impl Family for LlavaConfig {
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
        &self.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.text
    }

    fn image_tokens(&self, _tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        let tokens = LlavaTokens::new(self.image_token_id, &self.vision);
        Ok(Some(Box::new(tokens)))
    }

    fn image_processor(
        &self,
        folder: &Path,
        tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        self.check_processor_keys(folder, tokenizer)?;
        let processor = PlainProcessor::read(folder, Some(ProcessorClass::Llava))?;
        Ok(Box::new(processor))
    }

    fn usual_prompt(&self, question: &str, placeholder: &str, images: usize) -> String {
        let pictures = format!("{placeholder}\n").repeat(images);
        match self.decoder {
            DecoderKind::Mistral => format!("[INST] {pictures}{question} [/INST]"),
            DecoderKind::Qwen2 => {
                format!("<|im_start|>user\n{pictures}{question}<|im_end|>\n<|im_start|>assistant\n")
            }
            _ => format!("USER: {pictures}{question} ASSISTANT:"),
        }
    }

    fn grounding(&self, answer: &str, _images: &[Size]) -> Result<Option<Grounding>, Error> {
        // A LLaVA learns to point where its data have location tokens; most have none.
        let found = LocationMarkup::default().parse(answer);
        Ok((!found.entities.is_empty()).then_some(found))
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}
