use burn::{
    module::{LoraAdapter, Module, Param, Reparameterization},
    tensor::{Distribution, FloatDType, Tensor},
};
use vlm_kernels::linear;

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
