use burn::{
    config::Config,
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    nn::Initializer,
    tensor::{DType, Device, FloatDType, Tensor},
};
use vlm_kernels::linears;

use super::low_rank::low_rank;

/// Configuration of a [`Linear`] layer.
#[derive(Config, Debug)]
pub struct LinearConfig {
    /// Size of the last dimension of the input.
    pub in_features: usize,
    /// Size of the last dimension of the output.
    pub out_features: usize,
    /// Whether a learned vector is added.
    #[config(default = true)]
    pub bias: bool,
    /// How the weight starts; the bias starts at zero. Hugging Face's models use N(0, 0.02).
    #[config(default = "Initializer::Normal{mean: 0.0, std: 0.02}")]
    pub initializer: Initializer,
}

/// `y = x · weight + bias`: every projection of attention, MLP, projector and head.
///
/// A LoRA adapter on the weight (attached by burn's `apply_lora`, or [`LoraDropout`](super::LoraDropout)) is
/// applied as `x · base + scale · (x · a) · b`, so neither the forward nor the backward pass holds a dense sum
/// of weight and adapter.
///
/// The product is computed in the weight's precision and the adapter's in its own, whatever that of `x` is:
/// what learns can be of 32 bits beside what is frozen and stored in 16.
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Linear {
    /// `[in_features, out_features]`, the transpose of torch's.
    pub weight: Param<Tensor<2>>,
    /// `[out_features]`.
    pub bias: Option<Param<Tensor<1>>>,
}

impl LinearConfig {
    /// A layer with fresh weights.
    pub fn init(&self, device: &Device) -> Linear {
        let [rows, columns] = [self.in_features, self.out_features];
        Linear {
            weight: self
                .initializer
                .init_with([rows, columns], Some(rows), Some(columns), device),
            bias: self
                .bias
                .then(|| Initializer::Zeros.init([columns], device)),
        }
    }
}

impl Linear {
    /// Projects the last dimension.
    ///
    /// # Shapes
    /// - x: `[.., in_features]`
    /// - output: `[.., out_features]`
    ///
    /// # Panics
    ///
    /// When the last dimension of `x` is not `in_features`.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let [y] = Self::forward_each([self], x);
        y
    }

    /// Projects the last dimension by each of several layers: one pass over their weights where one is at hand.
    ///
    /// # Shapes
    /// - x: `[.., in_features]`
    /// - output: `[.., out_features]` each
    ///
    /// # Panics
    ///
    /// When the last dimension of `x` is not `in_features` of each layer.
    pub fn forward_each<const D: usize, const N: usize>(
        layers: [&Self; N],
        x: Tensor<D>,
    ) -> [Tensor<D>; N] {
        let deltas = layers.map(|layer| low_rank(&layer.weight, &x));
        let weights: [Tensor<2>; N] = std::array::from_fn(|index| match deltas[index] {
            None => layers[index].weight.val(),
            Some(_) => layers[index].weight.base(),
        });
        let biases = layers.map(|layer| layer.bias.as_ref().map(Param::val));
        let operands = |index: usize| (&weights[index], biases[index].as_ref());
        let cast = |dtype: DType| match dtype {
            // A packed weight is unpacked to the precision of what it meets.
            DType::QFloat(_) => x.clone(),
            dtype => x.clone().cast(FloatDType::from(dtype)),
        };
        let dtype = weights[0].dtype();
        let products = match weights.iter().all(|weight| weight.dtype() == dtype) {
            true => linears(cast(dtype), std::array::from_fn(operands)),
            false => std::array::from_fn(|index| {
                let [product] = linears(cast(weights[index].dtype()), [operands(index)]);
                product
            }),
        };
        let mut deltas = deltas.into_iter();
        products.map(|product| match deltas.next().flatten() {
            None => product,
            Some(delta) => {
                let dtype = FloatDType::from(product.dtype());
                product + delta.cast(dtype)
            }
        })
    }

    /// `[in_features, out_features]`, without touching the weight.
    pub fn features(&self) -> [usize; 2] {
        self.weight.lazy_shape().dims()
    }
}

impl ModuleDisplay for Linear {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [in_features, out_features] = self.features();
        content
            .add("in_features", &in_features)
            .add("out_features", &out_features)
            .add("bias", &self.bias.is_some())
            .optional()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::Lora;
    use burn::tensor::{Distribution, Tolerance};

    struct Randomise;
    impl burn::module::ModuleMapper for Randomise {
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
            param.map(|t| t.random_like(Distribution::Normal(0.0, 1.0)))
        }
    }

    #[test]
    fn an_adapter_equals_its_merged_weight() {
        let device = Device::default();
        let layer = LinearConfig::new(6, 4).init(&device);
        let mut layer = layer.apply_lora(Lora::new(2, 8.0));
        layer = layer.map(&mut Randomise);
        let x = Tensor::<3>::random([2, 3, 6], Distribution::Default, &device);
        let adapted = layer.forward(x.clone());
        let merged = layer.materialize();
        assert!(merged.weight.adapter().is_none());
        adapted
            .into_data()
            .assert_approx_eq::<f32>(&merged.forward(x).into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn several_layers_are_each_alone() {
        let device = Device::default();
        let adapted = LinearConfig::new(6, 4).init(&device);
        let adapted = adapted.apply_lora(Lora::new(2, 8.0)).map(&mut Randomise);
        let plain = LinearConfig::new(6, 3).with_bias(false).init(&device);
        let half = LinearConfig::new(6, 5).init(&device);
        let half = Linear {
            weight: half.weight.map(|weight| weight.cast(FloatDType::BF16)),
            bias: half
                .bias
                .map(|bias| bias.map(|bias| bias.cast(FloatDType::BF16))),
        };
        let x = Tensor::<3>::random([2, 3, 6], Distribution::Default, &device);
        let layers = [&adapted, &plain, &half];
        let together = Linear::forward_each(layers, x.clone());
        for (layer, found) in layers.into_iter().zip(together) {
            let alone = layer.forward(x.clone());
            assert_eq!(found.dtype(), alone.dtype());
            found
                .into_data()
                .assert_approx_eq::<f32>(&alone.into_data(), Tolerance::absolute(1e-6));
        }
    }

    #[test]
    fn display() {
        let layer = LinearConfig::new(6, 4).init(&Device::default());
        let text = format!("{layer}");
        assert_eq!(
            text,
            "Linear {in_features: 6, out_features: 4, bias: true, params: 28}"
        );
    }
}
