use burn::{
    module::{LoraAdapter, Module, Param, Reparameterization},
    tensor::{Distribution, FloatDType, Tensor, module::linear},
};

/// burn's [`LoraAdapter`] with peft's `lora_dropout`: while it learns, the input of the first factor is
/// dropped out.
///
/// Its parameters have the paths that burn's adapter has (`weight.lora.a`, `weight.lora.b`), and burn's
/// `materialize` merges it. Only [`Linear`](super::Linear) applies the dropout; the masks come from the
/// device's random numbers.
#[derive(Module, Debug)]
pub struct LoraDropout {
    /// `[in_features, rank]`.
    pub a: Param<Tensor<2>>,
    /// `[rank, out_features]`.
    pub b: Param<Tensor<2>>,
    /// Factor on the product.
    pub scale: f64,
    /// Share of the input that is set to zero; the rest grows by `1 / (1 - dropout)`.
    pub dropout: f64,
}

impl Reparameterization for LoraDropout {
    const NAME: &'static str = "lora";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let adapter = LoraAdapter {
            a: self.a.clone(),
            b: self.b.clone(),
            scale: self.scale,
        };
        adapter.apply(base)
    }
}

/// `scale · (x · a) · b` of the adapter on `weight`, in the factors' precision; `None` without an adapter.
///
/// # Shapes
/// - x: `[.., in_features]`
/// - output: `[.., out_features]`
pub(super) fn low_rank<const D: usize>(
    weight: &Param<Tensor<2>>,
    x: &Tensor<D>,
) -> Option<Tensor<D>> {
    let (a, b, scale, dropout) = match weight.adapter() {
        Some(adapter) => (adapter.a.val(), adapter.b.val(), adapter.scale, 0.0),
        None => {
            let adapter = weight.reparameterization::<LoraDropout>()?;
            let (a, b) = (adapter.a.val(), adapter.b.val());
            (a, b, adapter.scale, adapter.dropout)
        }
    };
    let mut x = x.clone().cast(FloatDType::from(a.dtype()));
    // What learns is on the device with autodiff; the input need not be.
    if dropout > 0.0 && a.is_autodiff() {
        x = drop_out(x, dropout);
    }
    Some(linear(linear(x, a, None), b, None).mul_scalar(scale))
}

fn drop_out<const D: usize>(x: Tensor<D>, share: f64) -> Tensor<D> {
    let keep = 1.0 - share;
    let mask = x.random_like(Distribution::Bernoulli(keep));
    x * mask.div_scalar(keep)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::{module::Reparameterizer, tensor::Device};

    use crate::nn::{Linear, LinearConfig};

    struct Attach(f64);

    impl Reparameterizer for Attach {
        type Reparam = LoraDropout;

        fn reparameterize<const D: usize>(
            &mut self,
            _path: &str,
            param: Param<Tensor<D>>,
        ) -> (Param<Tensor<D>>, Option<LoraDropout>) {
            let shape: Vec<usize> = param.lazy_shape().iter().copied().collect();
            let device = param.lazy_device();
            let adapter = (D == 2).then(|| LoraDropout {
                a: Param::from_tensor(Tensor::ones([shape[0], 2], &device)),
                b: Param::from_tensor(Tensor::ones([2, shape[1]], &device)),
                scale: 0.5,
                dropout: self.0,
            });
            (param.set_require_grad(false), adapter)
        }
    }

    fn layer(dropout: f64, device: &Device) -> Linear {
        let layer = LinearConfig::new(400, 1).with_bias(false).init(device);
        layer.apply_reparameterization(Attach(dropout))
    }

    fn added(layer: &Linear) -> f32 {
        let device = layer.weight.lazy_device();
        let x = Tensor::<2>::ones([1, 400], &device);
        let added = layer.forward(x.clone()) - linear(x, layer.weight.base(), None);
        added.inner().into_scalar()
    }

    #[test]
    fn inputs_are_dropped_while_learning_only() {
        let device = Device::default().autodiff();
        device.seed(3);
        let learning = layer(0.25, &device);
        let found = added(&learning);
        // 400 inputs of 1 through two factors of 1, halved: 400, of which some 300 are kept and grow by 4/3.
        assert!(
            (found - 400.0).abs() < 60.0 && (found - 400.0).abs() > 0.01,
            "{found}"
        );
        assert!((added(&learning) - found).abs() > 1e-3, "the masks differ");
        device.seed(3);
        assert_eq!(added(&layer(0.25, &device)), found, "the seed decides");
        assert!((added(&learning.valid()) - 400.0).abs() < 0.01);
        assert!((added(&layer(0.0, &device)) - 400.0).abs() < 0.01);
    }

    #[test]
    fn it_merges_as_burns_own() {
        let device = Device::default();
        let adapted = layer(0.25, &device);
        let x = Tensor::<2>::ones([1, 400], &device);
        let expected: f32 = adapted.forward(x.clone()).into_scalar();
        let merged = adapted.materialize();
        let found: f32 = merged.forward(x).into_scalar();
        assert!((found - expected).abs() < 1e-2, "{found} for {expected}");
    }
}
