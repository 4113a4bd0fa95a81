use burn::{
    config::Config,
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};
use vlm_kernels::{layer_norm, rms_norm};

/// Which statistics a [`Norm`] removes.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub enum NormKind {
    /// Mean and variance ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)).
    Layer,
    /// The root mean square alone ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)).
    Rms,
}

/// Configuration of a [`Norm`].
#[derive(Config, Debug)]
pub struct NormConfig {
    /// Which statistics are removed.
    pub kind: NormKind,
    /// Size of the last dimension.
    pub hidden_size: usize,
    /// Added to the variance; `layer_norm_eps` or `rms_norm_eps` in a `config.json`.
    pub epsilon: f64,
    /// Whether a learned vector is added.
    #[config(default = true)]
    pub bias: bool,
}

impl NormConfig {
    /// Layer normalisation with weight and bias.
    pub fn layer(hidden_size: usize, epsilon: f64) -> Self {
        Self::new(NormKind::Layer, hidden_size, epsilon)
    }

    /// RMS normalisation, weight only.
    pub fn rms(hidden_size: usize, epsilon: f64) -> Self {
        Self::new(NormKind::Rms, hidden_size, epsilon).with_bias(false)
    }

    /// A norm that starts as weight one, bias zero.
    pub fn init(&self, device: &Device) -> Norm {
        Norm {
            weight: Initializer::Ones.init([self.hidden_size], device),
            bias: self
                .bias
                .then(|| Initializer::Zeros.init([self.hidden_size], device)),
            kind: self.kind,
            epsilon: self.epsilon,
        }
    }
}

/// Layer or RMS normalisation of the last dimension.
///
/// One type for both, so that parameter paths do not depend on the kind. Statistics are taken in 32 bits.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Norm {
    /// `[hidden_size]`.
    pub weight: Param<Tensor<1>>,
    /// `[hidden_size]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    kind: NormKind,
    epsilon: f64,
}

impl Norm {
    /// Normalises `x`, `[.., hidden_size] -> [.., hidden_size]`.
    ///
    /// # Panics
    ///
    /// When the last dimension of `x` is not `hidden_size`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let weight = self.weight.val();
        let bias = self.bias.as_ref().map(Param::val);
        match self.kind {
            NormKind::Layer => layer_norm(x, weight, bias, self.epsilon),
            NormKind::Rms => rms_norm(x, weight, bias, self.epsilon),
        }
    }
}

impl ModuleDisplay for Norm {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [hidden_size] = self.weight.lazy_shape().dims();
        content
            .add_debug_attribute("kind", &self.kind)
            .add("hidden_size", &hidden_size)
            .add("epsilon", &self.epsilon)
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{TensorData, Tolerance};

    #[test]
    fn layer_and_rms_by_hand() {
        let device = Device::default();
        let x = || Tensor::<2>::from_floats([[1.0, 3.0]], &device);
        let layer = NormConfig::layer(2, 1e-12).init(&device).forward(x());
        layer
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from([[-1.0, 1.0]]), Tolerance::absolute(1e-5));
        let rms = NormConfig::rms(2, 1e-12).init(&device).forward(x());
        let root = 5f32.sqrt();
        rms.into_data().assert_approx_eq::<f32>(
            &TensorData::from([[1.0 / root, 3.0 / root]]),
            Tolerance::absolute(1e-5),
        );
    }
}
