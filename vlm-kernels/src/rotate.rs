use burn::tensor::{Tensor, s};

/// Turns the first `2 · half` dimensions of each head, dimension `i` together with dimension `i + half`
/// ([RoFormer](https://arxiv.org/abs/2104.09864) in Hugging Face's layout); the rest passes.
///
/// # Shapes
/// - x: `[batch, heads, seq, head_dim]`
/// - cos, sin: `[batch or 1, 1, seq, half]`
/// - output: as x
///
/// # Panics
///
/// When shapes do not fit.
pub fn rotate(x: Tensor<4>, cos: &Tensor<4>, sin: &Tensor<4>) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if let Some(turned) = crate::flex::rotate(crate::Path::current(), &x, cos, sin) {
        return turned;
    }
    #[cfg(all(feature = "flex", feature = "autodiff"))]
    if let Some(turned) = crate::backward::rotate(crate::Path::current(), &x, cos, sin) {
        return turned;
    }
    let half = cos.dims()[3];
    let head_dim = x.dims()[3];
    let first = x.clone().slice(s![.., .., .., ..half]);
    let second = x.clone().slice(s![.., .., .., half..2 * half]);
    let mut parts = vec![
        first.clone() * cos.clone() - second.clone() * sin.clone(),
        second * cos.clone() + first * sin.clone(),
    ];
    if 2 * half < head_dim {
        parts.push(x.slice(s![.., .., .., 2 * half..]));
    }
    Tensor::cat(parts, 3)
}
