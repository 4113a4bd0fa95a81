//! Supervised fine-tuning of vision-language models on burn-train.
//!
//! The crate trains any [`VisionLanguageModel`](vlm_core::VisionLanguageModel) and names no family. It begins
//! with what every recipe needs, the loss: a sum and a count, so that micro-batches of different lengths are
//! weighted by their tokens and not by their number.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use vlm_train::{IGNORED, cross_entropy};
//!
//! let device = Device::default();
//! let logits = Tensor::<2>::zeros([3, 4], &device);
//! let loss = cross_entropy(logits, &[1, IGNORED, 3]);
//! assert_eq!(loss.count, 2);
//! let mean: f32 = loss.mean().into_scalar();
//! assert!((mean - 4f32.ln()).abs() < 1e-6);
//! ```

mod loss;

pub use loss::{IGNORED, Loss, cross_entropy};
