use burn::tensor::{Tensor, activation};

/// Activation functions that have kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function {
    /// `x · σ(x)`.
    Silu,
    /// `x · Φ(x)` with the error function.
    Gelu,
    /// The tanh approximation of GELU.
    GeluTanh,
    /// `x · σ(1.702 x)`.
    QuickGelu,
}

impl Function {
    /// Applies the function to every number, `[..] -> [..]`.
    pub fn forward<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(y) = crate::flex::map(crate::Path::current(), self, &x, None) {
            return y;
        }
        #[cfg(all(feature = "flex", feature = "autodiff"))]
        if let Some(y) = crate::backward::map(crate::Path::current(), self, &x, None) {
            return y;
        }
        match self {
            Self::Silu => activation::silu(x),
            Self::Gelu => activation::gelu(x),
            Self::GeluTanh => activation::gelu_approximate(x),
            Self::QuickGelu => x.clone() * activation::sigmoid(x.mul_scalar(1.702)),
        }
    }

    /// `function(x) · factor`, as gated MLPs have it
    /// ([Shazeer 2020](https://arxiv.org/abs/2002.05202)); `[..]`, all alike.
    ///
    /// # Panics
    ///
    /// When the shapes differ.
    pub fn gate<const D: usize>(self, x: Tensor<D>, factor: Tensor<D>) -> Tensor<D> {
        #[cfg(feature = "flex")]
        if let Some(y) = crate::flex::map(crate::Path::current(), self, &x, Some(&factor)) {
            return y;
        }
        #[cfg(all(feature = "flex", feature = "autodiff"))]
        if let Some(y) = crate::backward::map(crate::Path::current(), self, &x, Some(&factor)) {
            return y;
        }
        self.forward(x) * factor
    }
}
