mod config;
mod run;
mod sampling;

pub use config::GenerationConfig;
pub use run::{EndReason, Generated, Prefilled, generate, generate_with, prefill};
pub use sampling::{Sampler, SamplingConfig};
