//! Training of a loaded checkpoint: what of it learns, and how it goes back to files.

mod card;
mod quantize;
mod session;
mod setup;

pub use card::ModelCard;
pub use quantize::Quantization;
pub use session::{Finetune, FinetuneConfig, Saver};
pub use setup::{Start, lora_of_adapter};
