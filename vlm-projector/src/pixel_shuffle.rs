use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Tensor},
};
use vlm_core::{
    Projector,
    checkpoint::KeyMap,
    nn::{Linear, LinearConfig},
};

/// Configuration of a [`PixelShuffleProjector`].
#[derive(Config, Debug)]
pub struct PixelShuffleProjectorConfig {
    /// Size of a feature.
    pub feature_size: usize,
    /// Size of the language model's hidden states.
    pub text_hidden_size: usize,
    /// Height and width, in patches, of the squares that become one token.
    pub scale_factor: usize,
}

/// Squares of neighbouring patches become one token each, then one projection without bias: the connector of
/// Idefics3 ([Laurençon et al. 2024](https://arxiv.org/abs/2408.12637)) and SmolVLM.
#[derive(Module, Debug)]
pub struct PixelShuffleProjector {
    /// `[scale_factor² · feature, text_hidden]`.
    pub linear: Linear,
    scale_factor: usize,
}

impl PixelShuffleProjectorConfig {
    /// A projector with fresh weights.
    pub fn init(&self, device: &Device) -> PixelShuffleProjector {
        let input = self.feature_size * self.scale_factor * self.scale_factor;
        PixelShuffleProjector {
            linear: LinearConfig::new(input, self.text_hidden_size)
                .with_bias(false)
                .init(device),
            scale_factor: self.scale_factor,
        }
    }
}

impl PixelShuffleProjector {
    /// Keys of a `connector`.
    pub fn keys() -> KeyMap {
        KeyMap::new().linear("modality_projection.proj", "linear")
    }
}

impl Projector for PixelShuffleProjector {
    /// # Panics
    ///
    /// When the tokens of a crop are no square whose side is a multiple of the scale factor.
    fn forward(&self, features: Tensor<3>) -> Tensor<3> {
        self.linear
            .forward(pixel_shuffle(features, self.scale_factor))
    }
}

/// Joins the patches of each square of `scale` by `scale` patches of a square grid: row by row, the channels
/// of a patch side by side.
///
/// ```text
///  0  1 |  2  3
///  4  5 |  6  7          scale 2        [0 1 4 5] [2 3 6 7] [8 9 12 13] [10 11 14 15]
/// ------+------         -------->
///  8  9 | 10 11
/// 12 13 | 14 15
/// ```
///
/// # Shapes
/// - features: `[crops, side · side, channels]`
/// - output: `[crops, (side / scale)², scale² · channels]`
///
/// # Panics
///
/// When the tokens are no square whose side is a multiple of `scale`.
pub fn pixel_shuffle(features: Tensor<3>, scale: usize) -> Tensor<3> {
    let [crops, tokens, channels] = features.dims();
    let side = tokens.isqrt();
    assert!(
        side * side == tokens && side.is_multiple_of(scale),
        "{tokens} tokens are no square of squares of {scale} x {scale}"
    );
    let squares = side / scale;
    features
        .reshape([crops, squares, scale, squares, scale * channels])
        .permute([0, 1, 3, 2, 4])
        .reshape([crops, squares * squares, scale * scale * channels])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Int;

    fn ramp(tokens: usize, channels: usize) -> Tensor<3> {
        let count = (tokens * channels) as i64;
        let ramp = Tensor::<1, Int>::arange(0..count, &Device::default()).float();
        ramp.reshape([1, tokens, channels])
    }

    fn values(tensor: Tensor<3>) -> Vec<f32> {
        tensor.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn squares_are_read_row_by_row() {
        let shuffled = pixel_shuffle(ramp(16, 1), 2);
        assert_eq!(shuffled.dims(), [1, 4, 4]);
        assert_eq!(
            values(shuffled),
            [0, 1, 4, 5, 2, 3, 6, 7, 8, 9, 12, 13, 10, 11, 14, 15].map(|v| v as f32)
        );
    }

    #[test]
    fn the_channels_of_a_patch_stay_together() {
        let shuffled = pixel_shuffle(ramp(36, 2), 3);
        assert_eq!(shuffled.dims(), [1, 4, 18]);
        let first = [
            0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 24, 25, 26, 27, 28, 29,
        ];
        assert_eq!(values(shuffled)[..18], first.map(|v| v as f32));
    }

    #[test]
    #[should_panic(expected = "9 tokens are no square of squares of 2 x 2")]
    fn what_does_not_divide_is_refused() {
        pixel_shuffle(ramp(9, 1), 2);
    }
}
