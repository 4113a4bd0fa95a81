//! CPU kernels of the vlm crates.
//!
//! Every function here is defined by burn's own operations and works on every backend. Where its tensors lie on
//! burn's `Flex` backend, kernels of this crate do the same faster: products with few rows at the memory's speed
//! on all cores, products with many rows of 16-bit weights by the processor's instructions for them, attention
//! over a cache without copying it. What trains in 32 bits has backward passes of its own (feature `autodiff`);
//! other precisions, and checkpointed gradients, take burn's.
//!
//! ```
//! use burn::tensor::{Device, Distribution, Tensor};
//!
//! let device = Device::default();
//! let x = Tensor::<3>::random([1, 1, 64], Distribution::Default, &device);
//! // `[out, in]` in memory, as a checkpoint has it, and `[in, out]` to look at.
//! let weight = Tensor::<2>::random([32, 64], Distribution::Default, &device).transpose();
//! assert_eq!(vlm_kernels::linear(x, weight, None).dims(), [1, 1, 32]);
//! ```
//!
//! The variable `VLM_KERNELS` chooses the instructions: see [`Path`].
//!
//! burn's `#[backend_extension]` is not used: an extension panics on every backend that it does not list, and a
//! list would have to follow the backend features of whoever builds the program. To look whether a tensor is
//! `Flex`'s costs nothing and leaves every other backend, and autodiff, as they are.

mod activation;
mod adamw;
mod attention;
#[cfg(all(feature = "flex", feature = "autodiff"))]
mod backward;
#[cfg(feature = "flex")]
mod cpu;
#[cfg(feature = "flex")]
mod flex;
mod linear;
mod memory;
mod norm;
mod path;
mod quantization;
mod rotate;
mod table;

pub use activation::Function;
pub use adamw::{AdamWStep, square_sum};
pub use attention::attention;
pub use linear::{keeps_file_layout, linear, linears};
pub use memory::{keep_memory, keep_memory_up_to};
pub use norm::{layer_norm, rms_norm};
pub use path::Path;
pub use quantization::{Quantization, RoundedRows};
pub use rotate::rotate;
pub use table::{table_rows, table_scores};
