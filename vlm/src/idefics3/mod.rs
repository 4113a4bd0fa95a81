//! Idefics3 ([Laurençon et al. 2024](https://arxiv.org/abs/2408.12637)), SmolVLM and SmolVLM2
//! ([Marafioti et al. 2025](https://arxiv.org/abs/2504.05299)): SigLIP's tower over tiles, a pixel shuffle, a
//! language model. Pictures only: videos are not read.

mod hf;
mod tokens;

use burn::{config::Config, tensor::Device};
use vlm_core::Vlm;
use vlm_projector::{PixelShuffleProjector, PixelShuffleProjectorConfig};
use vlm_text::{CausalLm, CausalLmConfig, DecoderKind};
use vlm_vision::{Vit, VitConfig, idefics3};

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
    let text = CausalLmConfig { vocab_size: 49280, tie_word_embeddings: false, ..text };
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
        Vlm::new(self.vision.init(device), projector.init(device), self.text.init(device))
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
