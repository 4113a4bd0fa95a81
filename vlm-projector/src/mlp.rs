use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};
use vlm_core::{
    Projector,
    checkpoint::KeyMap,
    nn::{Activation, Mlp, MlpConfig},
};

/// Configuration of an [`MlpProjector`].
#[derive(Config, Debug)]
pub struct MlpProjectorConfig {
    /// Size of a feature: the encoder's hidden size for each selected layer.
    pub feature_size: usize,
    /// Size of the language model's hidden states.
    pub text_hidden_size: usize,
    /// Activation between the two projections; `projector_hidden_act` in a `config.json`.
    pub hidden_act: Activation,
    /// Whether the projections have biases.
    #[config(default = true)]
    pub bias: bool,
}

/// Two projections with an activation between them, as in LLaVA-1.5
/// ([Liu et al. 2024](https://arxiv.org/abs/2310.03744)).
#[derive(Module, Debug)]
pub struct MlpProjector {
    /// `[feature, text_hidden]`, then `[text_hidden, text_hidden]`.
    pub mlp: Mlp,
}

impl MlpProjectorConfig {
    /// A projector with fresh weights.
    pub fn init(&self, device: &Device) -> MlpProjector {
        let mlp = MlpConfig::new(self.feature_size, self.text_hidden_size, self.hidden_act)
            .with_output_size(Some(self.text_hidden_size))
            .with_bias(self.bias);
        MlpProjector {
            mlp: mlp.init(device),
        }
    }
}

impl MlpProjector {
    /// Keys of a `multi_modal_projector`.
    pub fn keys() -> KeyMap {
        KeyMap::new()
            .linear("linear_1", "mlp.up_proj")
            .linear("linear_2", "mlp.down_proj")
    }
}

impl Projector for MlpProjector {
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        self.mlp.forward(features)
    }
}
