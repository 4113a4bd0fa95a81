//! The blocks that encoders, projectors and decoders are made of: one of each in the whole workspace.

mod activation;
mod attention;
mod cache;
mod linear;
mod low_rank;
mod mask;
mod mlp;
mod norm;
mod rope_scaling;
mod rotary;
mod sinusoidal;

pub use activation::Activation;
pub use attention::{Attention, AttentionConfig, AttentionInput};
pub use cache::{KvCache, LayerCache};
pub use linear::{Linear, LinearConfig};
pub use low_rank::LoraDropout;
pub use mask::{AttentionMask, DeviceMask};
pub use mlp::{Mlp, MlpConfig};
pub use norm::{Norm, NormConfig, NormKind};
pub use rope_scaling::RopeScaling;
pub use rotary::{Rotary, RotaryConfig, RotaryTable};
pub use sinusoidal::SinusoidalConfig;
pub use vlm_kernels::{table_rows, table_scores};
