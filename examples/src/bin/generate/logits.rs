use std::path::Path;

use burn::tensor::Tensor;
use safetensors::{Dtype, tensor::TensorView};
use vlm::{
    Error,
    core::{self, ProcessedImage},
};

/// Writes `logits`, `[sequence, vocabulary]`, and `pixel_values`, `[crops, 3, height, width]`.
pub fn write(path: &Path, logits: Tensor<3>, images: &[ProcessedImage]) -> Result<(), Error> {
    let [_, seq, vocabulary] = logits.dims();
    let logits: Vec<f32> = logits
        .into_data()
        .convert::<f32>()
        .try_into_vec()
        .unwrap_or_default();
    let pixels: Vec<f32> = images
        .iter()
        .flat_map(|image| image.pixels.clone())
        .collect();
    let crops = images.iter().map(|image| image.layout.crops).sum();
    let unwritable =
        |error: safetensors::SafeTensorError| core::Error::file(path, error.to_string());
    let (logits, pixels) = (bytes(&logits), bytes(&pixels));
    let view = |shape, data| TensorView::new(Dtype::F32, shape, data).map_err(unwritable);
    let mut tensors = vec![("logits", view(vec![seq, vocabulary], &logits)?)];
    if let Some(first) = images.first() {
        let crop = first.layout.crop;
        let shape = vec![crops, 3, crop.height, crop.width];
        tensors.push(("pixel_values", view(shape, &pixels)?));
    }
    Ok(safetensors::serialize_to_file(tensors, None, path).map_err(unwritable)?)
}

fn bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}
