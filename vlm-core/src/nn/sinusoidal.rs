use burn::{
    config::Config,
    tensor::{DType, Device, Tensor, TensorData},
};

use crate::Positions;

/// Fixed position embeddings that are added to the hidden states
/// ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762)), in fairseq's form: all sines before all
/// cosines, frequencies from 1 down to 1/10000.
///
/// Source: `Kosmos2TextSinusoidalPositionalEmbedding` of transformers' `modeling_kosmos2.py`.
#[derive(Config, Debug)]
pub struct SinusoidalConfig {
    /// Size of the hidden states.
    pub hidden_size: usize,
    /// Number of the first position: the row after the padding token's.
    #[config(default = 0)]
    pub first_position: u32,
    /// Length that the model was configured for.
    #[config(default = 2048)]
    pub max_position_embeddings: usize,
}

impl SinusoidalConfig {
    /// The embeddings of `positions`, computed on the host in 32 bits.
    ///
    /// # Shapes
    /// - output: `[batch or 1, seq, hidden_size]`
    ///
    /// # Panics
    ///
    /// When `positions` has more than one axis.
    pub fn table(&self, positions: &Positions, device: &Device, dtype: DType) -> Tensor<3> {
        assert_eq!(
            positions.axes(),
            1,
            "sinusoidal embeddings take one position axis"
        );
        let half = self.hidden_size / 2;
        let step = 10000f64.ln() / (half.max(2) - 1) as f64;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| (i as f32 * -(step as f32)).exp())
            .collect();
        let (rows, values) = positions.distinct_rows(0);
        let mut table = Vec::with_capacity(values.len() * self.hidden_size);
        for position in values {
            let position = (position + self.first_position) as f32;
            table.extend(frequencies.iter().map(|f| (position * f).sin()));
            table.extend(frequencies.iter().map(|f| (position * f).cos()));
            // An odd size ends with a zero.
            table.extend(std::iter::repeat_n(0.0, self.hidden_size % 2));
        }
        let shape = [rows, positions.seq(), self.hidden_size];
        Tensor::from_data(TensorData::new(table, shape), (device, dtype))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sines_come_before_cosines_and_an_odd_size_ends_with_zero() {
        let config = SinusoidalConfig::new(5).with_first_position(2);
        let positions = Positions::rows(&[vec![0, 1]]);
        let table = config.table(&positions, &Device::default(), DType::F32);
        let values: Vec<f32> = table.into_data().try_into_vec().unwrap();
        let slow = 1e-4f32;
        let expected =
            [2f32, 3.0].map(|p| [p.sin(), (p * slow).sin(), p.cos(), (p * slow).cos(), 0.0]);
        for (found, wanted) in values.iter().zip(expected.as_flattened()) {
            assert!((found - wanted).abs() < 1e-6, "{values:?}");
        }
    }
}
