//! From bytes to the numbers that an encoder reads.

use image::RgbImage;

/// What becomes of each of the 256 values of each channel.
///
/// A byte has 256 values, so the arithmetic is done once for each of them and then looked up. It is in
/// single precision and in the order of the torchvision backend, so results are equal bit for bit.
#[derive(Clone, PartialEq)]
pub struct Normalize {
    values: [[f32; 256]; 3],
}

impl Normalize {
    /// Bytes as they are.
    pub fn identity() -> Self {
        Self::from_fn(|_, value| value)
    }

    /// `value · factor`.
    pub fn rescale(factor: f64) -> Self {
        Self::from_fn(|_, value| value * factor as f32)
    }

    /// `(value − mean) / std`.
    pub fn standardize(mean: [f64; 3], std: [f64; 3]) -> Self {
        Self::from_fn(|channel, value| (value - mean[channel] as f32) / std[channel] as f32)
    }

    /// `(value · factor − mean) / std`, computed as `(value − mean / factor) / (std / factor)`.
    pub fn rescale_and_standardize(factor: f64, mean: [f64; 3], std: [f64; 3]) -> Self {
        let scale = (1.0 / factor) as f32;
        let mean = mean.map(|mean| mean as f32 * scale);
        let std = std.map(|std| std as f32 * scale);
        Self::from_fn(|channel, value| (value - mean[channel]) / std[channel])
    }

    fn from_fn(normalize: impl Fn(usize, f32) -> f32) -> Self {
        let channel = |channel| std::array::from_fn(|byte| normalize(channel, byte as f32));
        Self {
            values: std::array::from_fn(channel),
        }
    }

    /// Appends a picture to `planes`: all of its red, then green, then blue, row by row.
    ///
    /// # Shapes
    /// - adds `[3, height, width]`
    pub fn append(&self, image: &RgbImage, planes: &mut Vec<f32>) {
        let begin = planes.len();
        planes.resize(begin + image.as_raw().len(), 0.0);
        self.fill(image, &mut planes[begin..]);
    }

    /// As [`append`](Self::append), over what is there.
    pub fn fill(&self, image: &RgbImage, planes: &mut [f32]) {
        let planes = planes.chunks_exact_mut((planes.len() / 3).max(1));
        for (channel, (plane, values)) in planes.zip(&self.values).enumerate() {
            let bytes = image.as_raw().iter().skip(channel).step_by(3);
            for (to, &byte) in plane.iter_mut().zip(bytes) {
                *to = values[usize::from(byte)];
            }
        }
    }
}

impl std::fmt::Debug for Normalize {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Normalize")
            .field("black", &self.values.map(|values| values[0]))
            .field("white", &self.values.map(|values| values[255]))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::Rgb;

    #[test]
    fn channels_become_planes() {
        let image = RgbImage::from_fn(2, 1, |x, _| Rgb([x as u8, 10 + x as u8, 20 + x as u8]));
        let mut planes = vec![-1.0];
        Normalize::identity().append(&image, &mut planes);
        assert_eq!(planes, [-1.0, 0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    }

    #[test]
    fn each_channel_has_its_mean_and_deviation() {
        let image = RgbImage::from_pixel(1, 1, Rgb([255, 0, 51]));
        let mut planes = Vec::new();
        let (mean, std) = ([0.5, 0.25, 0.2], [0.5, 0.25, 1.0]);
        Normalize::rescale_and_standardize(1.0 / 255.0, mean, std).append(&image, &mut planes);
        assert_eq!(planes, [1.0, -1.0, 0.0]);
    }

    #[test]
    fn debug_shows_the_ends_of_the_range() {
        let shown = format!("{:?}", Normalize::rescale(1.0 / 255.0));
        let expected = "Normalize { black: [0.0, 0.0, 0.0], white: [1.0, 1.0, 1.0] }";
        assert_eq!(shown, expected);
    }
}
