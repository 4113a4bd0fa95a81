use burn::{
    module::{Module, ModuleDisplay},
    tensor::Tensor,
};

/// Turns an encoder's features into visual tokens that a decoder can read.
pub trait Projector: Module + ModuleDisplay {
    /// # Shapes
    /// - features: `[crops, tokens, d_vision]`
    /// - output: `[crops, tokens', d_text]`
    fn forward(&self, features: Tensor<3>) -> Tensor<3>;
}
