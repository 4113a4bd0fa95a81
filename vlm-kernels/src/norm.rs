use burn::tensor::{DType, FloatDType, Tensor, module};

/// Takes the mean of the last dimension away and divides by its deviation
/// ([Ba et al. 2016](https://arxiv.org/abs/1607.06450)), in 32 bits.
///
/// # Shapes
/// - x: `[.., size]`
/// - weight, bias: `[size]`
/// - output: as x
///
/// # Panics
///
/// When sizes do not fit.
pub fn layer_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        let path = crate::Path::current();
        let normed = crate::flex::norm(path, true, &x, &weight, bias.as_ref(), epsilon);
        if let Some(normed) = normed {
            return normed;
        }
        #[cfg(feature = "autodiff")]
        {
            let bias = bias.as_ref();
            let normed = crate::backward::norm(path, true, &x, &weight, bias, epsilon);
            if let Some(normed) = normed {
                return normed;
            }
        }
    }
    let dtype: FloatDType = x.dtype().into();
    module::layer_norm(
        x.cast(DType::F32),
        weight.cast(DType::F32),
        bias.map(|bias| bias.cast(DType::F32)),
        epsilon,
    )
    .cast(dtype)
}

/// Divides by the root mean square of the last dimension
/// ([Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)), taken in 32 bits.
///
/// # Shapes
/// - x: `[.., size]`
/// - weight, bias: `[size]`
/// - output: as x
///
/// # Panics
///
/// When sizes do not fit.
pub fn rms_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Option<Tensor<1>>,
    epsilon: f64,
) -> Tensor<D> {
    #[cfg(feature = "flex")]
    {
        let path = crate::Path::current();
        let normed = crate::flex::norm(path, false, &x, &weight, bias.as_ref(), epsilon);
        if let Some(normed) = normed {
            return normed;
        }
        #[cfg(feature = "autodiff")]
        {
            let bias = bias.as_ref();
            let normed = crate::backward::norm(path, false, &x, &weight, bias, epsilon);
            if let Some(normed) = normed {
                return normed;
            }
        }
    }
    let dtype: FloatDType = x.dtype().into();
    let x = x.cast(DType::F32);
    let rms = (x.clone().square().mean_dim(D - 1) + epsilon).sqrt();
    let scaled = (x / rms).cast(dtype) * weight.unsqueeze();
    match bias {
        Some(bias) => scaled + bias.unsqueeze(),
        None => scaled,
    }
}
