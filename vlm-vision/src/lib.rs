//! Image encoders and image processors.
//!
//! Encoders turn normalised pixels into features on a device, processors turn pictures into normalised pixels
//! on the host. The towers of CLIP and SigLIP are one module, [`Vit`], with different numbers; [`Patchify`] is an
//! encoder without weights.
//!
//! ```
//! use burn::tensor::{DType, Device};
//! use vlm_core::{ImageBatch, ImageEncoder, ImageLayout, ProcessedImage, Size};
//! use vlm_vision::{FeatureSelection, VitConfig, clip};
//!
//! let device = Device::default();
//! let mut config = clip::vit_large_patch14_336(FeatureSelection::new(vec![-2], true));
//! (config.num_hidden_layers, config.image_size) = (2, 28);
//! let encoder = config.init(&device);
//! let layout = ImageLayout::whole(Size::new(28, 28));
//! let picture = ProcessedImage { pixels: vec![0.0; 3 * 28 * 28], layout };
//! let features = encoder.forward(&ImageBatch::new([&picture], &device, DType::F32));
//! assert_eq!(features.dims(), [1, 4, 1024]);
//! ```

pub mod clip;
pub mod idefics3;
pub mod open;
pub mod processor;
pub mod siglip;

mod grid_positions;
mod patches;
mod patchify;
mod tower;
mod vit;

pub use grid_positions::GridPositions;
pub use patches::patches;
pub use patchify::{Patchify, PatchifyConfig};
pub use vit::{FeatureSelection, Vit, VitConfig, VitLayer};
