//! Vision-language models on [burn]: load one, compose one, or take single parts.
//!
//! # Load a checkpoint
//!
//! ```no_run
//! use burn::tensor::{Device, FloatDType};
//! use vlm::prelude::*;
//!
//! # fn main() -> Result<(), vlm::Error> {
//! let device = Device::default();
//! let llava = Pretrained::load("path/to/llava-1.5", FloatDType::F32, &device)?;
//! let photo = vlm::open_image("photo.jpg")?;
//! let answer = llava.ask("What is in the picture?", &[photo], 64)?;
//! println!("{answer}");
//! # Ok(()) }
//! ```
//!
//! # Compose an architecture
//!
//! Any encoder, projector and decoder that implement the three traits make a model. This is a LLaVA:
//!
//! ```
//! use burn::tensor::{DType, Device};
//! use vlm::prelude::*;
//!
//! let device = Device::default();
//! let vision = VitConfig { image_size: 28, num_hidden_layers: 2, ..vlm::clip::vit_large_patch14_336(
//!     FeatureSelection::new(vec![-2], true),
//! ) };
//! let text = CausalLmConfig::new(100, 64, 128, 2, 4).with_num_key_value_heads(Some(2));
//! let projector = MlpProjectorConfig::new(vision.feature_size(), 64, Activation::Gelu);
//! let model = Vlm::new(vision.init(&device), projector.init(&device), text.init(&device));
//!
//! // Token 99 stands for a picture; here a grey one of 28 × 28 pixels, which becomes four tokens.
//! let layout = ImageLayout::whole(Size::new(28, 28));
//! let tokens = LlavaTokens::new(99, &vision);
//! let prompt = Sequence::lay_out(&[1, 99, 7], &[layout.clone()], &tokens)?;
//! let picture = ProcessedImage { pixels: vec![0.0; 3 * 28 * 28], layout };
//! let images = Images::Pixels(ImageBatch::new([&picture], &device, DType::F32));
//! let answer = generate(&model, &[prompt], Some(images), &GenerationConfig::new(5), &device)?;
//! assert_eq!(answer[0].tokens.len(), 5);
//! # Ok::<(), vlm::Error>(())
//! ```
//!
//! # The crates
//!
//! | crate | what it holds |
//! |---|---|
//! | [`vlm_core`] | the seams, shared blocks, checkpoint reading |
//! | [`vlm_vision`] | image processors and encoders |
//! | [`vlm_projector`] | from features to visual tokens |
//! | [`vlm_text`] | language models, tokenizer, generation |
//! | [`vlm_chat_template`] | Hugging Face's chat templates |
//! | `vlm_train` (feature `train`) | supervised fine-tuning |
//!
//! # Devices
//!
//! A [`Device`](burn::tensor::Device) is chosen when the program runs among those that cargo features compiled
//! in: `flex` (CPU, default), `ndarray`, `cuda`, `wgpu`. [`parse_device`] reads one from a flag.

mod any;
mod chat;
mod config;
mod conversation;
mod device;
mod error;
mod family;
pub mod fuyu;
#[cfg(feature = "hub")]
mod hub;
pub mod idefics3;
pub mod kosmos2;
pub mod llava;
pub mod llava_next;
mod plan;
mod pretrained;
mod processor;
mod text_only;
#[cfg(feature = "train")]
pub mod train;

pub use any::AnyVlm;
pub use chat::Chat;
pub use config::AnyConfig;
pub use conversation::Prompt;
pub use device::parse_device;
pub use error::Error;
pub use family::Family;
#[cfg(feature = "hub")]
pub use hub::{DownloadProgress, download, upload};
pub use plan::Plan;
pub use pretrained::Pretrained;
pub use processor::{Processor, Request};
pub use text_only::TextOnly;
pub use vlm_chat_template as chat_template;
pub use vlm_core::{self as core, checkpoint, nn};
pub use vlm_kernels as kernels;
pub use vlm_projector as projector;
pub use vlm_text::{self as text, llama, mistral, persimmon, qwen2};
pub use vlm_vision::{self as vision, clip, open::open as open_image, siglip};

/// What most programs need.
pub mod prelude {
    pub use crate::{
        AnyVlm, Pretrained, Processor,
        fuyu::{Fuyu, FuyuConfig, FuyuTokens},
        kosmos2::{Kosmos2, Kosmos2Config, Kosmos2Tokens},
        llava::{Llava, LlavaConfig, LlavaTokens},
        llava_next::{LlavaNext, LlavaNextConfig, LlavaNextTokens},
    };
    pub use vlm_chat_template::{ChatTemplate, Message, RenderOptions};
    pub use vlm_core::{
        Decoder, ImageBatch, ImageEncoder, ImageLayout, ImageProcessor, ImageTokens, Images,
        ProcessedImage, Projector, Sequence, Size, Slot, Source, VisionLanguageModel, Vlm,
        nn::Activation,
    };
    pub use vlm_projector::{LinearProjectorConfig, MlpProjectorConfig, ResamplerConfig};
    pub use vlm_text::{CausalLmConfig, GenerationConfig, SamplingConfig, Tokenizer, generate};
    pub use vlm_vision::{FeatureSelection, VitConfig};
}
