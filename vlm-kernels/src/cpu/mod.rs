//! The kernels, on plain slices.

pub mod attention;
pub mod bytes;
pub mod dot;
pub mod element;
pub mod math;
pub mod matrix;
pub mod pointwise;
pub mod pool;
pub mod tile;
pub mod vectors;
