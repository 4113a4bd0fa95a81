use serde::{Deserialize, Serialize};

/// How rotary frequencies are stretched beyond the length that a model was trained on.
///
/// The kinds, their keys and their formulas are those of transformers' `modeling_rope_utils.py`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(tag = "rope_type", rename_all = "lowercase")]
pub enum RopeScaling {
    /// Not at all.
    #[default]
    Default,
    /// Frequencies divided by a factor (position interpolation).
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// NTK-aware: the base grows with the longest position once it passes the trained length, so keys cached
    /// before that keep the frequencies they were made with.
    Dynamic {
        /// Growth of the base.
        factor: f64,
    },
    /// Llama 3.1: low frequencies divided, high ones kept, a smooth passage between.
    Llama3 {
        /// The divisor of low frequencies.
        factor: f64,
        /// Start of the passage, in turns over the trained length.
        low_freq_factor: f64,
        /// End of the passage, likewise.
        high_freq_factor: f64,
        /// The trained length.
        original_max_position_embeddings: usize,
    },
    /// [YaRN](https://arxiv.org/abs/2309.00071).
    Yarn {
        /// The divisor of low frequencies; the ratio of the two lengths when absent.
        factor: Option<f64>,
        /// The trained length.
        original_max_position_embeddings: usize,
        /// Scale of the rotated vectors; derived from `factor` when absent.
        attention_factor: Option<f64>,
        /// Turns above which a frequency is kept.
        beta_fast: Option<f64>,
        /// Turns below which a frequency is divided.
        beta_slow: Option<f64>,
        /// Numerator of the derived `attention_factor`.
        mscale: Option<f64>,
        /// Denominator of the derived `attention_factor`.
        mscale_all_dim: Option<f64>,
        /// Whether the passage begins and ends at whole dimensions.
        truncate: Option<bool>,
    },
    /// [LongRoPE](https://arxiv.org/abs/2402.13753): one set of divisors up to the trained length, another
    /// beyond it.
    LongRope {
        /// Divisors up to the trained length, one for each frequency.
        short_factor: Vec<f64>,
        /// Divisors beyond it.
        long_factor: Vec<f64>,
        /// The trained length.
        original_max_position_embeddings: usize,
        /// Ratio of the lengths; derived when absent.
        factor: Option<f64>,
        /// Scale of the rotated vectors; derived from `factor` when absent.
        attention_factor: Option<f64>,
    },
}

impl RopeScaling {
    /// The `dim / 2` angular frequencies for a sequence whose largest position is `longest`, and the factor on
    /// sine and cosine.
    pub fn frequencies(
        &self,
        dim: usize,
        theta: f64,
        max_position_embeddings: usize,
        longest: usize,
    ) -> (Vec<f32>, f32) {
        let plain = |theta: f64| -> Vec<f32> {
            let exponent = |i: usize| (2 * i) as f32 / dim as f32;
            (0..dim / 2)
                .map(|i| 1.0 / (theta as f32).powf(exponent(i)))
                .collect()
        };
        let seq_len = longest + 1;
        match self {
            Self::Default => (plain(theta), 1.0),
            Self::Linear { factor } => {
                let divided = plain(theta).iter().map(|f| f / *factor as f32).collect();
                (divided, 1.0)
            }
            Self::Dynamic { factor } => {
                let trained = max_position_embeddings as f64;
                let growth = factor * (seq_len as f64).max(trained) / trained - (factor - 1.0);
                let dim = dim as f64;
                (plain(theta * growth.powf(dim / (dim - 2.0))), 1.0)
            }
            Self::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                let trained = *original_max_position_embeddings as f32;
                let [factor, low, high] =
                    [factor, low_freq_factor, high_freq_factor].map(|v| *v as f32);
                let stretch = |frequency: f32| {
                    let wavelength = 2.0 * std::f32::consts::PI / frequency;
                    if wavelength < trained / high {
                        return frequency;
                    }
                    if wavelength > trained / low {
                        return frequency / factor;
                    }
                    let smooth = (trained / wavelength - low) / (high - low);
                    (1.0 - smooth) * frequency / factor + smooth * frequency
                };
                (plain(theta).into_iter().map(stretch).collect(), 1.0)
            }
            Self::Yarn {
                factor,
                original_max_position_embeddings,
                attention_factor,
                beta_fast,
                beta_slow,
                mscale,
                mscale_all_dim,
                truncate,
            } => {
                let trained = *original_max_position_embeddings as f64;
                let factor = factor.unwrap_or(max_position_embeddings as f64 / trained);
                let scale = |mscale: f64| match factor <= 1.0 {
                    true => 1.0,
                    false => 0.1 * mscale * factor.ln() + 1.0,
                };
                let attention =
                    attention_factor.unwrap_or_else(|| match (mscale, mscale_all_dim) {
                        (Some(above), Some(below)) if *above != 0.0 && *below != 0.0 => {
                            scale(*above) / scale(*below)
                        }
                        _ => scale(1.0),
                    });
                // Zero means "not given" in the reference.
                let or =
                    |value: &Option<f64>, default| value.filter(|v| *v != 0.0).unwrap_or(default);
                let dimension = |turns: f64| {
                    dim as f64 * (trained / (turns * 2.0 * std::f64::consts::PI)).ln()
                        / (2.0 * theta.ln())
                };
                let mut low = dimension(or(beta_fast, 32.0));
                let mut high = dimension(or(beta_slow, 1.0));
                if truncate.unwrap_or(true) {
                    (low, high) = (low.floor(), high.ceil());
                }
                let (low, mut high) = (low.max(0.0), high.min(dim as f64 - 1.0));
                if low == high {
                    high += 0.001; // the reference's guard against a division by zero
                }
                let blend = |(i, frequency): (usize, f32)| {
                    let ramp = ((i as f32 - low as f32) / (high - low) as f32).clamp(0.0, 1.0);
                    frequency / factor as f32 * ramp + frequency * (1.0 - ramp)
                };
                let frequencies = plain(theta).into_iter().enumerate().map(blend).collect();
                (frequencies, attention as f32)
            }
            Self::LongRope {
                short_factor,
                long_factor,
                original_max_position_embeddings,
                factor,
                attention_factor,
            } => {
                let trained = *original_max_position_embeddings;
                let factor = factor.unwrap_or(max_position_embeddings as f64 / trained as f64);
                let attention = attention_factor.unwrap_or_else(|| match factor <= 1.0 {
                    true => 1.0,
                    false => (1.0 + factor.ln() / (trained as f64).ln()).sqrt(),
                });
                let divisors = match seq_len > trained {
                    true => long_factor,
                    false => short_factor,
                };
                let divided = plain(theta).into_iter().zip(divisors);
                (
                    divided.map(|(f, d)| f / *d as f32).collect(),
                    attention as f32,
                )
            }
        }
    }
}
