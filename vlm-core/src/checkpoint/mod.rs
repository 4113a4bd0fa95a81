//! Reading and writing Hugging Face checkpoints: safetensors files, key tables, a report of what does not fit.
//!
//! ```no_run
//! use burn::tensor::{Device, FloatDType};
//! use vlm_core::checkpoint::{Checkpoint, KeyMap, Loader};
//! use vlm_core::nn::LinearConfig;
//!
//! # fn main() -> Result<(), vlm_core::Error> {
//! let checkpoint = Checkpoint::open("path/to/folder")?;
//! let keys = KeyMap::new().linear("dense", "").ignore("pooler.{}.weight");
//! let layer = LinearConfig::new(4, 2).init(&Device::default());
//! let layer = Loader::new(&checkpoint, &keys, FloatDType::F32).load(layer)?;
//! # Ok(()) }
//! ```

mod adapter;
mod adapter_config;
mod key_map;
mod load;
mod reader;
mod report;
mod save;
mod save_adapter;

pub use adapter::{ADAPTER_FILE, load_adapter};
pub use adapter_config::AdapterConfig;
pub use key_map::{KeyMap, Layout};
pub use load::Loader;
pub use reader::{Checkpoint, INDEX_FILE, WEIGHTS_FILE};
pub use report::{Misshaped, Report};
pub use save::{check_savable, save, save_tensors};
pub use save_adapter::save_adapter;
pub use vlm_kernels::Quantization;
