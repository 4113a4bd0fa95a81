//! Projectors: from the features of an image encoder to visual tokens of a language model.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use vlm_core::{Projector, nn::Activation};
//! use vlm_projector::MlpProjectorConfig;
//!
//! let device = Device::default();
//! let projector = MlpProjectorConfig::new(1024, 4096, Activation::Gelu).init(&device);
//! let features = Tensor::zeros([1, 2, 1024], &device);
//! assert_eq!(projector.forward(features).dims(), [1, 2, 4096]);
//! ```

mod linear;
mod mlp;
mod resampler;

pub use linear::{LinearProjector, LinearProjectorConfig};
pub use mlp::{MlpProjector, MlpProjectorConfig};
pub use resampler::{Resampler, ResamplerConfig};
