#[cfg(feature = "flex")]
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, Tensor, TensorData};

/// How weights of linear layers are rounded: to multiples of a factor that 32 of them share.
///
/// A rounded weight is a tensor of burn's type `QFloat`, so modules, their paths and their adapters stay as they
/// are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Whole numbers from -127 to 127.
    Int8,
    /// Whole numbers from -7 to 7. burn's CPU backends keep each in a byte.
    Int4,
}

/// Numbers of a row that share a factor.
const GROUP: usize = 32;

impl Quantization {
    /// Whether weights on `device` can be rounded: burn's `Flex` alone has kernels for them.
    pub fn runs_on(device: &Device) -> bool {
        #[cfg(feature = "flex")]
        return crate::flex::is_plain(&device.clone().inner());
        #[cfg(not(feature = "flex"))]
        {
            let _ = device;
            false
        }
    }

    /// Rounds a weight, `[out, in]` of floats of 32 or 16 bits as a checkpoint has it, and views it as `[in, out]`.
    ///
    /// # Errors
    ///
    /// The weight itself, when it cannot be rounded: `in` is no multiple of 32, or
    /// [`runs_on`](Self::runs_on) is false.
    pub fn quantize(self, rows: TensorData, device: &Device) -> Result<Tensor<2>, TensorData> {
        let supported = matches!(rows.dtype(), DType::F32 | DType::BF16 | DType::F16);
        let groups = rows.num_elements() > 0 && rows.shape()[1].is_multiple_of(GROUP);
        if !supported || !groups || !Self::runs_on(device) {
            return Err(rows);
        }
        #[cfg(feature = "flex")]
        return Ok(crate::flex::quantize(self, &rows));
        #[cfg(not(feature = "flex"))]
        Err(rows)
    }

    /// The largest whole number.
    #[cfg(feature = "flex")]
    pub(crate) fn largest(self) -> f32 {
        match self {
            Self::Int8 => 127.0,
            Self::Int4 => 7.0,
        }
    }

    /// As burn names it, of a weight `[in, out]`.
    #[cfg(feature = "flex")]
    pub(crate) fn scheme(self) -> QuantScheme {
        let value = match self {
            Self::Int8 => QuantValue::Q8S,
            Self::Int4 => QuantValue::Q4S,
        };
        QuantScheme::default()
            .with_value(value)
            .per_block([GROUP as u8, 1], ScaleDtype::F32)
    }
}
