//! Supervised fine-tuning of vision-language models.
//!
//! The crate trains any [`VisionLanguageModel`](vlm_core::VisionLanguageModel) and names no family.
//!
//! | item | what it is |
//! |---|---|
//! | [`data`] | from files to the micro-batches of a step |
//! | [`Sample`], [`MicroBatch`] | labelled sequences with their pictures; rows of them, padded or packed |
//! | [`Selection`], [`LoraConfig`] | what learns and what stays |
//! | [`Order`] | which samples a step takes |
//! | [`Trainer`] | one step: gradients over all micro-batches, clipping, [`AdamW`], [`Schedule`] |
//! | [`run`](run()), [`Session`] | the loop: steps, evaluations, saves, an early end |
//! | [`RunState`], [`folder`] | what goes to the disk, so that a run can go on |
//!
//! The loss is a sum and a count, so that micro-batches of different lengths are weighted by their tokens and
//! not by their number.
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

mod adamw;
mod batch;
pub mod data;
mod devices;
pub mod folder;
mod gradients;
mod lora;
mod loss;
mod order;
mod pass;
mod run;
mod sample;
mod schedule;
mod selection;
mod state;
mod trainer;

pub use adamw::{AdamW, Moments};
pub use batch::MicroBatch;
pub use gradients::GradientSum;
pub use lora::{ALL_LINEAR, LoraConfig};
pub use loss::{IGNORED, Loss, cross_entropy};
pub use order::Order;
pub use run::{Ended, RunConfig, Session, run};
pub use sample::Sample;
pub use schedule::{Schedule, ScheduleKind};
pub use selection::{ParameterRow, Selection, has_adapters, is_adapter, summary};
pub use state::{Best, RunState};
pub use trainer::{Evaluation, StepReport, Trainer, TrainerConfig};
