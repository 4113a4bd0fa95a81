use burn::tensor::{DType, Device, FloatDType, Tensor, TensorData};

#[cfg(feature = "flex")]
use crate::cpu::codes::Rounded;

/// How weights of linear layers and tables of embeddings are rounded: 32 of them share a factor and, with 4 bits, a
/// shift, which are floats of 16 bits.
///
/// A rounded weight is a tensor of burn's type `QFloat`, so modules, their paths and their adapters stay as they
/// are. Only [`linear`](crate::linear), [`linears`](crate::linears), [`table_rows`](crate::table_rows),
/// [`table_scores`](crate::table_scores) and [`dequantize`](Self::dequantize) know its numbers: to burn's own
/// operations it is `NaN`.
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
            shape,
            dtype,
            rounded: crate::flex::unrounded(self, shape),
        });
        #[cfg(not(feature = "flex"))]
        None
    }

    /// The floats that a weight, `[in, out]`, or a table, `[tokens, size]`, was rounded to; `None` where it is not
    /// of [`RoundedRows`]'s making.
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

/// A weight that is being rounded, see [`Quantization::rows`].
#[derive(Debug)]
pub struct RoundedRows {
    shape: [usize; 2],
    #[cfg(feature = "flex")]
    dtype: FloatDType,
    #[cfg(feature = "flex")]
    rounded: Rounded,
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
        crate::flex::round(&mut self.rounded, rows);
    }

    /// The weight, `[in, out]`.
    ///
    /// # Panics
    ///
    /// When rows are missing.
    pub fn finish(self) -> Tensor<2> {
        #[cfg(feature = "flex")]
        return crate::flex::rounded_weight(self.rounded, self.dtype);
        #[cfg(not(feature = "flex"))]
        unreachable!("`Quantization::rows` gives none")
    }

    /// The rows as a table of embeddings, `[out, in]`, for [`table_rows`](crate::table_rows) and
    /// [`table_scores`](crate::table_scores).
    ///
    /// # Panics
    ///
    /// When rows are missing.
    pub fn finish_table(self) -> Tensor<2> {
        #[cfg(feature = "flex")]
        return crate::flex::rounded_table(self.rounded, self.dtype);
        #[cfg(not(feature = "flex"))]
        unreachable!("`Quantization::rows` gives none")
    }
}
