use burn::{
    config::Config,
    module::{Module, Param},
    nn::Initializer,
    tensor::{DType, Device, FloatDType, Tensor},
};
use vlm_core::{
    Projector,
    checkpoint::{KeyMap, Layout},
    nn::{Attention, AttentionConfig, AttentionInput, DeviceMask, Linear, LinearConfig},
};

/// Configuration of a [`Resampler`].
#[derive(Config, Debug)]
pub struct ResamplerConfig {
    /// Size of a feature.
    pub feature_size: usize,
    /// Size of the language model's hidden states.
    pub text_hidden_size: usize,
    /// Number of latent queries: the visual tokens of a picture, however many features it has.
    pub num_latents: usize,
    /// Heads of the attention.
    pub num_attention_heads: usize,
    /// Whether features are scaled to length one first.
    #[config(default = true)]
    pub normalize: bool,
}

/// Learned queries that look at a picture's features and at one another, as in Kosmos-2
/// ([Peng et al. 2023](https://arxiv.org/abs/2306.14824)): one attention without residual or norm.
///
/// Source: `Kosmos2ImageToTextProjection` of transformers' `modeling_kosmos2.py`, and the
/// `nn.functional.normalize` before it.
#[derive(Module, Debug)]
pub struct Resampler {
    /// `[feature, text_hidden]`.
    pub dense: Linear,
    /// `[latents, text_hidden]`.
    pub latent_query: Param<Tensor<2>>,
    /// Of the latents to features and latents.
    pub x_attn: Attention,
    normalize: bool,
}

impl ResamplerConfig {
    /// A resampler with fresh weights.
    ///
    /// # Panics
    ///
    /// When the heads do not divide `text_hidden_size`.
    pub fn init(&self, device: &Device) -> Resampler {
        let hidden = self.text_hidden_size;
        assert!(
            hidden.is_multiple_of(self.num_attention_heads),
            "{} heads do not divide text_hidden_size {hidden}",
            self.num_attention_heads
        );
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        Resampler {
            dense: LinearConfig::new(self.feature_size, hidden).init(device),
            latent_query: normal.init([self.num_latents, hidden], device),
            x_attn: AttentionConfig::new(hidden, self.num_attention_heads).init(device),
            normalize: self.normalize,
        }
    }
}

impl Resampler {
    /// Keys of an `image_to_text_projection`.
    pub fn keys() -> KeyMap {
        KeyMap::new()
            .linear("dense", "dense")
            .tensor("latent_query", "latent_query", Layout::Same)
            .linear("x_attn.q_proj", "x_attn.q_proj")
            .linear("x_attn.k_proj", "x_attn.k_proj")
            .linear("x_attn.v_proj", "x_attn.v_proj")
            .linear("x_attn.out_proj", "x_attn.o_proj")
    }
}

impl Projector for Resampler {
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        let features = match self.normalize {
            true => unit_length(features),
            false => features,
        };
        let hidden = self.dense.forward(features);
        let latents = self.latent_query.val().unsqueeze::<3>();
        let [crops, _, size] = hidden.dims();
        let latents = latents.expand([crops as i64, -1, size as i64]);
        let context = Tensor::cat(vec![hidden, latents.clone()], 1);
        let mask = DeviceMask::none();
        self.x_attn
            .forward(AttentionInput::new(latents, &mask).with_context(context))
    }
}

/// `x / max(‖x‖, 1e-12)` over the last dimension, in 32 bits.
fn unit_length(x: Tensor<3>) -> Tensor<3> {
    let dtype: FloatDType = x.dtype().into();
    let x = x.cast(DType::F32);
    let length = x.clone().square().sum_dim(2).sqrt().clamp_min(1e-12);
    (x / length).cast(dtype)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    fn resampler() -> Resampler {
        ResamplerConfig::new(6, 8, 3, 2).init(&Device::default())
    }

    #[test]
    fn a_picture_becomes_the_latents_whatever_its_features() {
        let device = Device::default();
        for tokens in [1, 5] {
            let features = Tensor::random([2, tokens, 6], Distribution::Default, &device);
            assert_eq!(resampler().forward(features).dims(), [2, 3, 8]);
        }
    }

    #[test]
    fn lengths_and_neighbours_do_not_matter() {
        let resampler = resampler();
        let device = Device::default();
        let features = Tensor::<3>::random([2, 5, 6], Distribution::Default, &device);
        let both = resampler.forward(features.clone());
        let second = resampler.forward(features.narrow(0, 1, 1).mul_scalar(7.0));
        both.narrow(0, 1, 1)
            .into_data()
            .assert_approx_eq::<f32>(&second.into_data(), Tolerance::absolute(1e-5));
        // Nothing is divided by zero.
        let none = resampler.forward(Tensor::zeros([1, 5, 6], &device));
        assert!(!none.is_nan().any().into_scalar::<bool>());
    }
}
