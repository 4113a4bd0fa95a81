//! The kinds of numbers that weights and activations are stored as.

use half::{bf16, f16};

/// A number as it lies in memory; all arithmetic is in 32-bit floats.
pub trait Element: Copy + Default + Send + Sync + 'static {
    /// Its value.
    fn to_f32(self) -> f32;
    /// The nearest number of this kind.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }

    /// To the nearest, ties to even, without a branch so that loops become vectors.
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        let quiet = (bits >> 16) | 0x40;
        Self::from_bits(if value.is_nan() { quiet } else { rounded } as u16)
    }
}

impl Element for f16 {
    /// Without a branch, so that loops become vectors.
    #[inline(always)]
    fn to_f32(self) -> f32 {
        let bits = u32::from(self.to_bits());
        // The exponent's bias grows from 15 to 127 by a factor of 2¹¹², which is right for small numbers, too.
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * f32::from_bits(0x7780_0000);
        let special = if bits & 0x7c00 == 0x7c00 {
            0x7f80_0000
        } else {
            0
        };
        f32::from_bits(magnitude.to_bits() | special | (bits & 0x8000) << 16)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        f16::from_f32(value)
    }
}

impl Element for i8 {
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from(self)
    }

    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value.round_ties_even() as i8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_read_as_half_reads_it() {
        for bits in 0..=u16::MAX {
            let half = f16::from_bits(bits);
            let ours = Element::to_f32(half);
            assert!(ours.to_bits() == half.to_f32().to_bits() || (ours.is_nan() && half.is_nan()));
        }
    }

    #[test]
    fn brain_floats_round_as_half_rounds_them() {
        let values = [
            0.0,
            -0.0,
            1.0,
            1.003_906_3,
            1.011_718_8,
            3e38,
            f32::MAX,
            1e-40,
        ];
        for value in values.into_iter().chain([f32::INFINITY, f32::NEG_INFINITY]) {
            let ours = <bf16 as Element>::from_f32(value);
            assert_eq!(ours.to_bits(), bf16::from_f32(value).to_bits(), "{value}");
            assert_eq!(Element::to_f32(ours), ours.to_f32());
        }
        assert!(<bf16 as Element>::from_f32(f32::NAN).is_nan());
    }
}
