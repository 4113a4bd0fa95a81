use burn::tensor::{DType, Device, FloatDType, Tensor, module};

use crate::Quantization;

/// `x · weight + bias`.
///
/// Fast where the weight lies as in a checkpoint, a row of inputs for each output:
/// [`keeps_file_layout`] tells a loader to leave it so.
///
/// # Shapes
/// - x: `[.., in]`
/// - weight: `[in, out]`
/// - bias: `[out]`
/// - output: `[.., out]`
///
/// # Panics
///
/// When shapes do not fit.
pub fn linear<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
) -> Tensor<D> {
    let [product] = linears(x, [(&weight, bias.as_ref())]);
    product
}

/// The products of `x` with each weight, and their biases: as many [`linear`]s, which the kernels make together.
///
/// # Shapes
/// - x: `[.., in]`
/// - weights: `[in, out]` each
/// - biases: `[out]`
/// - output: `[.., out]` each
///
/// # Panics
///
/// When shapes do not fit.
pub fn linears<const D: usize, const N: usize>(
    x: Tensor<D>,
    layers: [(&Tensor<2>, Option<&Tensor<1>>); N],
) -> [Tensor<D>; N] {
    #[cfg(feature = "flex")]
    if let Some(products) = crate::flex::linears(crate::Path::current(), &x, layers) {
        return products;
    }
    layers.map(|(weight, bias)| alone(x.clone(), weight.clone(), bias.cloned()))
}

/// One product, where the kernels do not make all together.
fn alone<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let weight = match weight.dtype() {
        DType::QFloat(_) => {
            let floats = Quantization::dequantize(&weight, FloatDType::from(x.dtype()));
            floats.unwrap_or(weight)
        }
        _ => weight,
    };
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    if let Some(product) =
        crate::backward::linear(crate::Path::current(), &x, &weight, bias.as_ref())
    {
        return product;
    }
    #[cfg(feature = "flex")]
    if D > 2 && crate::flex::is_plain(&weight.device().inner()) {
        // Of two dimensions, because with more a transposed weight is copied at every call.
        let mut dims = x.dims();
        let rows: usize = dims[..D - 1].iter().product();
        let flat = x.reshape([rows, dims[D - 1]]);
        dims[D - 1] = weight.dims()[1];
        return module::linear(flat, weight, bias).reshape(dims);
    }
    module::linear(x, weight, bias)
}

/// Whether weights on `device` should lie as in a checkpoint, `[out, in]`, and be viewed transposed.
pub fn keeps_file_layout(device: &Device) -> bool {
    #[cfg(feature = "flex")]
    return crate::flex::is_plain(device) && crate::Path::current() > crate::Path::Default;
    #[cfg(not(feature = "flex"))]
    {
        let _ = device;
        false
    }
}
