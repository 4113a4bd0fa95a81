use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

/// How weights of linear layers are rounded: 32 of them share a factor and, with 4 bits, a shift, which are floats
/// of 16 bits.
///
/// A rounded weight is a tensor of burn's type `QFloat`, so modules, their paths and their adapters stay as they
/// are. Only [`linear`](crate::linear), [`linears`](crate::linears) and [`dequantize`](Self::dequantize) know its
/// numbers: to burn's own operations it is `NaN`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quantization {
    /// Whole numbers from -127 to 127: 8.5 bits a weight.
    Int8,
    /// Whole numbers from 0 to 15, two in a byte, factor and shift being those of the least error: 5 bits a weight.
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

    /// The floats that a weight was rounded to, `[in, out]`; `None` where it is not of
    /// [`quantize`](Self::quantize)'s making.
    pub fn dequantize(weight: &Tensor<2>, dtype: FloatDType) -> Option<Tensor<2>> {
        #[cfg(feature = "flex")]
        return crate::flex::dequantize(weight, dtype);
        #[cfg(not(feature = "flex"))]
        {
            let _ = (weight, dtype);
            None
        }
    }
}
