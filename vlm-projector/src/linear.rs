use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};
use vlm_core::{
    Projector,
    checkpoint::KeyMap,
    nn::{Linear, LinearConfig},
};

/// Configuration of a [`LinearProjector`].
#[derive(Config, Debug)]
pub struct LinearProjectorConfig {
    /// Size of a feature.
    pub feature_size: usize,
    /// Size of the language model's hidden states.
    pub text_hidden_size: usize,
    /// Whether it has a bias.
    #[config(default = true)]
    pub bias: bool,
}

/// One projection, as in the first LLaVA ([Liu et al. 2023](https://arxiv.org/abs/2304.08485)) and in Fuyu.
#[derive(Module, Debug)]
pub struct LinearProjector {
    /// `[feature, text_hidden]`.
    pub linear: Linear,
}

impl LinearProjectorConfig {
    /// A projector with fresh weights.
    pub fn init(&self, device: &Device) -> LinearProjector {
        let linear = LinearConfig::new(self.feature_size, self.text_hidden_size);
        LinearProjector {
            linear: linear.with_bias(self.bias).init(device),
        }
    }
}

impl LinearProjector {
    /// Keys of a checkpoint: `weight` and `bias`.
    pub fn keys() -> KeyMap {
        KeyMap::new().linear("", "linear")
    }
}

impl Projector for LinearProjector {
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        self.linear.forward(features)
    }
}
