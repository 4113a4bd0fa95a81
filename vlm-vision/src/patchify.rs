use burn::{
    config::Config,
    module::Module,
    tensor::{Tensor, TensorData, s},
};
use vlm_core::{ImageBatch, ImageEncoder, Size};

/// Configuration of a [`Patchify`].
#[derive(Config, Debug)]
pub struct PatchifyConfig {
    /// Height and width of a patch.
    pub patch_size: usize,
}

/// An encoder without weights: the features of a picture are its pixels, a patch each, as in Fuyu
/// ([Bavishi et al. 2023](https://www.adept.ai/blog/fuyu-8b)).
///
/// A patch is a vector of rows of columns of channels. Pictures may differ in size.
#[derive(Module, Debug)]
pub struct Patchify {
    patch_size: usize,
}

impl PatchifyConfig {
    /// The encoder.
    pub fn init(&self) -> Patchify {
        Patchify {
            patch_size: self.patch_size,
        }
    }

    /// Size of a feature.
    pub fn feature_size(&self) -> usize {
        3 * self.patch_size * self.patch_size
    }
}

impl Patchify {
    /// Rows and columns of patches in a crop.
    fn grid(&self, size: Size) -> [usize; 2] {
        [size.height / self.patch_size, size.width / self.patch_size]
    }
}

impl ImageEncoder for Patchify {
    /// # Shapes
    /// - images: `[crops, 3, height, width]`
    /// - output: `[crops, rows · columns of the crop with most patches, size · size · 3]`; crops of fewer
    ///   patches repeat their first one
    fn forward(&self, images: &ImageBatch) -> Tensor<3> {
        let size = self.patch_size;
        let [crops, channels, height, width] = images.pixels.dims();
        let [rows, columns] = self.grid(Size::new(height, width));
        let features = channels * size * size;
        let patches = images
            .pixels
            .clone()
            .slice(s![.., .., ..rows * size, ..columns * size])
            .reshape([crops, channels, rows, size, columns, size])
            .permute([0, 2, 4, 3, 5, 1])
            .reshape([crops * rows * columns, features]);
        let grids: Vec<_> = images.sizes.iter().map(|size| self.grid(*size)).collect();
        let tokens = grids.iter().map(|[rows, columns]| rows * columns);
        let tokens = tokens.max().unwrap_or(0);
        if grids.iter().all(|grid| *grid == [rows, columns]) {
            return patches.reshape([crops, tokens, features]);
        }
        let mut chosen = Vec::with_capacity(crops * tokens);
        for (crop, [real_rows, real_columns]) in grids.into_iter().enumerate() {
            let first = crop * rows * columns;
            let place = |row: usize| {
                (0..real_columns).map(move |column| (first + row * columns + column) as i64)
            };
            chosen.extend((0..real_rows).flat_map(place));
            chosen.resize((crop + 1) * tokens, first as i64);
        }
        let chosen = Tensor::from_data(TensorData::from(&chosen[..]), &patches.device());
        patches.select(0, chosen).reshape([crops, tokens, features])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{DType, Device};
    use vlm_core::{ImageLayout, ProcessedImage};

    /// A picture whose values count on from `first`.
    fn picture(height: usize, width: usize, first: usize) -> ProcessedImage {
        ProcessedImage {
            pixels: (first..first + 3 * height * width)
                .map(|value| value as f32)
                .collect(),
            layout: ImageLayout {
                original: Size::new(height, width),
                crop: Size::new(height, width),
                tiles: Size::new(1, 1),
                crops: 1,
            },
        }
    }

    fn features(pictures: &[ProcessedImage]) -> (Vec<usize>, Vec<f32>) {
        let batch = ImageBatch::new(pictures, &Device::default(), DType::F32);
        let features = PatchifyConfig::new(2).init().forward(&batch);
        let shape = features.dims().to_vec();
        (shape, features.into_data().try_into_vec().unwrap())
    }

    #[test]
    fn rows_then_columns_then_channels() {
        let (shape, values) = features(&[picture(2, 4, 0)]);
        assert_eq!(shape, [1, 2, 12]);
        let second = [
            2.0, 10.0, 18.0, 3.0, 11.0, 19.0, 6.0, 14.0, 22.0, 7.0, 15.0, 23.0,
        ];
        assert_eq!(values[12..], second);
    }

    #[test]
    fn patches_of_ragged_crops_come_before_padding() {
        let pictures = [picture(4, 2, 0), picture(2, 6, 100), picture(2, 2, 200)];
        let (shape, together) = features(&pictures);
        // Three patches at most, though the padded batch has six places.
        assert_eq!(shape, [3, 3, 12]);
        for (index, picture) in pictures.iter().enumerate() {
            let (_, alone) = features(std::slice::from_ref(picture));
            let row = &together[index * 36..][..36];
            assert_eq!(row[..alone.len()], alone, "picture {index}");
            let padding = row[alone.len()..].chunks(12);
            assert!(padding.into_iter().all(|patch| patch == &alone[..12]));
        }
    }
}
