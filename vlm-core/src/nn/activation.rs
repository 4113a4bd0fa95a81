use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};
use vlm_kernels::Function;

/// The activation functions that configurations name in `hidden_act` and `projector_hidden_act`.
///
/// The names are those of transformers' `activations.py`; an unknown name is an error of serde that lists
/// the known ones.
///
/// ```
/// use vlm_core::nn::Activation;
/// let act: Activation = serde_json::from_str(r#""quick_gelu""#).unwrap();
/// assert_eq!(act, Activation::QuickGelu);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    /// `x · Φ(x)` with the error function.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of GELU.
    #[serde(
        rename = "gelu_pytorch_tanh",
        alias = "gelu_new",
        alias = "gelu_fast",
        alias = "gelu_python_tanh",
        alias = "gelu_accurate"
    )]
    GeluTanh,
    /// `x · σ(1.702 x)`, as OpenAI's CLIP has it.
    QuickGelu,
    /// `x · σ(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)²`.
    Relu2,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// Hyperbolic tangent.
    Tanh,
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// `x · tanh(ln(1 + eˣ))`.
    Mish,
    /// `max(x, 0) + min(0.01 x, 0)`.
    LeakyRelu,
    /// `x`.
    #[serde(rename = "linear")]
    Identity,
}

impl Activation {
    /// Applies the function to every element, `[..] -> [..]`.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => Function::Gelu.forward(x),
            Self::GeluTanh => Function::GeluTanh.forward(x),
            Self::QuickGelu => Function::QuickGelu.forward(x),
            Self::Silu => Function::Silu.forward(x),
            Self::Relu => activation::relu(x),
            Self::Relu2 => activation::relu(x).square(),
            Self::Relu6 => activation::relu6(x),
            Self::Tanh => activation::tanh(x),
            Self::Sigmoid => activation::sigmoid(x),
            Self::Mish => activation::mish(x),
            Self::LeakyRelu => activation::leaky_relu(x, 0.01),
            Self::Identity => x,
        }
    }

    /// Applies the function to every element of `x` and multiplies by those of `factor`, `[..]`, all alike.
    ///
    /// # Panics
    ///
    /// When the shapes differ.
    pub fn gate<const D: usize>(self, x: Tensor<D>, factor: Tensor<D>) -> Tensor<D> {
        match self {
            Self::Gelu => Function::Gelu.gate(x, factor),
            Self::GeluTanh => Function::GeluTanh.gate(x, factor),
            Self::QuickGelu => Function::QuickGelu.gate(x, factor),
            Self::Silu => Function::Silu.gate(x, factor),
            _ => self.forward(x) * factor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData, Tolerance};

    #[test]
    fn values_at_minus_one_and_two() {
        let cases = [
            (Activation::Gelu, [-0.158_655_25, 1.954_499_7]),
            (Activation::GeluTanh, [-0.158_808, 1.954_597_7]),
            (Activation::QuickGelu, [-0.154_203, 1.935_658_5]),
            (Activation::Silu, [-0.268_941_43, 1.761_594_2]),
            (Activation::Relu2, [0.0, 4.0]),
            (Activation::LeakyRelu, [-0.01, 2.0]),
            (Activation::Mish, [-0.303_401_47, 1.943_959]),
        ];
        for (act, expected) in cases {
            let x = Tensor::<1>::from_floats([-1.0, 2.0], &Device::default());
            act.forward(x)
                .into_data()
                .assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-5));
        }
    }

    #[test]
    fn names_are_those_of_config_json() {
        for name in ["gelu", "gelu_new", "swish", "silu", "relu2", "linear"] {
            serde_json::from_str::<Activation>(&format!("\"{name}\"")).unwrap();
        }
        let error = serde_json::from_str::<Activation>("\"gilu\"").unwrap_err();
        assert!(
            error.to_string().contains("unknown variant `gilu`"),
            "{error}"
        );
    }
}
