use burn::{
    module::{Module, ModuleDisplay},
    tensor::Tensor,
};

use crate::ImageBatch;

/// Turns pictures into features.
pub trait ImageEncoder: Module + ModuleDisplay {
    /// # Shapes
    /// - images: `[crops, 3, height, width]`
    /// - output: `[crops, tokens, d_vision]`, the tokens of each crop's real area first
    fn forward(&self, images: &ImageBatch) -> Tensor<3>;
}
