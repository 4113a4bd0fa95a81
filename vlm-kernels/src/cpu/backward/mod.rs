//! Gradients, on plain slices of 32-bit floats.
//!
//! Sums over rows are made in parts of so many rows each, which are added one after the other: they do not depend
//! on the number of threads.

pub mod attention;
pub mod norm;
pub mod pointwise;
pub mod rows;
