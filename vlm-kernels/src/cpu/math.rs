//! Functions without branches, so that loops over them become vectors.

/// `eˣ`, within two units of the last place; 0 below -87.3.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // 2ⁿ is made of the bits of n, for which x must not be far out.
    const LOWEST: f32 = -87.3;
    const HIGHEST: f32 = 88.7;
    // Added and taken away again, it rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let inside = if x > HIGHEST { HIGHEST } else { x };
    let inside = if inside < LOWEST { LOWEST } else { inside };
    let n = inside * std::f32::consts::LOG2_E + ROUND - ROUND;
    // ln 2 in two parts, so that the rest is exact.
    let rest = inside - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let mut sum = 1.987_569_1e-4;
    for factor in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ] {
        sum = sum * rest + factor;
    }
    let small = sum * rest * rest + rest + 1.0;
    // The largest powers in two steps: 2¹²⁸ is no float.
    let half = (n as i32) >> 1;
    let power = |n: i32| f32::from_bits(((n + 127) << 23).cast_unsigned());
    let value = small * power(half) * power(n as i32 - half);
    let value = if x < LOWEST { 0.0 } else { value };
    let value = if x > HIGHEST { f32::INFINITY } else { value };
    if x.is_nan() { x } else { value }
}

/// `1 / (1 + e⁻ˣ)`.
#[inline(always)]
pub fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// `tanh x`.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (1.0 + exp(2.0 * x))
}

/// The error function within 1.5e-7: [Abramowitz and Stegun](https://personal.math.ubc.ca/~cbm/aands/), 7.1.26.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let size = x.abs();
    let t = 1.0 / (1.0 + 0.327_591_1 * size);
    let mut sum = 1.061_405_4;
    for factor in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        sum = sum * t + factor;
    }
    (1.0 - sum * t * exp(-size * size)).copysign(x)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_that_of_64_bits() {
        for step in -8700..8800 {
            let x = step as f32 / 100.0 + 0.003;
            let expected = f64::from(x).exp();
            let error = (f64::from(exp(x)) / expected - 1.0).abs();
            assert!(error < 3e-7, "{x}: {error}");
        }
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(f32::INFINITY), f32::INFINITY);
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn erf_and_tanh_by_table() {
        for (x, expected) in [
            (0.0, 0.0),
            (0.5, 0.520_499_9),
            (1.0, 0.842_700_8),
            (-2.0, -0.995_322_3),
        ] {
            assert!((erf(x) - expected).abs() < 3e-7, "erf {x}");
        }
        for x in [-20.0f32, -1.0, 0.0, 0.3, 20.0] {
            assert!((tanh(x) - x.tanh()).abs() < 3e-7, "tanh {x}");
        }
    }
}
