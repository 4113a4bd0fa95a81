//! Training of what this crate loads: everything of [`vlm_train`], [`Processor`](crate::Processor) as the one who
//! [prepares](vlm_train::data::Prepare) records, and [`Finetune`], which says what of a checkpoint learns and how it
//! goes back to files.
//!
//! ```no_run
//! use std::sync::Arc;
//! use vlm::{AnyConfig, Processor, train::data::{Labels, Loader, LoaderConfig, Samples, open}};
//!
//! # fn main() -> Result<(), vlm::Error> {
//! let config = AnyConfig::from_folder("path/to/llava-1.5")?;
//! let processor = Arc::new(Processor::from_folder("path/to/llava-1.5", &config)?);
//! let samples = Samples {
//!     labels: Labels::Assistant,
//!     max_length: Some(2048),
//!     ..Samples::new(open("train.jsonl")?, processor)
//! };
//! let loader = LoaderConfig { accumulation: 4, shuffle: Some(0), ..LoaderConfig::new(8) };
//! let mut loader = Loader::new(samples, loader)?;
//! for step in 0..loader.steps_per_epoch() {
//!     let batches = loader.step(step)?;
//! }
//! # Ok(()) }
//! ```

mod card;
mod prepare;
mod quantize;
mod session;
mod setup;

pub use card::ModelCard;
pub use quantize::Quantization;
pub use session::{Finetune, FinetuneConfig, Saver};
pub use setup::{Start, lora_of_adapter};
pub use vlm_train::*;
