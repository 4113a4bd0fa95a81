//! The filters of Pillow that torchvision has, too.

use std::f64::consts::PI;

use vlm_core::Error;

/// How new pixels are computed from old ones.
///
/// The codes are Pillow's, as they stand under `resample` in Hugging Face's files. Codes 4 (box) and 5
/// (hamming) are missing because the reference's torchvision backend fails on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Resample {
    /// The pixel under the centre of the new one (code 0, torch's `nearest-exact`).
    Nearest,
    /// Lanczos with three lobes (code 1).
    Lanczos,
    /// Triangle (code 2).
    Bilinear,
    /// Cubic with a = −0.5 (code 3).
    Bicubic,
}

impl Resample {
    /// The filter of one of Pillow's codes.
    ///
    /// # Errors
    ///
    /// Names the filters that the reference refuses, and says which codes there are.
    pub fn from_code(code: u64) -> Result<Self, Error> {
        let name = match code {
            0 => return Ok(Self::Nearest),
            1 => return Ok(Self::Lanczos),
            2 => return Ok(Self::Bilinear),
            3 => return Ok(Self::Bicubic),
            4 => "box",
            5 => "hamming",
            _ => "no filter",
        };
        let known = "expected 0 nearest, 1 lanczos, 2 bilinear or 3 bicubic";
        Err(Error::key(
            "resample",
            format!("{known}, found {code} ({name})"),
        ))
    }

    /// Pillow's code of this filter.
    pub const fn code(self) -> u64 {
        match self {
            Self::Nearest => 0,
            Self::Lanczos => 1,
            Self::Bilinear => 2,
            Self::Bicubic => 3,
        }
    }

    /// Where the kernel ends, in pixels of the smaller picture.
    pub(super) fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.5,
            Self::Lanczos => 3.0,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The weight of a pixel at a distance from the centre of the new one.
    pub(super) fn kernel(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let distance = x.abs();
        match self {
            Self::Nearest => f64::from(u8::from(distance <= 0.5)),
            Self::Lanczos if distance < 3.0 => sinc(x) * sinc(x / 3.0),
            Self::Bilinear if distance < 1.0 => 1.0 - distance,
            Self::Bicubic if distance < 1.0 => {
                ((A + 2.0) * distance - (A + 3.0)) * distance * distance + 1.0
            }
            Self::Bicubic if distance < 2.0 => {
                ((A * distance - 5.0 * A) * distance + 8.0 * A) * distance - 4.0 * A
            }
            _ => 0.0,
        }
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        1.0
    } else {
        (x * PI).sin() / (x * PI)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_pillow() {
        for code in 0..4 {
            assert_eq!(Resample::from_code(code).unwrap().code(), code);
        }
        for (code, name) in [(4, "4 (box)"), (5, "5 (hamming)"), (6, "6 (no filter)")] {
            let error = Resample::from_code(code).unwrap_err().to_string();
            assert!(
                error.starts_with("key `resample`: ") && error.ends_with(name),
                "{error}"
            );
        }
    }
}
