use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};

use super::{Activation, Linear, LinearConfig, Norm, NormConfig};

/// Configuration of an [`Mlp`].
#[derive(Config, Debug)]
pub struct MlpConfig {
    /// Size of the input.
    pub hidden_size: usize,
    /// Size between the two projections.
    pub intermediate_size: usize,
    /// The activation between them.
    pub hidden_act: Activation,
    /// Size of the output; the input's when absent.
    pub output_size: Option<usize>,
    /// Whether the activation gates a second projection, as in SwiGLU.
    #[config(default = false)]
    pub gated: bool,
    /// Whether the projections have biases.
    #[config(default = true)]
    pub bias: bool,
    /// Norm after the activation, of the intermediate size; none when absent.
    pub inner_norm: Option<NormConfig>,
}

/// Two projections with an activation between them, gated or not.
///
/// - plain: `down(act(up(x)))`
/// - gated ([Shazeer 2020](https://arxiv.org/abs/2002.05202)): `down(act(gate(x)) · up(x))`
#[derive(Module, Debug)]
pub struct Mlp {
    /// `[hidden, intermediate]`, where gated.
    pub gate_proj: Option<Linear>,
    /// `[hidden, intermediate]`.
    pub up_proj: Linear,
    /// `[intermediate, output]`.
    pub down_proj: Linear,
    /// Before the second projection.
    pub inner_norm: Option<Norm>,
    #[module(skip)]
    hidden_act: Activation,
}

impl MlpConfig {
    /// An MLP with fresh weights.
    pub fn init(&self, device: &Device) -> Mlp {
        let up = LinearConfig::new(self.hidden_size, self.intermediate_size).with_bias(self.bias);
        let output_size = self.output_size.unwrap_or(self.hidden_size);
        Mlp {
            gate_proj: self.gated.then(|| up.init(device)),
            up_proj: up.init(device),
            down_proj: LinearConfig::new(self.intermediate_size, output_size)
                .with_bias(self.bias)
                .init(device),
            inner_norm: self.inner_norm.as_ref().map(|norm| norm.init(device)),
            hidden_act: self.hidden_act,
        }
    }
}

impl Mlp {
    /// # Shapes
    /// - x: `[.., hidden_size]`
    /// - output: `[.., output_size]`
    ///
    /// # Panics
    ///
    /// When the last dimension of `x` is not `hidden_size`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let inner = match &self.gate_proj {
            Some(gate) => {
                let [gate, up] = Linear::forward_each([gate, &self.up_proj], x);
                self.hidden_act.gate(gate, up)
            }
            None => self.hidden_act.forward(self.up_proj.forward(x)),
        };
        self.down_proj.forward(match &self.inner_norm {
            Some(norm) => norm.forward(inner),
            None => inner,
        })
    }
}
