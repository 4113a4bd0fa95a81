use burn::tensor::{
    DType, Device, Tensor, TensorData,
    quantization::{QuantScheme, QuantValue, ScaleDtype},
};

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
    /// Rounds a weight, `[out, in]` of 32-bit or brain floats as a checkpoint has it, and views it as
    /// `[in, out]`; gives the weight back where `in` is no multiple of 32.
    ///
    /// # Errors
    ///
    /// The weight itself, when it cannot be rounded.
    pub fn quantize(self, rows: TensorData, device: &Device) -> Result<Tensor<2>, TensorData> {
        let supported = matches!(rows.dtype(), DType::F32 | DType::BF16 | DType::F16);
        if !supported || rows.num_elements() == 0 || !rows.shape()[1].is_multiple_of(GROUP) {
            return Err(rows);
        }
        #[cfg(feature = "flex")]
        if crate::flex::is_plain(device) {
            return Ok(crate::flex::quantize(self, &rows));
        }
        let dtype = rows.dtype();
        let rows = Tensor::<2>::from_data(rows, (device, dtype));
        Ok(rows.transpose().quantize_dynamic(&self.scheme()))
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
