use burn::{
    config::Config,
    tensor::{DType, Device, Tensor, TensorData},
};

use super::RopeScaling;
use crate::Positions;

/// Configuration of [`Rotary`] embeddings.
#[derive(Config, Debug)]
pub struct RotaryConfig {
    /// Size of a head.
    pub head_dim: usize,
    /// Base of the frequencies.
    #[config(default = 10000.0)]
    pub rope_theta: f64,
    /// Share of a head's dimensions that turn; the rest passes.
    #[config(default = 1.0)]
    pub partial_rotary_factor: f64,
    /// Length that the model was configured for.
    #[config(default = 2048)]
    pub max_position_embeddings: usize,
    /// How frequencies are stretched.
    #[config(default = "RopeScaling::Default")]
    pub scaling: RopeScaling,
}

/// Rotary position embeddings ([RoFormer](https://arxiv.org/abs/2104.09864)) in Hugging Face's layout:
/// dimension `i` turns together with dimension `i + rotary_dim / 2`.
///
/// Positions are data, so padded, packed and multi-axis sequences need nothing else.
#[derive(Clone, Debug)]
pub struct Rotary {
    config: RotaryConfig,
}

/// Sine and cosine of every position of a batch, made once for all layers.
#[derive(Clone, Debug)]
pub struct RotaryTable {
    // `[batch or 1, 1, seq, rotary_dim / 2]`
    cos: Tensor<4>,
    sin: Tensor<4>,
}

impl RotaryConfig {
    /// Number of dimensions that turn.
    pub fn rotary_dim(&self) -> usize {
        (self.head_dim as f64 * self.partial_rotary_factor) as usize
    }

    /// The embeddings.
    pub fn init(&self) -> Rotary {
        Rotary {
            config: self.clone(),
        }
    }
}

impl Rotary {
    /// Sine and cosine for `positions`.
    ///
    /// They are computed on the host in 32 bits: the same values on every device.
    ///
    /// # Panics
    ///
    /// When `positions` has more than one axis.
    pub fn table(&self, positions: &Positions, device: &Device, dtype: DType) -> RotaryTable {
        assert_eq!(
            positions.axes(),
            1,
            "rotary embeddings take one position axis"
        );
        let config = &self.config;
        let dim = config.rotary_dim();
        let (frequencies, factor) = config.scaling.frequencies(
            dim,
            config.rope_theta,
            config.max_position_embeddings,
            positions.longest(),
        );
        // Rows that agree share one row of the table.
        let (rows, values) = positions.distinct_rows(0);
        let seq = positions.seq();
        let mut angles = Vec::with_capacity(values.len() * frequencies.len());
        for position in values {
            angles.extend(frequencies.iter().map(|f| *position as f32 * f));
        }
        let shape = [rows, 1, seq, dim / 2];
        let tensor =
            |values: Vec<f32>| Tensor::from_data(TensorData::new(values, shape), (device, dtype));
        RotaryTable {
            cos: tensor(angles.iter().map(|angle| angle.cos() * factor).collect()),
            sin: tensor(angles.iter().map(|angle| angle.sin() * factor).collect()),
        }
    }
}

impl RotaryTable {
    /// Turns queries or keys.
    ///
    /// # Shapes
    /// - x: `[batch, heads, seq, head_dim]`
    /// - output: the same
    pub fn rotate(&self, x: Tensor<4>) -> Tensor<4> {
        vlm_kernels::rotate(x, &self.cos, &self.sin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    fn turned(config: &RotaryConfig, x: Tensor<4>, positions: Positions) -> Tensor<4> {
        config
            .init()
            .table(&positions, &x.device(), DType::F32)
            .rotate(x)
    }

    #[test]
    fn halves_turn_together() {
        let x = Tensor::<1>::from_floats([1.0, 2.0, 3.0, 4.0], &Device::default());
        let x = x.reshape([1, 1, 1, 4]);
        let config = RotaryConfig::new(4).with_rope_theta(100.0);
        let out = turned(&config, x, Positions::rows(&[vec![2]]));
        let (fast, slow) = (2f32, 0.2f32);
        let expected = [
            fast.cos() - 3.0 * fast.sin(),
            2.0 * slow.cos() - 4.0 * slow.sin(),
            3.0 * fast.cos() + fast.sin(),
            4.0 * slow.cos() + 2.0 * slow.sin(),
        ];
        out.reshape([4])
            .into_data()
            .assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::absolute(1e-5));
    }

    #[test]
    fn scores_depend_on_distance_alone() {
        let device = Device::default();
        let config = RotaryConfig::new(8).with_partial_rotary_factor(0.5);
        let random = || Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
        let (query, key) = (random(), random());
        let score = |q: u32, k: u32| {
            let q = turned(&config, query.clone(), Positions::rows(&[vec![q]]));
            let k = turned(&config, key.clone(), Positions::rows(&[vec![k]]));
            (q * k).sum().into_scalar::<f32>()
        };
        assert!((score(3, 1) - score(12, 10)).abs() < 1e-5);
        assert!((score(3, 1) - score(3, 2)).abs() > 1e-4);
    }
}
