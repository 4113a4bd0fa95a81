#[cfg(feature = "flex")]
use burn::tensor::quantization::{QuantScheme, QuantValue, ScaleDtype};
use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

#[cfg(feature = "flex")]
use crate::cpu::bytes::Quantized;

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
    /// The weight itself, when it cannot be rounded: see [`rows`](Self::rows).
    pub fn quantize(self, rows: TensorData, device: &Device) -> Result<Tensor<2>, TensorData> {
        let shape = [rows.shape()[0], rows.shape()[1]];
        let dtype = match rows.dtype() {
            DType::F32 => FloatDType::F32,
            DType::BF16 => FloatDType::BF16,
            DType::F16 => FloatDType::F16,
            _ => return Err(rows),
        };
        match self.rows(shape, dtype, device) {
            Some(mut rounded) => {
                rounded.push(&rows);
                Ok(rounded.finish())
            }
            None => Err(rows),
        }
    }

    /// Begins to round a weight of `[out, in]` floats, of which a few rows at a time are in memory; nothing when
    /// `in` is no multiple of 32, the floats are neither of 32 nor of 16 bits, or [`runs_on`](Self::runs_on) is
    /// false.
    pub fn rows(
        self,
        shape: [usize; 2],
        dtype: FloatDType,
        device: &Device,
    ) -> Option<RoundedRows> {
        let groups = shape[0] * shape[1] > 0 && shape[1].is_multiple_of(GROUP);
        if !groups || dtype == FloatDType::F64 || !Self::runs_on(device) {
            return None;
        }
        #[cfg(feature = "flex")]
        return Some(RoundedRows {
            quantization: self,
            shape,
            rounded: Quantized::with_room(shape),
        });
        #[cfg(not(feature = "flex"))]
        None
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

/// A weight that is being rounded, see [`Quantization::rows`].
#[derive(Debug)]
pub struct RoundedRows {
    shape: [usize; 2],
    #[cfg(feature = "flex")]
    quantization: Quantization,
    #[cfg(feature = "flex")]
    rounded: Quantized,
}

impl RoundedRows {
    /// `[out, in]` of the whole weight.
    pub fn shape(&self) -> [usize; 2] {
        self.shape
    }

    /// Rounds the next rows, `[rows, in]`.
    ///
    /// # Panics
    ///
    /// When they are of another kind or length than was said, or more than are missing.
    pub fn push(&mut self, rows: &TensorData) {
        let inputs = self.shape[1];
        assert_eq!(rows.shape()[1], inputs, "numbers of a row");
        #[cfg(feature = "flex")]
        self.rounded
            .append(&crate::flex::round(self.quantization, rows), inputs);
    }

    /// The weight, `[in, out]`.
    ///
    /// # Panics
    ///
    /// When rows are missing.
    pub fn finish(self) -> Tensor<2> {
        #[cfg(feature = "flex")]
        {
            let [outputs, inputs] = self.shape;
            assert_eq!(
                self.rounded.bytes.len(),
                outputs * inputs,
                "rows are missing"
            );
            crate::flex::rounded_weight(self.quantization, self.shape, self.rounded)
        }
        #[cfg(not(feature = "flex"))]
        unreachable!("`Quantization::rows` gives none")
    }
}
