use burn::config::Config;
use vlm_core::nn::{RotaryConfig, SinusoidalConfig};

/// How positions enter a decoder.
#[derive(Config, Debug)]
pub enum PositionEmbedding {
    /// Queries and keys are turned.
    Rotary(RotaryConfig),
    /// Fixed vectors are added before the first layer.
    Sinusoidal(SinusoidalConfig),
}

impl PositionEmbedding {
    /// Rotary positions with base 10000 over whole heads.
    pub fn rotary(head_dim: usize) -> Self {
        Self::Rotary(RotaryConfig::new(head_dim))
    }

    /// Length that the model was configured for.
    pub fn max_position_embeddings(&self) -> usize {
        match self {
            Self::Rotary(config) => config.max_position_embeddings,
            Self::Sinusoidal(config) => config.max_position_embeddings,
        }
    }
}
