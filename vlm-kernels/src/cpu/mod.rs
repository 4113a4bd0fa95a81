//! The kernels, on plain slices.

pub mod adamw;
pub mod attention;
#[cfg(feature = "autodiff")]
pub mod backward;
pub mod bytes;
pub mod dot;
pub mod element;
pub mod math;
pub mod matrix;
pub mod pointwise;
pub mod pool;
pub mod tile;
pub mod vectors;
