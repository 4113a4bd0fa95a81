//! Idefics3 ([Laurençon et al. 2024](https://arxiv.org/abs/2408.12637)), SmolVLM and SmolVLM2
//! ([Marafioti et al. 2025](https://arxiv.org/abs/2504.05299)): SigLIP's tower over tiles, a pixel shuffle, a
//! language model. Pictures only: videos are not read.

mod hf;
mod tokens;

use std::path::Path;

use burn::{config::Config, tensor::Device};
use serde_json::Value;
use vlm_core::{Error, ImageProcessor, ImageTokens, Size, Vlm, checkpoint::KeyMap};
use vlm_projector::{PixelShuffleProjector, PixelShuffleProjectorConfig};
use vlm_text::{CausalLm, CausalLmConfig, DecoderKind, Tokenizer};
use vlm_vision::{Vit, VitConfig, idefics3, processor::TilingProcessor};

use crate::{AnyVlm, Family};

pub use tokens::Idefics3Tokens;

/// The composition.
pub type Idefics3 = Vlm<Vit, PixelShuffleProjector, CausalLm>;

/// The two names of one architecture.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum Idefics3Kind {
    /// `idefics3`: Idefics3 and the first SmolVLM.
    Idefics3,
    /// `smolvlm`: SmolVLM2.
    SmolVlm,
}

/// Configuration of an [`Idefics3`].
#[derive(Config, Debug)]
pub struct Idefics3Config {
    /// The image encoder.
    pub vision: VitConfig,
    /// The language model.
    pub text: CausalLmConfig,
    /// Which family it is of.
    pub decoder: DecoderKind,
    /// What `model_type` says.
    #[config(default = "Idefics3Kind::Idefics3")]
    pub kind: Idefics3Kind,
    /// Id of the token that stands for a picture.
    #[config(default = 128257)]
    pub image_token_id: u32,
    /// Height and width, in patches, of the squares that become one token.
    #[config(default = 2)]
    pub scale_factor: usize,
}

/// SmolVLM 256M: SigLIP-B/16 at 512 pixels, 64 tokens a crop, SmolLM2 135M with a head of its own.
pub fn smolvlm_256m() -> Idefics3Config {
    let text = vlm_text::llama::smollm2_135m();
    let text = CausalLmConfig {
        vocab_size: 49280,
        tie_word_embeddings: false,
        ..text
    };
    Idefics3Config::new(idefics3::base_patch16_512(), text, DecoderKind::Llama)
        .with_image_token_id(49190)
        .with_scale_factor(4)
}

impl Idefics3Config {
    /// A model with fresh weights.
    pub fn init(&self, device: &Device) -> Idefics3 {
        let projector = PixelShuffleProjectorConfig::new(
            self.vision.feature_size(),
            self.text.hidden_size,
            self.scale_factor,
        );
        Vlm::new(
            self.vision.init(device),
            projector.init(device),
            self.text.init(device),
        )
    }

    /// Visual tokens of a crop.
    ///
    /// # Errors
    ///
    /// When its patches are no square of squares that become one token each.
    pub fn tokens_per_crop(&self, crop: Size) -> Result<usize, Error> {
        let (patch, scale) = (self.vision.patch_size, self.scale_factor);
        let (rows, columns) = (crop.height / patch, crop.width / patch);
        if rows == 0 || rows != columns || !rows.is_multiple_of(scale) {
            let name = format!("in crops of {} × {} pixels", crop.height, crop.width);
            let message = format!(
                "{rows} × {columns} patches are no square of squares of {scale} × {scale} (scale_factor)"
            );
            return Err(Error::Image { name, message });
        }
        Ok((rows / scale) * (rows / scale))
    }
}

impl Family for Idefics3Config {
    fn to_hf(&self) -> Result<Value, Error> {
        self.to_hf()
    }

    fn keys(&self) -> KeyMap {
        self.keys()
    }

    fn init(&self, device: &Device) -> AnyVlm {
        AnyVlm::Idefics3(self.init(device))
    }

    fn text(&self) -> &CausalLmConfig {
        &self.text
    }

    fn text_mut(&mut self) -> &mut CausalLmConfig {
        &mut self.text
    }

    fn image_tokens(&self, tokenizer: &Tokenizer) -> Result<Option<Box<dyn ImageTokens>>, Error> {
        Ok(Some(Box::new(Idefics3Tokens::new(self, tokenizer)?)))
    }

    fn image_processor(
        &self,
        folder: &Path,
        _tokenizer: &Tokenizer,
    ) -> Result<Box<dyn ImageProcessor>, Error> {
        let processor = TilingProcessor::read(folder)?;
        if let Ok(tokens) = self.tokens_per_crop(processor.crop_size()) {
            check_image_seq_len(folder, tokens)?;
        }
        Ok(Box::new(processor))
    }

    fn usual_prompt(&self, question: &str, placeholder: &str, images: usize) -> String {
        let begin = match self.kind {
            Idefics3Kind::Idefics3 => "",
            Idefics3Kind::SmolVlm => "<|im_start|>",
        };
        let pictures = match images {
            0 => " ".to_owned(),
            _ => placeholder.repeat(images),
        };
        format!("{begin}User:{pictures}{question}<end_of_utterance>\nAssistant:")
    }

    fn boxed(&self) -> Box<dyn Family> {
        Box::new(self.clone())
    }
}

/// Refuses a processor that would write another number of image tokens than the model has.
fn check_image_seq_len(folder: &Path, tokens: usize) -> Result<(), Error> {
    let path = folder.join("processor_config.json");
    if !path.is_file() {
        return Ok(());
    }
    let text = std::fs::read_to_string(&path).map_err(Error::io(&path))?;
    let config: Value = serde_json::from_str(&text).map_err(Error::json(&path))?;
    match config.get("image_seq_len") {
        Some(written) if !written.is_null() && *written != tokens => {
            let message = format!("a crop has {tokens} tokens, found {written}");
            Err(Error::key("image_seq_len", message).in_file(path))
        }
        _ => Ok(()),
    }
}

impl Idefics3Kind {
    /// The value of `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Idefics3 => "idefics3",
            Self::SmolVlm => "smolvlm",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Module;

    #[test]
    fn smolvlm_256m_has_that_many_parameters() {
        let parameters = smolvlm_256m().init(&Device::default()).num_params();
        assert_eq!(parameters / 1_000_000, 256);
    }
}
