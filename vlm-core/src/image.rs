//! Pictures on their way from the host to an encoder.

use burn::tensor::{DType, Device, Tensor, TensorData};
use image::RgbImage;

use crate::Error;

/// Height and width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Size {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl Size {
    /// A size from its height and width, in this order.
    pub const fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }
}

/// What a processor made of one picture: all that a token layout needs to know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageLayout {
    /// Size of the picture as it was given.
    pub original: Size,
    /// Size of each crop as the encoder gets it.
    pub crop: Size,
    /// Rows and columns of tiles that the picture was cut into; 1 × 1 when it was not.
    pub tiles: Size,
    /// Number of crops: the tiles, and the overview where the family has one.
    pub crops: usize,
}

impl ImageLayout {
    /// A picture that is one crop, in the size that it has.
    pub const fn whole(size: Size) -> Self {
        Self {
            original: size,
            crop: size,
            tiles: Size::new(1, 1),
            crops: 1,
        }
    }
}

/// One picture, ready for an encoder, still on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessedImage {
    /// Normalised values, `[crops, 3, crop height, crop width]`, row-major.
    pub pixels: Vec<f32>,
    /// Where they come from.
    pub layout: ImageLayout,
}

/// Turns a picture into what an encoder reads: resizes, tiles and normalises, on the host.
pub trait ImageProcessor: std::fmt::Debug + Send + Sync {
    /// What a picture of a given size will become, without its pixels.
    ///
    /// # Errors
    ///
    /// When the processor cannot serve a picture of this size.
    fn layout(&self, original: Size) -> Result<ImageLayout, Error>;

    /// Processes one picture.
    ///
    /// # Errors
    ///
    /// As [`layout`](Self::layout).
    fn process(&self, image: &RgbImage) -> Result<ProcessedImage, Error>;
}

/// The crops of all the pictures of a batch, on a device.
///
/// Crops of different sizes are padded with zeros at the bottom and the right; `sizes` keeps the real
/// ones. An encoder puts the tokens of a crop's real area first, row by row, and padding after them, so
/// that a [`Source::Visual`](crate::Source) never points at padding.
#[derive(Clone, Debug)]
pub struct ImageBatch {
    /// `[crops, 3, height, width]`.
    pub pixels: Tensor<4>,
    /// Real size of each crop.
    pub sizes: Vec<Size>,
}

impl ImageBatch {
    /// Lays the crops of `images` one after the other, in the given precision.
    ///
    /// # Panics
    ///
    /// When `images` is empty.
    pub fn new<'a>(
        images: impl IntoIterator<Item = &'a ProcessedImage>,
        device: &Device,
        dtype: DType,
    ) -> Self {
        let images: Vec<_> = images.into_iter().collect();
        assert!(!images.is_empty(), "a batch of images needs one image");
        let height = images
            .iter()
            .map(|i| i.layout.crop.height)
            .max()
            .unwrap_or(0);
        let width = images
            .iter()
            .map(|i| i.layout.crop.width)
            .max()
            .unwrap_or(0);
        let sizes: Vec<Size> = images
            .iter()
            .flat_map(|image| vec![image.layout.crop; image.layout.crops])
            .collect();
        let mut values = Vec::with_capacity(sizes.len() * 3 * height * width);
        for image in images {
            let crop = image.layout.crop;
            if crop == Size::new(height, width) {
                values.extend_from_slice(&image.pixels);
                continue;
            }
            for plane in image.pixels.chunks_exact(crop.height * crop.width) {
                for row in plane.chunks_exact(crop.width) {
                    values.extend_from_slice(row);
                    values.resize(values.len() + width - crop.width, 0.0);
                }
                values.resize(values.len() + (height - crop.height) * width, 0.0);
            }
        }
        let data = TensorData::new(values, [sizes.len(), 3, height, width]);
        Self {
            pixels: Tensor::from_data(data, (device, dtype)),
            sizes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(height: usize, width: usize, value: f32) -> ProcessedImage {
        ProcessedImage {
            pixels: vec![value; 3 * height * width],
            layout: ImageLayout::whole(Size::new(height, width)),
        }
    }

    #[test]
    fn ragged_crops_are_padded_at_the_bottom_and_the_right() {
        let images = [picture(1, 2, 5.0), picture(2, 1, 7.0)];
        let batch = ImageBatch::new(&images, &Device::default(), DType::F32);
        assert_eq!(batch.sizes, [Size::new(1, 2), Size::new(2, 1)]);
        assert_eq!(batch.pixels.dims(), [2, 3, 2, 2]);
        let values: Vec<f32> = batch.pixels.into_data().try_to_vec().unwrap();
        assert_eq!(values[..4], [5.0, 5.0, 0.0, 0.0]);
        assert_eq!(values[12..16], [7.0, 0.0, 7.0, 0.0]);
    }
}
