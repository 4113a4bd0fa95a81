//! The kernels, on plain slices.

pub mod attention;
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
