//! The kernels, on plain slices.

pub mod adamw;
pub mod attention;
#[cfg(feature = "autodiff")]
pub mod backward;
pub mod codes;
pub mod dot;
pub mod element;
pub mod few_queries;
pub mod math;
pub mod matrix;
pub mod pointwise;
pub mod pool;
pub mod tile;
pub mod vectors;
