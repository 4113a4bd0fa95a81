use burn::tensor::{Tensor, s};

/// Cuts pictures into square patches, row by row; what does not fill a patch at the right and the bottom is
/// left out, as a convolution whose stride is its kernel does.
///
/// # Shapes
/// - pixels: `[crops, channels, height, width]`
/// - output: `[crops, rows · columns, channels · size · size]`
pub fn patches(pixels: Tensor<4>, size: usize) -> Tensor<3> {
    let [crops, channels, height, width] = pixels.dims();
    let [rows, columns] = [height / size, width / size];
    pixels
        .slice(s![.., .., ..rows * size, ..columns * size])
        .reshape([crops, channels, rows, size, columns, size])
        .permute([0, 2, 4, 1, 3, 5])
        .reshape([crops, rows * columns, channels * size * size])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};

    #[test]
    fn channels_then_rows_then_columns() {
        let pixels = Tensor::<1, Int>::arange(0..2 * 2 * 5, &Device::default()).float();
        let patches = patches(pixels.reshape([1, 2, 2, 5]), 2);
        assert_eq!(patches.dims(), [1, 2, 8]);
        let values: Vec<f32> = patches.into_data().try_into_vec().unwrap();
        assert_eq!(values[8..], [2.0, 3.0, 7.0, 8.0, 12.0, 13.0, 17.0, 18.0]);
    }
}
